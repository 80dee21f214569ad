#!/usr/bin/env bash
# Apache Kafka (KRaft) on loopback, one to many brokers in a folder. Version by KAFKA=, default 4.3.1.
#   kafka.sh fetch [VERSION...]           into BINLAKE_CACHE, once per machine; needs a JDK 17 or later and Maven
#   kafka.sh start DIR PORT [BROKERS]     detached; broker I takes PORT+2(I-1) and the port after it
#   kafka.sh node DIR I                   start broker I again after a kill
#   kafka.sh stop DIR | kill DIR [I]      SIGTERM and wait | SIGKILL (all, or broker I)
#   kafka.sh run CLASS ...                a tool, such as org.apache.kafka.tools.TopicCommand
#   kafka.sh versions
# Addresses for clients are in DIR/bootstrap. Read at start: KAFKA_HEAP, a broker's heap (512m);
# KAFKA_JVM, options of its JVM (-XX:+UseG1GC); KAFKA_EXTRA, more lines for server.properties.
. "$(dirname "$(readlink -f "$0")")/lib.sh"

versions='4.3.1
3.9.2'
V=${KAFKA:-4.3.1}
R=$BINLAKE_CACHE/kafka-$V
cluster=YmlubGFrZS1iaW5sYWtlIQ # any 16 bytes in base64url

tool() {
  java -Xmx256m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -Dorg.slf4j.simpleLogger.defaultLogLevel=warn -cp "$R/*" "$@"
}

config() { # DIR PORT BROKERS
  local d=$1 n=$3 i p voters='' bootstrap='' rf=$(($3 < 3 ? 1 : 3)) isr=$(($3 < 3 ? 1 : 2))
  for ((i = 1; i <= n; i++)); do
    p=$(($2 + 2 * (i - 1)))
    voters+="${voters:+,}$i@$HOST:$((p + 1))"
    bootstrap+="${bootstrap:+,}$HOST:$p"
  done
  for ((i = 1; i <= n; i++)); do
    p=$(($2 + 2 * (i - 1)))
    mkdir -p "$d/$i"
    cat >"$d/$i/server.properties" <<END
process.roles=broker,controller
node.id=$i
controller.quorum.voters=$voters
controller.listener.names=CONTROLLER
listeners=PLAINTEXT://$HOST:$p,CONTROLLER://$HOST:$((p + 1))
advertised.listeners=PLAINTEXT://$HOST:$p
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs=$d/$i/data
num.partitions=1
default.replication.factor=$rf
min.insync.replicas=$isr
offsets.topic.replication.factor=$rf
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=$rf
transaction.state.log.min.isr=$isr
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor=$rf
share.coordinator.state.topic.min.isr=$isr
group.initial.rebalance.delay.ms=0
${KAFKA_EXTRA:-}
END
    [ -e "$d/$i/data/meta.properties" ] || format "$d/$i" &
  done
  wait
  for ((i = 1; i <= n; i++)); do
    [ -e "$d/$i/data/meta.properties" ] || { cat "$d/$i/format.log" >&2; die "cannot format $d/$i/data"; }
  done
  echo "$bootstrap" >"$d/bootstrap"
}
format() { tool kafka.tools.StorageTool format -t "$cluster" -c "$1/server.properties" >"$1/format.log" 2>&1 8>&-; }

node() { # DIR I
  local heap=${KAFKA_HEAP:-512m}
  not_running "$1/$2"
  : >"$1/$2/log"
  # shellcheck disable=SC2086 # KAFKA_JVM is a list of options
  daemon "$1/$2" java -Xms"$heap" -Xmx"$heap" -Djava.awt.headless=true ${KAFKA_JVM:--XX:+UseG1GC} \
    -Dorg.slf4j.simpleLogger.defaultLogLevel=info -cp "$R/*" kafka.Kafka "$1/$2/server.properties"
}
ready() { wait_ready "$1/$2" grep -q 'Kafka Server started' "$1/$2/log"; }

cmd=${1:-}
shift || usage
case $cmd in
versions) echo "$versions" ;;
run) [ -d "$R" ] || "$0" fetch "$V"; tool "$@" ;;
fetch | start | node | stop | kill) cluster_commands kafka server.properties "$cmd" "$@" ;;
*) usage ;;
esac
