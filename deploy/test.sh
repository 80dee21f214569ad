#!/usr/bin/env bash
# Everything, from nothing: set-up, checks, unit, conformance, simulation, integration. `test.sh it` runs the last only,
# of it those scenarios whose names have a word of ONLY (ONLY='replay schema'). REPLAY_CHANGES=200000 is the long replay,
# HUGE_MIB=2048 the large transaction. Prints the minutes of each stage. What it downloads and builds stays in BINLAKE_CACHE, outside the tree.
set -euo pipefail
cd "$(dirname "$0")/.."
export BINLAKE_CACHE=${BINLAKE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/binlake}
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$BINLAKE_CACHE/target}
# The integration tests run the program itself.
export BINLAKE_BIN=$CARGO_TARGET_DIR/debug/binlake
mkdir -p "$BINLAKE_CACHE"
report= passed=

finish() {
  local code=$?
  printf '\n== minutes per stage ==\n%b' "$report"
  if [ -n "$passed" ]; then echo "all stages passed"; else echo "FAILED in stage: $stage (exit code $code)"; fi
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

stage() { # NAME COMMAND...
  stage=$1; shift
  printf '\n== %s ==\n' "$stage"
  local begin=$SECONDS
  "$@"
  report+=$(awk -v s=$((SECONDS - begin)) -v n="$stage" 'BEGIN { printf "%6.1f  %s", s / 60, n }')'\n'
}

servers() {
  # At the same time, since each waits for the network most of the while.
  local pids=() p
  deploy/servers/mysql.sh fetch 9.7 5.7.29 & pids+=($!)
  deploy/servers/mariadb.sh fetch 10.11 11.8 & pids+=($!)
  deploy/servers/kafka.sh fetch & pids+=($!)
  for p in "${pids[@]}"; do wait "$p"; done
}

build() {
  # All at once: one choice of features, so nothing is built twice.
  cargo build --quiet --workspace --bins
  cargo test --quiet --workspace --no-run
}

unit() { cargo test --no-fail-fast --workspace --exclude binlake-it --exclude binlake-sim; }
# Not by package: the features of the whole workspace are those that were built.
simulation() { cargo test --workspace --test sim; }
# The short form of deploy/fidelity.sh.
fidelity() { "$CARGO_TARGET_DIR/debug/binlake-fidelity" --short --cells 25000 mysql-9.7 mariadb-10.11 mariadb-11.8; }
# One more at a time than there are cores: most of their time the scenarios wait. Seven minutes become five.
integration() { cargo test --no-fail-fast --workspace --test it -- --test-threads=$(($(nproc) + 1)) ${ONLY:-}; }

stage "set-up" deploy/servers/install-deps.sh
stage "servers" servers
if [ "${1:-all}" = all ]; then
  stage "checks" deploy/check.sh
  stage "build" build
  stage "unit and conformance" unit
  stage "simulation" simulation
  stage "fidelity" fidelity
else
  stage "build" cargo build --quiet --workspace --bins
fi
stage "integration" integration
passed=1
