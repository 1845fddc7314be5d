#!/usr/bin/env node
// Written for any Node that knows modules, so that one that is too old gets a sentence instead of a syntax error. Built-in modules
// are not imported: that reads every export of them, which loads others that a build may not need.
const LEAST = [22, 18];
const builtin = process.getBuiltinModule;

function isOldEnough(version) {
  const [major, minor] = version.split('.').map(Number);
  return major > LEAST[0] || (major === LEAST[0] && minor >= LEAST[1]);
}

async function refuse() {
  const { existsSync } = await import('node:fs');
  const { fileURLToPath } = await import('node:url');
  const path = (name) => fileURLToPath(new URL(name, import.meta.url));
  const own = path('../node_modules/node/bin/node');
  const advice = existsSync(own)
    ? `this checkout brings one: run '${own} ${path('tsbuild.js')}', or use npm run`
    : 'install a newer Node, from nodejs.org or with a version manager';
  process.stderr.write(
    `error: tsbuild needs Node ${LEAST.join('.')} or later, and this is Node ${process.versions.node}\nhint: ${advice}\n`,
  );
  process.exit(3);
}

function rememberCompiledCode() {
  if (process.env.NODE_COMPILE_CACHE) {
    return;
  }
  try {
    // Not in the temporary directory, which is Node's default: others can write there, and this is code.
    const cache = process.env.XDG_CACHE_HOME || `${builtin('node:os').homedir()}/.cache`;
    builtin('node:module').enableCompileCache(`${cache}/tsbuild/node`);
  } catch {
    // A user without a home directory starts a little slower.
  }
}

function start() {
  rememberCompiledCode();
  const built = new URL('../dist/cli/main.js', import.meta.url);
  const main = builtin('node:fs').existsSync(built) ? built : new URL('../src/cli/main.ts', import.meta.url);
  import(main.href).then(
    (loaded) => loaded.runProcess(),
    (error) => {
      process.stderr.write(`error: tsbuild cannot start: ${error instanceof Error ? error.stack : error}\n`);
      process.exit(70);
    },
  );
}

if (isOldEnough(process.versions.node)) {
  start();
} else {
  refuse();
}
