#!/usr/bin/env bash
# What build and tests need beside Rust, JDK 17, Maven, Node and Python. For Debian 12; safe to run again:
# it asks the network for nothing when all is there.
set -euo pipefail
packages=(mold gcc g++ make pkg-config libssl-dev zlib1g-dev unzip zstd curl openssl)
command -v dpkg-query >/dev/null || { echo "install-deps.sh: not a Debian; install these by hand: ${packages[*]}" >&2; exit 1; }
missing=()
for p in "${packages[@]}"; do
  [ "$(dpkg-query -W -f '${db:Status-Status}' "$p" 2>/dev/null)" = installed ] || missing+=("$p")
done
[ ${#missing[@]} -gt 0 ] || exit 0
echo "installing: ${missing[*]}" >&2
sudo=
if [ "$(id -u)" != 0 ]; then
  command -v sudo >/dev/null || { echo "install-deps.sh: neither root nor sudo; as root run: apt-get install ${missing[*]}" >&2; exit 1; }
  sudo=sudo
fi
$sudo apt-get update -qq
$sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}"
