import { createRequire } from 'node:module';

const require = createRequire(import.meta.url);
const PREFIX = '\0builtin:';
const PROMISIFIED = Symbol.for('nodejs.util.promisify.custom');

/** Node has loaded these before any program starts, and their functions are called often. */
const ALWAYS_THERE = new Set(['node:buffer', 'node:fs', 'node:module', 'node:path', 'node:url', 'node:util']);

/**
 * Lets compiled code load what it needs of Node when it needs it: an `import` of a built-in module loads it and all that it is
 * made of, and then reads every export, which loads still more. For a build of which everything is known that is a third of
 * its time (ADR 24). Functions, classes and lists load their module when they are first used; whatever else is imported is read at once.
 */
export function lazyBuiltins() {
  return {
    name: 'lazy-builtins',
    resolveId: (id) => (id.startsWith('node:') ? `${PREFIX}${id}` : null),
    load: (id) => (id.startsWith(PREFIX) ? moduleText(id.slice(PREFIX.length)) : null),
  };
}

function moduleText(id) {
  const builtin = require(id);
  const name = JSON.stringify(id);
  const lines = [`let loaded; const load = () => (loaded ??= process.getBuiltinModule(${name}));`];
  for (const key of Object.keys(builtin)) {
    if (/^[\p{ID_Start}$_][\p{ID_Continue}$]*$/u.test(key) && key !== 'default') {
      lines.push(`const ${key}_ = ${exportText(id, key, builtin)}; export { ${key}_ as ${key} };`);
    }
  }
  return { code: lines.join('\n'), moduleSideEffects: false };
}

function exportText(id, key, builtin) {
  // Reading some of them would load more, here too.
  const { value, get } = Object.getOwnPropertyDescriptor(builtin, key) ?? {};
  // Names of classes begin with a capital.
  const isClass = /^[A-Z][a-z]/.test(key) && (typeof value === 'function' || get !== undefined);
  if (key === 'constants' && !ALWAYS_THERE.has(id)) {
    return '/* @__PURE__ */ new Proxy({}, { get: (_, name) => load().constants[name] })';
  }
  if (!(isClass || typeof value === 'function') || ALWAYS_THERE.has(id)) {
    return !ALWAYS_THERE.has(id) && Array.isArray(builtin[key])
      ? `/* @__PURE__ */ new Proxy([], { get: (_, name) => Reflect.get(load().${key}, name) })`
      : `/* @__PURE__ */ (() => load().${key})()`;
  }
  if (isClass) {
    return `/* @__PURE__ */ new Proxy(function () {}, {
  get: (_, name) => Reflect.get(load().${key}, name),
  construct: (_, args, target) => Reflect.construct(load().${key}, args, target === ${key}_ ? load().${key} : target),
})`;
  }
  const call = `(...args) => load().${key}(...args)`;
  return value[PROMISIFIED] === undefined
    ? call
    : `/* @__PURE__ */ Object.assign(${call}, { [Symbol.for('nodejs.util.promisify.custom')]: (...args) => load().${key}[Symbol.for('nodejs.util.promisify.custom')](...args) })`;
}
