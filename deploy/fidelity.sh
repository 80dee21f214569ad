#!/usr/bin/env bash
# What BinLake delivers, compared cell by cell with what real servers say (tests/fidelity): the long form.
#   FIDELITY_SERVERS="mysql-9.7 mariadb-10.11"   default: every server that deploy/servers has
#   FIDELITY_SEED=1
# At least 100,000 cells on the first three, 20,000 on the others. One line per server is appended to
# tests/reports/fidelity.jsonl. The servers are fetched on first use.
set -euo pipefail
cd "$(dirname "$0")/.."
export BINLAKE_CACHE=${BINLAKE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/binlake}
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$BINLAKE_CACHE/target}
export BINLAKE_BIN=$CARGO_TARGET_DIR/debug/binlake
much="mysql-9.7 mariadb-10.11 mariadb-11.8"
all="$much mysql-8.0.31 mysql-8.0.12 mysql-5.7.29 mysql-5.7.22 mysql-5.6.24 mysql-5.5.34
  mariadb-sid mariadb-11.4.5 mariadb-10.5 mariadb-10.2.11 mariadb-10.1.23"
read -r -d '' -a servers <<<"${FIDELITY_SERVERS:-$all}" || true

cargo build --quiet -p binlake -p binlake-fidelity --bins
failed=0
for server in "${servers[@]}"; do
  cells=20000
  [[ " $much " != *" $server "* ]] || cells=100000
  "$CARGO_TARGET_DIR/debug/binlake-fidelity" --cells "$cells" --seed "${FIDELITY_SEED:-1}" \
    --report tests/reports/fidelity.jsonl "$server" || failed=1
done
exit $failed
