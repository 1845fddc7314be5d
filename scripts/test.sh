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
run cargo fmt --manifest-path native/Cargo.toml --all --check
run cargo clippy --quiet --locked --manifest-path native/Cargo.toml --workspace --all-targets -- -D warnings
run cargo test --quiet --locked --manifest-path native/Cargo.toml --workspace
run vitest run
