// Runs one JavaScript function in a container and reports how it ended. Lies in /run/tsbuild/function together with
// payload.json and module.mjs; nothing of it is in the image.
import { readFileSync, writeFileSync } from 'node:fs';
import * as nodeModule from 'node:module';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';

const HERE = new URL('.', import.meta.url);
const TAG = '$tsbuild';
const payload = JSON.parse(readFileSync(new URL('payload.json', HERE), 'utf8'));
/** What a module of the image at the working directory would be called. */
const PARENT = pathToFileURL(join(process.cwd(), 'tsbuild-function.mjs')).href;
/** Where `npm install --global` puts packages. */
const GLOBAL_PARENTS = ['/usr/local/lib/', '/usr/lib/', '/usr/share/nodejs/'].map(
  (directory) => pathToFileURL(`${directory}tsbuild-function.mjs`).href,
);

if (typeof nodeModule.register !== 'function') {
  throw new Error(`functions need Node 18.19 or later, this is ${process.version}`);
}
process.setSourceMapsEnabled(true);

// Packages are looked up from the working directory, as if the function's module lay there; `tsbuild` is the recipe-only one.
const RESOLVE = `
const HERE = ${JSON.stringify(HERE.href)}, PARENTS = ${JSON.stringify([PARENT, ...GLOBAL_PARENTS])};
const HAS_SHIM = ${payload.hasShim === true};
const applies = (specifier, context) =>
  typeof context.parentURL === 'string' && context.parentURL.startsWith(HERE) &&
  !/^(\\.{0,2}\\/|[a-z][a-z0-9+.-]*:|#)/i.test(specifier);`;
if (typeof nodeModule.registerHooks === 'function') {
  const make = new Function(
    `${RESOLVE}
return (specifier, context, next) => {
  if (!applies(specifier, context)) return next(specifier, context);
  if (specifier === 'tsbuild' && HAS_SHIM) return { url: HERE + 'tsbuild.mjs', shortCircuit: true };
  let first;
  for (const parentURL of PARENTS) {
    try { return next(specifier, { ...context, parentURL }); } catch (error) {
      if (error.code !== 'ERR_MODULE_NOT_FOUND' && error.code !== 'MODULE_NOT_FOUND') throw error;
      first ??= error;
    }
  }
  throw first;
};`,
  );
  nodeModule.registerHooks({ resolve: make() });
} else {
  const source = `${RESOLVE}
export async function resolve(specifier, context, next) {
  if (!applies(specifier, context)) return next(specifier, context);
  if (specifier === 'tsbuild' && HAS_SHIM) return { url: HERE + 'tsbuild.mjs', shortCircuit: true };
  let first;
  for (const parentURL of PARENTS) {
    try { return await next(specifier, { ...context, parentURL }); } catch (error) {
      if (error.code !== 'ERR_MODULE_NOT_FOUND') throw error;
      first ??= error;
    }
  }
  throw first;
}`;
  nodeModule.register(`data:text/javascript,${encodeURIComponent(source)}`);
}

function decode(value) {
  if (value === null || typeof value !== 'object') return value;
  if (Array.isArray(value)) return value.map(decode);
  const inner = value.value;
  switch (value[TAG]) {
    case undefined:
      return Object.fromEntries(Object.entries(value).map(([name, one]) => [name, decode(one)]));
    case 'number':
      return Number(inner);
    case 'bigint':
      return BigInt(inner);
    case 'undefined':
      return undefined;
    case 'Date':
      return new Date(decode(inner));
    case 'Map':
      return new Map(inner.map(([key, one]) => [decode(key), decode(one)]));
    case 'Set':
      return new Set(inner.map(decode));
    case 'bytes':
      return new Uint8Array(Buffer.from(inner, 'base64'));
    case 'object':
      return Object.fromEntries(inner.map(([name, one]) => [name, decode(one)]));
    default:
      throw new TypeError(`a value of the unknown kind '${value[TAG]}'`);
  }
}

function encode(value, above) {
  const tagged = (kind, inner) => ({ [TAG]: kind, value: inner });
  switch (typeof value) {
    case 'string':
    case 'boolean':
      return value;
    case 'number':
      if (Object.is(value, -0)) return tagged('number', '-0');
      return Number.isFinite(value) ? value : tagged('number', String(value));
    case 'bigint':
      return tagged('bigint', String(value));
    case 'undefined':
      return tagged('undefined', null);
    case 'object':
      break;
    default:
      throw new TypeError(`a ${typeof value} cannot be carried out of a container`);
  }
  if (value === null) return null;
  if (above.includes(value))
    throw new TypeError('a value that contains itself cannot be carried out of a container');
  const each = (one) => encode(one, [...above, value]);
  if (Array.isArray(value)) return value.map(each);
  if (value instanceof Date) return tagged('Date', each(value.getTime()));
  if (value instanceof Map)
    return tagged(
      'Map',
      [...value].map(([key, one]) => [each(key), each(one)]),
    );
  if (value instanceof Set) return tagged('Set', [...value].map(each));
  if (value instanceof Uint8Array) return tagged('bytes', Buffer.from(value).toString('base64'));
  const prototype = Object.getPrototypeOf(value);
  if (prototype !== null && prototype !== Object.prototype) {
    throw new TypeError(
      `a ${value.constructor?.name || 'class'} instance cannot be carried out of a container`,
    );
  }
  const members = Object.entries(value);
  return Object.hasOwn(value, TAG) || Object.hasOwn(value, '__proto__')
    ? tagged(
        'object',
        members.map(([name, one]) => [name, each(one)]),
      )
    : Object.fromEntries(members.map(([name, one]) => [name, each(one)]));
}

function report(what) {
  writeFileSync(new URL('report', HERE), JSON.stringify(what));
}

function failed(error, stage) {
  const isError = error instanceof Error;
  // Reading the stack is what maps it to the user's files. Frames of this driver are how the function was reached.
  const stack = String(isError ? (error.stack ?? error) : `thrown: ${describe(error)}`)
    .split('\n')
    .filter((line) => !/^\s+at .*\/run\/tsbuild\/function\/driver\.mjs/.test(line))
    .join('\n');
  report({
    ok: false,
    error: {
      type: isError ? error.name : typeof error,
      message: isError ? error.message : describe(error),
      stack,
      stage,
    },
  });
  process.stderr.write(`${stack}\n`);
  process.exit(1);
}

function describe(value) {
  try {
    return String(value).slice(0, 1000);
  } catch {
    return typeof value;
  }
}

process.on('uncaughtException', (error) => failed(error, 'call'));

globalThis[Symbol.for('tsbuild.globals')] = decode(payload.globals ?? {});
globalThis[Symbol.for('tsbuild.require')] = nodeModule.createRequire(PARENT);
let value;
try {
  const module = await import(new URL('module.mjs', HERE).href);
  // Packages that image.imports() named must be there before the first call.
  await Promise.all(globalThis[Symbol.for('tsbuild.imports')] ?? []);
  const fn = module.default;
  if (typeof fn !== 'function') {
    throw new TypeError(`'${payload.name}' is not a function`);
  }
  value = await fn(...payload.args.map(decode));
} catch (error) {
  failed(error, 'call');
}
// Warnings are printed, and forgotten rejections noticed, only now.
await new Promise((resolve) => setImmediate(resolve));
if (payload.wantsResult) {
  let encoded;
  try {
    encoded = encode(value, []);
  } catch (error) {
    failed(error, 'result');
  }
  report({ ok: true, value: encoded });
}
process.exit(process.exitCode ?? 0);
