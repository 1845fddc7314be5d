#!/usr/bin/env node
// Written for any Node that knows modules, so that one that is too old gets a sentence instead of a syntax error.
import { existsSync } from 'node:fs';
import module from 'node:module';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';

const LEAST = [22, 18];
const root = fileURLToPath(new URL('..', import.meta.url));

function isOldEnough(version) {
  const [major, minor] = version.split('.').map(Number);
  return major > LEAST[0] || (major === LEAST[0] && minor >= LEAST[1]);
}

function refuse() {
  const own = join(root, 'node_modules', 'node', 'bin', 'node');
  const advice = existsSync(own)
    ? `this checkout brings one: run '${own} ${join(root, 'bin', 'tsbuild.js')}', or use npm run`
    : 'install a newer Node, from nodejs.org or with a version manager';
  process.stderr.write(
    `error: tsbuild needs Node ${LEAST.join('.')} or later, and this is Node ${process.versions.node}\nhint: ${advice}\n`,
  );
  process.exit(3);
}

function rememberCompiledCode() {
  if (!module.enableCompileCache || process.env.NODE_COMPILE_CACHE) {
    return;
  }
  try {
    // Not in the temporary directory, which is Node's default: others can write there, and this is code.
    const cache = process.env.XDG_CACHE_HOME || join(homedir(), '.cache');
    module.enableCompileCache(join(cache, 'tsbuild', 'node'));
  } catch {
    // A user without a home directory starts a little slower.
  }
}

function start() {
  rememberCompiledCode();
  const built = join(root, 'dist', 'cli', 'main.js');
  const main = existsSync(built) ? built : join(root, 'src', 'cli', 'main.ts');
  import(pathToFileURL(main).href).then(
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
