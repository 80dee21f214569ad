#!/usr/bin/env bash
# A real MySQL with a small shop, BinLake beside it, and the shop's changes as they arrive. Ctrl-C ends it all.
#   SOURCE=mysql://user:password@host:3306/   your own server instead: nothing is written to it
#   KAFKA=1                                   through a real Kafka instead of the local topic
#   DEMO_SECONDS=20                           ends by itself after this time
# Downloads and build output stay in BINLAKE_CACHE; all else is in a temporary folder and goes away at the end.
set -uo pipefail
cd "$(dirname "$0")/.."
export BINLAKE_CACHE=${BINLAKE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/binlake}
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$BINLAKE_CACHE/target}
with_kafka=${KAFKA:-0}
unset KAFKA # to the server script it names a version
own_source=${SOURCE:-}
seconds=${DEMO_SECONDS:-}
servers=deploy/servers
release=$CARGO_TARGET_DIR/release

bold= dim= plain=
if [ -t 1 ] && [ -z "${NO_COLOR:-}" ]; then bold=$'\e[1m' dim=$'\e[2m' plain=$'\e[0m'; fi
say() { printf '%s==> %s%s\n' "$bold" "$*" "$plain"; }
note() { printf '%s    %s%s\n' "$dim" "$*" "$plain"; }
fail() { printf 'demo: %s\n' "$*" >&2; exit 1; }

tmp= children=()
cleanup() {
  local code=$?
  trap '' INT TERM HUP PIPE EXIT
  for p in "${children[@]}"; do kill -TERM -- "-$p"; done 2>/dev/null
  for p in "${children[@]}"; do
    for _ in {1..50}; do kill -0 -- "-$p" || break; sleep 0.1; done
    kill -KILL -- "-$p"
  done 2>/dev/null
  if [ -n "$tmp" ]; then
    [ ! -d "$tmp/kafka" ] || "$servers/kafka.sh" stop "$tmp/kafka"
    [ ! -d "$tmp/mysql" ] || "$servers/mysql.sh" stop "$tmp/mysql"
    rm -rf "$tmp"
  fi >/dev/null 2>&1
  [ -z "$tmp" ] || { say "stopped; nothing is left running"; } 2>/dev/null
  exit "$code"
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
trap 'exit 129' HUP
trap 'exit 0' PIPE

# run COMMAND...: in a process group of its own, so that it can be ended as a whole and only by us; its pid in `child`
run() { setsid "$@" & child=$!; children+=("$child"); }
# step WHAT COMMAND...: wait for a slow one, while signals still come through; its output is shown when it fails
step() {
  local what=$1 began=$SECONDS code=0; shift
  say "$what"
  run "$@" >"$tmp/step.log" 2>&1
  if [ -t 1 ]; then
    # its last line and the time so far, in one line that goes away
    while sleep 1 && kill -0 "$child" 2>/dev/null; do
      printf '\r\e[K%s    %s s  %.100s%s' "$dim" $((SECONDS - began)) "$(tail -c 400 "$tmp/step.log" | tail -1 | tr -cd '[:print:]')" "$plain"
    done
    printf '\r\e[K'
  fi
  while :; do
    wait "$child"
    code=$?
    # ended by a signal to this script's own wait, the child still lives
    kill -0 "$child" 2>/dev/null || break
  done
  unset 'children[-1]'
  if [ $code != 0 ]; then
    tail -20 "$tmp/step.log" >&2
    fail "failed: $what (exit code $code, output above)"
  fi
  [ $((SECONDS - began)) -lt 3 ] || note "$((SECONDS - began)) s"
}
need() { command -v "$1" >/dev/null || fail "needs $1: $2"; }
free_port() { # FIRST: the first of two neighbouring free ports
  local p
  for ((p = $1; p < $1 + 2000; p += 2)); do
    listening "$p" || listening $((p + 1)) || { echo "$p"; return; }
  done
  return 1
}
listening() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }
page() { # PATH: of the status port
  (exec 3<>"/dev/tcp/127.0.0.1/$http" && printf 'GET %s HTTP/1.0\r\nHost: localhost\r\n\r\n' "$1" >&3 && cat <&3) 2>/dev/null
}

[[ -z $seconds || $seconds =~ ^[0-9]+$ ]] || fail "DEMO_SECONDS=$seconds is no number of seconds"
need cargo "install Rust with rustup; rust-toolchain.toml names the version"
need setsid "it is in util-linux"
[ "$with_kafka" = 0 ] || need java "Kafka runs on a JDK 17 or later ($servers/install-deps.sh)"
tmp=$(mktemp -d "${TMPDIR:-/tmp}/binlake-demo.XXXXXX") || fail "no temporary folder"
mkdir -p "$BINLAKE_CACHE"

