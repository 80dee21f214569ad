#!/usr/bin/env bash
# Figures with their references, measured in the same run on this machine; three runs each, medians.
#   BENCH=steps,tail,kafka,latency,idle,instructions   parts to measure (default: all; instructions only if valgrind is installed)
#   BENCH_RUNS=3  BENCH_ROWS=1000000 (large transactions)  BENCH_SMALL=300000 (small ones)  BENCH_MIXED=300000 (30 columns)
#   BENCH_MANY=20000 (per table of 50)  BENCH_SECONDS=15 (latency)
# Downloads and the generated logs stay in BINLAKE_CACHE, so later runs begin at once. Results are appended to
# tests/reports/bench.jsonl. Close other programs: every core is needed.
set -euo pipefail
cd "$(dirname "$0")/.."
export BINLAKE_CACHE=${BINLAKE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/binlake}
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$BINLAKE_CACHE/target}

for tool in cargo python3 java; do
  command -v $tool >/dev/null || { echo "bench: needs $tool (deploy/servers/install-deps.sh)" >&2; exit 3; }
done
echo "-- build (release; the first time takes minutes)"
cargo build --release --quiet -p binlake -p binlake-load
exec python3 -B deploy/bench/bench.py
