#!/usr/bin/env bash
# Apache ZooKeeper on loopback, one to many members in a folder. Version by ZOOKEEPER=, default 3.9.5.
#   zookeeper.sh fetch [VERSION...]           into BINLAKE_CACHE, once per machine; needs a JDK 11 or later and Maven
#   zookeeper.sh start DIR PORT [MEMBERS]     detached; member I takes PORT+3(I-1) and the two ports after it
#   zookeeper.sh node DIR I                   start member I again after a kill
#   zookeeper.sh stop DIR | kill DIR [I]      SIGTERM and wait | SIGKILL (all, or member I)
#   zookeeper.sh word PORT WORD               a four letter word: ruok, srvr, mntr, dump, ...
#   zookeeper.sh run ...                      ZooKeeper's shell, such as -server 127.0.0.1:PORT ls /
#   zookeeper.sh versions
# The connect string for clients is in DIR/connect.
. "$(dirname "$(readlink -f "$0")")/lib.sh"

V=${ZOOKEEPER:-3.9.5}
R=$BINLAKE_CACHE/zookeeper-$V

word() { # PORT WORD
  (exec 3<>"/dev/tcp/$HOST/$1" && printf %s "$2" >&3 && timeout 5 cat <&3) 2>/dev/null || true
}

config() { # DIR PORT MEMBERS
  local d=$1 n=$3 i p servers='' connect=''
  for ((i = 1; i <= n; i++)); do
    p=$(($2 + 3 * (i - 1)))
    [ "$n" = 1 ] || servers+="server.$i=$HOST:$((p + 1)):$((p + 2))"$'\n'
    connect+="${connect:+,}$HOST:$p"
  done
  for ((i = 1; i <= n; i++)); do
    mkdir -p "$d/$i/data"
    echo "$i" >"$d/$i/data/myid"
    cat >"$d/$i/zoo.cfg" <<END
tickTime=500
initLimit=20
syncLimit=10
dataDir=$d/$i/data
clientPort=$(($2 + 3 * (i - 1)))
clientPortAddress=$HOST
maxClientCnxns=0
admin.enableServer=false
4lw.commands.whitelist=*
$servers
END
  done
  echo "$connect" >"$d/connect"
}

node() { # DIR I
  not_running "$1/$2"
  daemon "$1/$2" java -Xms64m -Xmx256m -Djava.awt.headless=true \
    -Dznode.container.checkIntervalMs=1000 -Dzookeeper.extendedTypesEnabled=true \
    -cp "$R/*" org.apache.zookeeper.server.quorum.QuorumPeerMain "$1/$2/zoo.cfg"
}
serves() { word "$1" srvr | grep -q '^Mode:'; }
ready() { wait_ready "$1/$2" serves "$(sed -n 's/^clientPort=//p' "$1/$2/zoo.cfg")"; }

cmd=${1:-}
shift || usage
case $cmd in
versions) echo 3.9.5 ;;
word) word "$@" ;;
run)
  [ -d "$R" ] || "$0" fetch "$V"
  exec java -Dorg.slf4j.simpleLogger.defaultLogLevel=warn -cp "$R/*" org.apache.zookeeper.ZooKeeperMain "$@" ;;
fetch | start | node | stop | kill) cluster_commands zookeeper zoo.cfg "$cmd" "$@" ;;
*) usage ;;
esac
