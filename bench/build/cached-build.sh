#!/usr/bin/env bash
# The whole process of a fully cached build of examples/hello-python with an OCI layout as output: wall seconds of each run.
#
#     bench/build/cached-build.sh [RUNS]        after npm run build; the first build fills a store below TMPDIR
set -euo pipefail
cd "$(dirname "$0")/../.."
export PATH="$PWD/node_modules/.bin:$PATH"
work=$(mktemp -d)
export TSBUILD_HOME="$work/store"
cleanup() {
  node bin/tsbuild.js prune --all >/dev/null 2>&1 || true
  rm -rf "$work"
}
trap cleanup EXIT
build() {
  node bin/tsbuild.js build examples/hello-python/image.ts -t hello --progress=plain \
    -o "type=oci,dest=$work/out,tar=false" >/dev/null 2>"$work/log" || cat "$work/log" >&2
}
TIMEFORMAT=%R
echo "first: $({ time build; } 2>&1)"
for run in $(seq "${1:-10}"); do
  echo "cached $run: $({ time build; } 2>&1)"
done
echo "node -e 0: $({ time node -e 0; } 2>&1)"