say "looking for the tools that the build needs"
# In the foreground: sudo may ask for a password.
"$servers/install-deps.sh" || fail "the tools that the build needs could not be installed (reason above)"
if [ -n "$own_source" ]; then
  source=$own_source
  if [[ ! $source =~ ^[a-z]+://[^/@]*:.*@ && -z ${BINLAKE_PASSWORD+x} && -t 0 ]]; then
    read -rsp "password of the source: " BINLAKE_PASSWORD && echo
    export BINLAKE_PASSWORD
  fi
  say "your own server; nothing is written to it"
else
  if [ ! -x "$BINLAKE_CACHE/mysql-9.7/run" ]; then
    step "fetching MySQL 9.7 (65 MB, only this once)" "$servers/mysql.sh" fetch 9.7
  fi
  port=$(free_port 13306) || fail "no free port for MySQL"
  mkdir "$tmp/mysql"
  step "starting MySQL 9.7 on 127.0.0.1:$port" "$servers/mysql.sh" start "$tmp/mysql" "$port"
  source="mysql://binlake:binlake@127.0.0.1:$port/"
fi
to=local
if [ "$with_kafka" != 0 ]; then
  if [ ! -d "$BINLAKE_CACHE/kafka-4.3.1" ]; then
    step "fetching Kafka 4.3.1 (54 MB, only this once)" "$servers/kafka.sh" fetch 4.3.1
  fi
  port=$(free_port 19092) || fail "no free port for Kafka"
  mkdir "$tmp/kafka"
  step "starting Kafka 4.3.1 on 127.0.0.1:$port" "$servers/kafka.sh" start "$tmp/kafka" "$port"
  to="kafka://$(cat "$tmp/kafka/bootstrap")"
fi
step "building BinLake in release (the first time takes some minutes)" cargo build --release -p binlake -p binlake-load

topic=shop
[ -z "$own_source" ] || topic=changes
http=$(free_port 8080) || fail "no free port for the status page"
say "binlake up --source mysql://… --to $to --topic $topic"
run "$release/binlake" up --source "$source" --to "$to" --topic "$topic" --from now --data-dir "$tmp/data" \
  --listen "127.0.0.1:$http" >"$tmp/up.log" 2>&1
up=$child
up_alive() { kill -0 "$up" 2>/dev/null || { tail -20 "$tmp/up.log" >&2; fail "binlake up ended (its last words above)"; }; }
connected() { page /healthz | grep -q '"state":"streaming"'; }
for _ in {1..300}; do
  up_alive
  ! connected || break
  sleep 0.1
done
connected || { tail -20 "$tmp/up.log" >&2; fail "binlake up does not stream from the source after 30 s (its last words above)"; }

load=
if [ -z "$own_source" ]; then
  say "a small shop opens: customers, orders, prices, a few transactions per second"
  run "$release/binlake-load" shop --source "$source" --rate 2 >"$tmp/load.log" 2>&1
  load=$child
fi
say "status page http://127.0.0.1:$http/  metrics http://127.0.0.1:$http/metrics"
if [ "$to" = local ]; then
  again=(read --data-dir "$tmp/data" --topic "$topic")
else
  again=(read --from "$to" --topic "$topic")
fi
say "the changes, as a subscriber reads them (binlake ${again[*]}); Ctrl-C ends the demo"
# From here on Ctrl-C is how it is meant to end.
trap 'exit 0' INT
run "$release/binlake" "${again[@]}"
reader=$child

# status: one line about the source, as the status page has it
before=0 before_at=$SECONDS
field() { sed -n 's/.*"'"$1"'":"\{0,1\}\([^",}]*\).*/\1/p' <<<"$health" | head -1; }
status() {
  local rows now=$SECONDS
  health=$(page /healthz)
  rows=$(field rows)
  [ -n "$rows" ] || return 0
  # A reader that has gone is the main loop's matter.
  printf '%s--- %s, %s rows, %s rows/s, lag %.1f s, at %s%s\n' "$bold" "$(field state)" "$rows" \
    "$(((rows - before) / (now > before_at ? now - before_at : 1)))" "$(field lag_seconds)" "$(field settled)" "$plain" 2>/dev/null
  before=$rows before_at=$now
}

end=$((SECONDS + ${seconds:-315360000}))
next=$((SECONDS + 5))
while [ $SECONDS -lt $end ]; do
  sleep 0.5 &
  wait $!
  up_alive
  kill -0 "$reader" 2>/dev/null || break # its output is closed, or it said why
  [ -z "$load" ] || kill -0 "$load" 2>/dev/null || { cat "$tmp/load.log" >&2; fail "the shop's load ended"; }
  if [ $SECONDS -ge $next ]; then status; next=$((SECONDS + 5)); fi
done
if [ $SECONDS -lt $end ]; then
  wait "$reader"
  code=$?
  # 141: nobody listens any more, as in `make demo | head`
  [ $code = 0 ] || [ $code = 141 ] || fail "binlake read ended with $code"
fi
if [ -n "$load" ] && [ "$before" = 0 ]; then
  status
  [ "$before" != 0 ] || fail "no change arrived"
fi
