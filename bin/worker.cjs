// The worker, started from what V8 made of it the last time it ran (ADR 24): all functions that it used need not be compiled again.
'use strict';
const fs = require('node:fs');
const { Script, constants } = require('node:vm');

const filename = require('node:path').join(__dirname, '../dist/worker/main.cjs');

/** Of the user, who may be told otherwise by nobody but root: what lies there is code. Undefined where nothing can be remembered. */
function directory() {
  if (process.env.NODE_DISABLE_COMPILE_CACHE) {
    return undefined;
  }
  try {
    return `${process.env.XDG_CACHE_HOME || `${require('node:os').homedir()}/.cache`}/tsbuild/node`;
  } catch {
    return undefined;
  }
}

function read(path) {
  try {
    return fs.readFileSync(path);
  } catch {
    return undefined;
  }
}

function remember(path, script) {
  const unfinished = `${path}.${process.pid}.${Date.now()}`;
  try {
    fs.mkdirSync(directory(), { recursive: true });
    fs.writeFileSync(unfinished, script.createCachedData(), { mode: 0o600 });
    fs.renameSync(unfinished, path);
  } catch {
    fs.rmSync(unfinished, { force: true });
  }
}

// It is ASCII; so it is read soonest. Its first line names it.
const source = fs.readFileSync(filename, 'latin1');
const remembered =
  directory() && `${directory()}/worker-${source.slice(3, 67)}-${process.version}-${process.arch}`;
const script = new Script(`(function (exports, require, module, __filename) {${source}\n})`, {
  filename,
  cachedData: remembered && read(remembered),
  importModuleDynamically: constants.USE_MAIN_CONTEXT_DEFAULT_LOADER,
});
if (remembered && script.cachedDataRejected !== false) {
  process.on('exit', () => remember(remembered, script));
}
const module_ = { exports: {} };
script.runInThisContext()(module_.exports, require('node:module').createRequire(filename), module_, filename);
