#!/usr/bin/env bash
# A fully cached Dockerfile with a small context: wall seconds of the whole process of `tsbuild build` and, where BUILDKIT_HOST
# names a daemon, of `buildctl build` against it, in turn. Once without an output, once into an OCI archive.
#
#     bench/build/cached-dockerfile.sh [RUNS]        after npm run build; needs busybox-static; works below TMPDIR
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

context="$work/context"
mkdir -p "$context/src"
cp "$(command -v busybox)" "$context/busybox"
for file in $(seq 50); do seq "$file" 2000 > "$context/src/$file"; done
printf '*.log\n' > "$context/.dockerignore"
cat > "$context/Dockerfile" <<'EOF'
FROM scratch AS base
COPY busybox /bin/sh
ENV PATH=/bin
FROM base AS build
WORKDIR /src
COPY src .
RUN cat * > /all
RUN wc -l < /all > /lines
FROM base
ARG VERSION=1
LABEL version=$VERSION
COPY --from=build /all /lines /out/
RUN --mount=type=cache,target=/cache cp /out/lines /cache/
RUN echo $VERSION > /version
USER 1000
CMD ["cat", "/out/lines"]
EOF

tsbuild() { node bin/tsbuild.js build -q "$context" "$@" >/dev/null; }
buildctl_() {
  buildctl build --progress=quiet --frontend dockerfile.v0 --local "context=$context" --local "dockerfile=$context" "$@" \
    >/dev/null 2>&1
}
builders="tsbuild"
[ -n "${BUILDKIT_HOST:-}" ] && builders="tsbuild buildctl_"

TIMEFORMAT=%R
for output in none oci; do
  for run in first $(seq "${1:-10}"); do
    for builder in $builders; do
      arguments=()
      [ $output = oci ] && arguments=(--output "type=oci,dest=$work/$builder.tar")
      echo "$output $run ${builder%_}: $({ time $builder ${arguments[@]+"${arguments[@]}"}; } 2>&1)"
    done
  done
done
echo "node -e 0: $({ time node -e 0; } 2>&1)"
