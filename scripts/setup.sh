#!/usr/bin/env bash
# Sets up what this checkout needs: system packages, npm packages, the native helper, the compiled library.
#
#   scripts/setup.sh            what building and running images needs
#   scripts/setup.sh --tests    also what the tests need: a registry, tools that read images back
#
# As root it installs Debian packages; otherwise it lists what is missing and the one command that installs it.
set -euo pipefail
cd "$(dirname "$0")/.."

want_tests=false
[ "${1:-}" = --tests ] && want_tests=true

need_node=18
need_cargo_minor=88

missing=()
need() { # need COMMAND PACKAGE
  command -v "$1" >/dev/null 2>&1 || missing+=("$2")
}

need bwrap bubblewrap
need newuidmap uidmap
need cc gcc
need git git
[ -e /etc/ssl/certs/ca-certificates.crt ] || missing+=(ca-certificates)
cargo_minor() { cargo --version 2>/dev/null | sed -E 's/^cargo 1\.([0-9]+).*/\1/'; }
if [ "$(cargo_minor || true)" = "" ] || [ "$(cargo_minor)" -lt "$need_cargo_minor" ]; then
  # Debian 12 carries a current Rust for its browsers under this name.
  if apt-cache show cargo-web >/dev/null 2>&1; then missing+=(cargo-web rustc-web); else missing+=(cargo rustc); fi
fi
if $want_tests; then
  need docker-registry docker-registry
  need skopeo skopeo
  need umoci umoci
  need buildah buildah
  need podman podman
  need openssl openssl
  need zstd zstd
  need xz xz-utils
  need bzip2 bzip2
  need runc runc
  need crun crun
  need pasta passt
  need linux.uml user-mode-linux
  need busybox busybox-static
  need mkfs.xfs xfsprogs
  need jq jq
  need setfattr attr
  need setfacl acl
  need setcap libcap2-bin
  need script bsdutils
  need mmdebstrap mmdebstrap
  need ssh-agent openssh-client
  need qemu-aarch64-static qemu-user-static
fi

if ! command -v npm >/dev/null 2>&1; then
  echo "setup: npm is missing. Install Node.js $need_node or later (Debian: apt-get install nodejs npm)." >&2
  exit 3
fi

if [ ${#missing[@]} -gt 0 ]; then
  if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
    echo "setup: installing ${missing[*]}"
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq
    apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
  else
    echo "setup: these packages are missing: ${missing[*]}" >&2
    echo "setup: as root, run: apt-get install --no-install-recommends ${missing[*]}" >&2
    exit 3
  fi
fi
if [ "$(cargo_minor)" -lt "$need_cargo_minor" ]; then
  echo "setup: Rust 1.$need_cargo_minor or later is needed, found $(cargo --version). See https://rustup.rs" >&2
  exit 3
fi

# What a lock file or a source asks for is compared with what the last run of this script left.
stamp=node_modules/.tsbuild-setup
wanted="$(cat package.json package-lock.json | sha256sum)"
if [ ! -x node_modules/.bin/node ] || [ "$(cat $stamp 2>/dev/null || true)" != "$wanted" ]; then
  echo "setup: installing npm packages"
  npm ci --no-audit --no-fund --loglevel=error
  echo "$wanted" > $stamp
fi
export PATH="$PWD/node_modules/.bin:$PATH"

echo "setup: building"
npm run --silent build
