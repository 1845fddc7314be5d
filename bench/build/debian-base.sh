#!/usr/bin/env bash
# Assembles a Debian base with tsbuild and with mmdebstrap in turn, as root, from the same mirror onto the same file system,
# and prints the seconds of each whole process: cold (nothing downloaded before) and warm (packages in a local cache).
# TMPDIR says where; deleting on ext4 makes later runs slow, so a tmpfs is best.
#
#     bench/build/debian-base.sh [ROUNDS] [SUITE...]
set -euo pipefail
cd "$(dirname "$0")/../.."
export PATH="$PWD/node_modules/.bin:$PATH"
rounds=${1:-3}
shift || true
suites=("${@:-trixie}")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
TIMEFORMAT=%R

ours() { # SUITE CACHE
  { time node bench/build/debian-base.ts "$1" "$2" > "$work/log" 2>&1 || cat "$work/log" >&2; } 2>&1
  rm -rf "$2/snapshots"
}
theirs() { # SUITE CACHE
  mkdir -p "$2"
  { time mmdebstrap --mode=root --variant=minbase --skip=download/empty --skip=essential/unlink \
    --setup-hook='mkdir -p "$1"/var/cache/apt/archives/' \
    --setup-hook="cp -a '$2/.' \"\$1\"/var/cache/apt/archives/" \
    --customize-hook="cp -a \"\$1\"/var/cache/apt/archives/*.deb '$2/'" \
    "$1" "$work/root" http://deb.debian.org/debian > "$work/log" 2>&1; } 2>&1
  rm -rf "$work/root"
}
for suite in "${suites[@]}"; do
  for round in $(seq "$rounds"); do
    rm -rf "$work"/cache-*
    echo "$suite $round cold: tsbuild $(ours "$suite" "$work/cache-a") mmdebstrap $(theirs "$suite" "$work/cache-b")"
    echo "$suite $round warm: tsbuild $(ours "$suite" "$work/cache-a") mmdebstrap $(theirs "$suite" "$work/cache-b")"
  done
done
