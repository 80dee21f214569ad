#!/usr/bin/env bash
# Each fuzz target for a while, one after the other; fails if one finds something.
#   FUZZ_SECONDS=60   FUZZ_TARGETS="events session" (default: all)
# Inputs that reached new code, and findings, stay in BINLAKE_CACHE/fuzz, so that the next run goes on from there. One
# line per target is appended to tests/reports/fuzz.jsonl. Needs rustup's nightly toolchain.
set -euo pipefail
cd "$(dirname "$0")/.."
cache=${BINLAKE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/binlake}
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$cache/target}
export PATH=$cache/tools/bin:$PATH
seconds=${FUZZ_SECONDS:-60}
crates=(wave/crates/binlog wave/crates/mysql-wire)
report=tests/reports/fuzz.jsonl

cargo +nightly --version >/dev/null 2>&1 ||
  { echo "fuzz: needs a nightly compiler: rustup toolchain install nightly --profile minimal" >&2; exit 3; }
command -v cargo-fuzz >/dev/null || cargo +nightly install cargo-fuzz --locked --quiet --root "$cache/tools"

echo "-- build"
corpus=$cache/fuzz/corpus seeds=$cache/fuzz/seeds artifacts=$cache/fuzz/artifacts
rm -rf "$seeds"
all=()
for crate in "${crates[@]}"; do
  # No address sanitizer: the crates forbid unsafe code, and without it several times as many inputs are tried. Checks of
  # overflow and debug assertions are on.
  (cd "$crate" && cargo +nightly fuzz build --sanitizer none >/dev/null 2>"$cache/fuzz-build.log") ||
    { cat "$cache/fuzz-build.log" >&2; exit 1; }
  python3 -B "$crate/fuzz/seeds.py" "$seeds"
  for file in "$crate"/fuzz/fuzz_targets/*.rs; do
    grep -q 'fuzz_target!' "$file" && all+=("$(basename "$file" .rs)")
  done
done
binaries=$CARGO_TARGET_DIR/$(rustc -vV | sed -n 's/^host: //p')/release
commit=$(git describe --always --dirty 2>/dev/null || echo unknown)

read -ra targets <<<"${FUZZ_TARGETS:-${all[*]}}"
failed=0
for target in "${targets[@]}"; do
  [[ " ${all[*]} " == *" $target "* ]] || { echo "fuzz: no target $target; there are: ${all[*]}" >&2; exit 2; }
  mkdir -p "$corpus/$target" "$artifacts/$target" "$seeds/$target"
  log=$artifacts/$target.log
  began=$(date +%s)
  stamp=$(mktemp)
  # a finding of the library under test (crash, out of memory, too slow) ends the run with another code than 0
  code=0
  TIMEFORMAT='%0U %0S'
  cpu=$({ time "$binaries/$target" -max_total_time="$seconds" -max_len=8192 -rss_limit_mb=512 -timeout=20 -print_final_stats=1 \
    -artifact_prefix="$artifacts/$target/" "$corpus/$target" "$seeds/$target" >"$log" 2>&1; } 2>&1) || code=$?
  cpu=$((${cpu/ /+}))
  took=$(($(date +%s) - began))
  found=$(find "$artifacts/$target" -type f ! -name 'slow-unit-*' -newer "$stamp")
  rm -f "$stamp"
  executions=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
  coverage=$(grep -ao 'cov: [0-9]*' "$log" | tail -1 | cut -d' ' -f2) || true
  crashes=$(grep -c . <<<"$found" || true)
  if [ "$code" != 0 ] && [ "$crashes" = 0 ]; then crashes=1; fi
  # A process that a crash ended prints no statistics; its last line of progress begins with the number.
  executions=${executions:-$(grep -ao '^#[0-9]*' "$log" | tail -1 | tr -d '#')} || true
  printf '%-8s %4ss %4s CPU-s %10s executions %6s coverage %s findings\n' "$target" "$took" "$cpu" "${executions:-0}" "${coverage:-0}" "$crashes"
  printf '{"commit":"%s","target":"%s","seconds":%d,"cpu_seconds":%d,"executions":%d,"coverage":%d,"crashes":%d,"date":"%s"}\n' \
    "$commit" "$target" "$took" "$cpu" "${executions:-0}" "${coverage:-0}" "$crashes" "$(date -u +%FT%TZ)" >>"$report"
  if [ "$code" != 0 ]; then
    failed=1
    grep -am1 -A1 -E 'panicked|ERROR' "$log" | cut -c 1-300 >&2 || tail -5 "$log" >&2
    printf 'finding: %s\nagain:   %s %s\n' "${found:-see $log}" "$binaries/$target" "${found%%$'\n'*}" >&2
  fi
done
exit $failed
