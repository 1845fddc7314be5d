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

/** Where compiled code is kept. Not in the temporary directory, which is Node's default: others can write there, and this is code. */
function codeDirectory() {
  const cache = process.env.XDG_CACHE_HOME || `${builtin('node:os').homedir()}/.cache`;
  return `${cache}/tsbuild/node`;
}

function rememberCompiledCode() {
  if (process.env.NODE_COMPILE_CACHE) {
    return;
  }
  try {
    builtin('node:module').enableCompileCache(codeDirectory());
  } catch {
    // A user without a home directory starts a little slower.
  }
}

/** The context of what may be a build of a Dockerfile: the only operand of such a build is a directory. */
function quickContext([command, ...words]) {
  return command === 'build' ? words.find(isDirectory) : undefined;
}

function isDirectory(word) {
  try {
    return builtin('node:fs').statSync(word).isDirectory();
  } catch {
    // Most words are no paths, and some are too long for one.
    return false;
  }
}

/** V8 compiles so much sooner than a file is found. */
const SMALL_SCRIPT_BYTES = 4096;
/** The scripts that were loaded, by their paths. */
const scripts = new Map();

/**
 * The command line as a script.
 *
 * @returns Undefined where there is none, or nothing can be remembered.
 */
function quickScript() {
  if (process.env.NODE_COMPILE_CACHE || process.env.NODE_DISABLE_COMPILE_CACHE) {
    return undefined;
  }
  try {
    return loadScript(
      builtin('node:url').fileURLToPath(new URL('../dist/quick/always.cjs', import.meta.url)),
    );
  } catch {
    // The modules say what is wrong, if it is more than a home directory.
    return undefined;
  }
}

/** A script, with what V8 made of it the last time: all functions that ran, so that they need not be compiled again. */
function loadScript(filename) {
  const loaded = scripts.get(filename);
  if (loaded !== undefined) {
    return loaded.exports;
  }
  const module = { exports: {} };
  scripts.set(filename, module);
  const fs = builtin('node:fs');
  const { dirname, resolve } = builtin('node:path');
  const { Script, constants } = builtin('node:vm');
  // It is ASCII; so it is read soonest.
  const source = fs.readFileSync(filename, 'latin1');
  const isWorthRemembering = source.length > SMALL_SCRIPT_BYTES;
  const remembered = `${codeDirectory()}/${source.slice(3, 67)}-${process.version}-${process.arch}`;
  const script = new Script(`(function (exports, require, module, __filename) {${source}\n})`, {
    filename,
    cachedData: isWorthRemembering ? contentOf(remembered) : undefined,
    importModuleDynamically: constants.USE_MAIN_CONTEXT_DEFAULT_LOADER,
  });
  if (isWorthRemembering && script.cachedDataRejected !== false) {
    process.on('exit', (status) => {
      // Who failed at once has not run what others will.
      if (status === 0) {
        remember(remembered, script.createCachedData());
      }
    });
  }
  const requireModule = builtin('node:module').createRequire(filename);
  const require = (id) =>
    id.startsWith('.') ? loadScript(resolve(dirname(filename), id)) : requireModule(id);
  script.runInThisContext()(module.exports, require, module, filename);
  return module.exports;
}

function contentOf(path) {
  const fs = builtin('node:fs');
  return fs.existsSync(path) ? fs.readFileSync(path) : undefined;
}

function remember(path, content) {
  const fs = builtin('node:fs');
  const unfinished = `${path}.${process.pid}`;
  try {
    fs.mkdirSync(codeDirectory(), { recursive: true });
    fs.writeFileSync(unfinished, content, { mode: 0o600 });
    fs.renameSync(unfinished, path);
  } catch {
    fs.rmSync(unfinished, { force: true });
  }
}

/** Quicker walks are over before it is worth beginning them. */
const LONG_WALK_MS = 4;
/** Paths that a walk skips; reading more takes as long as it spares. */
const MOST_SKIPPED_CHARACTERS = 64 * 1024;
const MOST_WALKS = 16;

/**
 * Begins the walk by which the context will be recognised as it was the last time, on another thread, while all else loads. If the build
 * asks for another one, this was in vain and nothing else.
 */
function lookAhead(context) {
  try {
    const path = builtin('node:path').resolve(context);
    const file = `${codeDirectory()}/walks.json`;
    const native = builtin('node:module').createRequire(import.meta.url)(
      `../native/dist/tsbuild.linux-${process.arch}.node`,
    );
    const walks = JSON.parse(contentOf(file) ?? '[]');
    const known = walks.find((walk) => walk.context === path);
    if (known !== undefined) {
      native.beginWalk(known.root, known.skip);
    }
    process.on('exit', (status) => {
      const { root, skip, tookMs } = native.lastWalk() ?? { tookMs: 0 };
      if (
        status === 0 &&
        tookMs >= LONG_WALK_MS &&
        skip.length <= MOST_SKIPPED_CHARACTERS &&
        root === builtin('node:fs').realpathSync(path)
      ) {
        const others = walks.filter((walk) => walk !== known).slice(1 - MOST_WALKS);
        remember(file, JSON.stringify([...others, { context: path, root, skip }]));
      }
    });
  } catch {
    // The build says what is wrong, if it is anything.
  }
}

async function start() {
  const context = quickContext(process.argv.slice(2));
  if (context !== undefined) {
    lookAhead(context);
  }
  const script = context === undefined ? undefined : quickScript();
  try {
    await script?.runProcess();
  } catch (error) {
    if (error?.name !== 'Elsewhere') {
      throw error;
    }
  }
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
