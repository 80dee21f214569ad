#!/usr/bin/env bash
# Format, lints, documentation, licences, spelling, direction of dependencies. Installs the tools it needs into the cache.
set -euo pipefail
cd "$(dirname "$0")/.."
cache=${BINLAKE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/binlake}
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$cache/target}
tools=$cache/tools

# A small native program that is published as a Python package too.
if [ ! -x "$tools/bin/typos" ]; then
  echo "-- installing typos into $tools, only this once"
  python3 -m venv "$tools"
  "$tools/bin/pip" -q install typos==1.52.0
fi
# Built without optimisation: it runs for a second, and a good build of it takes ten minutes.
if ! "$tools/bin/cargo-deny" --version 2>/dev/null | grep -qF 0.18.9; then
  echo "-- building cargo-deny into $tools, only this once; takes some minutes"
  CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_OPT_LEVEL=0 CARGO_PROFILE_RELEASE_DEBUG=0 CARGO_TARGET_DIR=$tools/target \
    cargo install --quiet cargo-deny --version 0.18.9 --locked --force --root "$tools"
  rm -rf "$tools/target"
fi

step() { echo "-- $1"; shift; "$@"; }
step "format" cargo fmt --all --check
step "direction of dependencies" deploy/layers.py
step "spelling" "$tools/bin/typos"
step "licences and sources" "$tools/bin/cargo-deny" --log-level error check --hide-inclusion-graph licenses bans sources
step "lints" cargo clippy --workspace --all-targets --quiet -- -D warnings
RUSTDOCFLAGS="-D warnings" step "documentation" cargo doc --workspace --no-deps --quiet
# Workspaces of their own, which would otherwise break unseen between two runs of deploy/fuzz.sh.
for crate in wave/crates/binlog wave/crates/mysql-wire; do
  (cd "$crate/fuzz" && step "lints of $crate/fuzz" cargo clippy --no-deps --locked --quiet -- -D warnings && cargo fmt --check)
done
