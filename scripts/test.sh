#!/usr/bin/env bash
# Everything that has to hold: set-up, format, lint, types, generated files, Rust tests, TypeScript tests.
#
#   npm test                     all of it
#   npm test -- test/unit        only these TypeScript tests, after the set-up
set -euo pipefail
cd "$(dirname "$0")/.."
bash scripts/setup.sh --tests
export PATH="$PWD/node_modules/.bin:$PATH"

if [ $# -gt 0 ]; then
  exec vitest run "$@"
fi

run() {
  echo "== $*"
  "$@"
}
run biome check --error-on-warnings
run tsc -p tsconfig.json
run node scripts/generate.ts --check
# The Rust side is checked beside the TypeScript tests, which leave a processor free most of the time.
rust_log=$(mktemp)
rust() {
  run cargo fmt --manifest-path native/Cargo.toml --all --check
  run cargo clippy --quiet --locked --manifest-path native/Cargo.toml --workspace --all-targets -- -D warnings
  run cargo test --quiet --locked --manifest-path native/Cargo.toml --workspace
}
(set -e; rust) >"$rust_log" 2>&1 &
rust_pid=$!
trap 'kill "$rust_pid" 2>/dev/null || true; rm -f "$rust_log"' EXIT
status=0
run vitest run || status=1
wait "$rust_pid" || status=1
cat "$rust_log"
exit "$status"
