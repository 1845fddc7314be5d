#!/usr/bin/env bash
# Builds the Rust workspace and puts the addon and the launcher where the TypeScript side looks for them.
set -euo pipefail
cd "$(dirname "$0")/.."
case "$(uname -m)" in
  x86_64) arch=x64 ;;
  aarch64) arch=arm64 ;;
  *) echo "tsbuild: no native helper for $(uname -m); needs x86_64 or aarch64" >&2; exit 1 ;;
esac
cargo build --release --locked --manifest-path native/Cargo.toml --package tsbuild-binding
# Static: inside a sandbox it runs on a root filesystem that may hold no C library, or another one.
cargo rustc --release --locked --manifest-path native/Cargo.toml --package tsbuild-launcher --bin tsbuild-launcher -- \
  -C target-feature=+crt-static
mkdir -p native/dist
# Renamed into place: a running process keeps the file that it has mapped.
install -m 0755 native/target/release/libtsbuild_binding.so "native/dist/.new.node"
mv "native/dist/.new.node" "native/dist/tsbuild.linux-$arch.node"
install -m 0755 native/target/release/tsbuild-launcher native/dist/.new
mv native/dist/.new "native/dist/tsbuild-launcher.linux-$arch"
