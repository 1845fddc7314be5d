#!/usr/bin/env bash
# From a fresh clone to an image that was built, run, exported and, if you name a registry, pushed.
#
#   npm run quickstart                                  as you; as root, in an account of its own without privileges
#   npm run quickstart -- --as-root                     as root, without a user namespace
#   npm run quickstart -- --registry localhost:5000     also push there
#   npm run quickstart -- --with-registry               also start Debian's docker-registry on a free port and push there
set -euo pipefail
cd "$(dirname "$0")/.."
checkout="$PWD"

as=self
[ "$(id -u)" = 0 ] && as=user
registry=
with_registry=false
while [ $# -gt 0 ]; do
  case "$1" in
    --as-root) as=root ;;
    --as-user) as=user ;;
    --registry) registry="${2:?--registry needs HOST:PORT}"; shift ;;
    --with-registry) with_registry=true ;;
    *) echo "quickstart: unknown option '$1'" >&2; sed -n '4,7p' "$0" >&2; exit 2 ;;
  esac
  shift
done
if [ "$(id -u)" != 0 ]; then
  [ "$as" = root ] && { echo "quickstart: --as-root needs root" >&2; exit 2; }
  as=self
fi

if $with_registry; then bash scripts/setup.sh --tests; else bash scripts/setup.sh; fi

work="$(mktemp -d "${TMPDIR:-/tmp}/tsbuild-quickstart.XXXXXX")"
registry_pid=
account=
cleanup() {
  [ -n "$registry_pid" ] && kill "$registry_pid" 2>/dev/null
  # Files of subordinate ids can only be removed from within the namespace that made them.
  $run "$node" "$package/bin/tsbuild.js" prune --all >/dev/null 2>&1 || true
  rm -rf "$work"
  [ -n "$account" ] && userdel "$account" 2>/dev/null
  true
}

# What npm would install, at a place that the other account can read: a clone often lies in a private directory.
package="$checkout"
run=
if [ "$as" = user ]; then
  account="tsbuild-quickstart-$$"
  useradd --no-create-home --home-dir "$work/home" --shell /bin/bash "$account"
  grep -q "^$account:" /etc/subuid || usermod --add-subuids 600100000-600165535 --add-subgids 600100000-600165535 "$account"
  package="$work/package"
  mkdir -p "$package/node_modules" "$package/native" "$work/home"
  cp -a bin dist data package.json examples "$package/"
  cp -a native/dist "$package/native/dist"
  npm ls --omit=dev --all --parseable 2>/dev/null | sed -n "s|^$checkout/node_modules/||p" | while read -r name; do
    mkdir -p "$package/node_modules/$(dirname "$name")"
    cp -a "node_modules/$name" "$package/node_modules/$(dirname "$name")/"
  done
  cp -L node_modules/.bin/node "$work/node"
  chmod 755 "$work"
  chown -R "$account:" "$work/home" "$package"
  run="runuser -u $account -- env HOME=$work/home"
fi
node="$checkout/node_modules/.bin/node"
[ "$as" = user ] && node="$work/node"
trap cleanup EXIT

export TSBUILD_HOME="$work/store"
mkdir -p "$work/store" "$work/out"
[ -n "$account" ] && chown "$account:" "$work/store" "$work/out"

if $with_registry; then
  port="$("$node" -e 'const s=require("net").createServer().listen(0,"127.0.0.1",()=>{console.log(s.address().port);s.close()})')"
  cat > "$work/registry.yml" <<EOF
version: 0.1
log: { level: error }
storage: { filesystem: { rootdirectory: $work/registry } }
http: { addr: "127.0.0.1:$port" }
EOF
  docker-registry serve "$work/registry.yml" >"$work/registry.log" 2>&1 &
  registry_pid=$!
  registry="127.0.0.1:$port"
  for _ in $(seq 50); do
    (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null && break
    sleep 0.1
  done
fi

tsbuild() { (cd "$package" && $run "$node" "$package/bin/tsbuild.js" "$@"); }
say() { printf '\n\033[1m%s\033[0m\n' "$*"; }

say "1. Build examples/hello-python as $([ "$as" = root ] && echo root || echo "${account:-$(id -un)}")"
tsbuild build examples/hello-python/image.ts -t hello-python --output "type=oci,dest=$work/out/hello-python,tar=false"

say "2. Run it"
tsbuild run hello-python

say "3. The exported OCI layout"
(cd "$work/out/hello-python" && ls -l index.json oci-layout && ls -l blobs/sha256 | tail -n +2)

if [ -n "$registry" ]; then
  say "4. Push to $registry"
  tsbuild push hello-python "$registry/hello-python:latest"
  if $with_registry && command -v skopeo >/dev/null; then
    skopeo inspect --tls-verify=false "docker://$registry/hello-python:latest" | head -n 20
  fi
fi

say "5. Build again: everything is cached"
start="$(date +%s%N)"
tsbuild build examples/hello-python/image.ts -t hello-python --output "type=oci,dest=$work/out/hello-python,tar=false"
end="$(date +%s%N)"
echo "second build: $(((end - start) / 1000000)) ms, whole process"
