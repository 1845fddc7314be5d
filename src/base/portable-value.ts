/**
 * Values that go to a function in a container and come back: JSON, with tags for what JSON cannot say. The drivers in `data/`
 * read and write the same form.
 */
import type { Json } from './canonical-json.ts';

/** Names a tagged value; an object that has a member of this name itself is written as a list of members. */
const TAG = '$tsbuild';

/** @throws {TypeError} for functions, symbols, instances of other classes, and values that contain themselves. */
export function toPortable(value: unknown): Json {
  return encode(value, []);
}

function encode(value: unknown, above: readonly unknown[]): Json {
  switch (typeof value) {
    case 'string':
    case 'boolean':
      return value;
    case 'number':
      return Number.isFinite(value) && !Object.is(value, -0)
        ? value
        : tagged('number', Object.is(value, -0) ? '-0' : String(value));
    case 'bigint':
      return tagged('bigint', String(value));
    case 'undefined':
      return tagged('undefined', null);
    case 'object':
      break;
    default:
      throw new TypeError(`a ${typeof value} cannot be carried into a container`);
  }
  if (value === null) {
    return null;
  }
  if (above.includes(value)) {
    throw new TypeError('a value that contains itself cannot be carried into a container');
  }
  const within = [...above, value];
  const each = (one: unknown) => encode(one, within);
  if (Array.isArray(value)) {
    return value.map(each);
  }
  if (value instanceof Date) {
    return tagged('Date', each(value.getTime()));
  }
  if (value instanceof Map) {
    return tagged(
      'Map',
      [...value].map(([key, one]) => [each(key), each(one)]),
    );
  }
  if (value instanceof Set) {
    return tagged('Set', [...value].map(each));
  }
  if (value instanceof Uint8Array) {
    return tagged('bytes', Buffer.from(value).toString('base64'));
  }
  const prototype: unknown = Object.getPrototypeOf(value);
  if (prototype !== null && prototype !== Object.prototype) {
    throw new TypeError(
      `a ${value.constructor?.name || 'class'} instance cannot be carried into a container`,
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

function tagged(kind: string, value: Json): Json {
  return { [TAG]: kind, value };
}

/** @throws {TypeError} for a tag that is not known. */
export function fromPortable(value: Json): unknown {
  if (value === null || typeof value !== 'object') {
    return value;
  }
  if (Array.isArray(value)) {
    return value.map(fromPortable);
  }
  const object = value as Readonly<Record<string, Json>>;
  const kind = object[TAG];
  const inner = object.value as Json;
  switch (kind) {
    case undefined:
      return Object.fromEntries(Object.entries(object).map(([name, one]) => [name, fromPortable(one)]));
    case 'number':
      return Number(inner);
    case 'bigint':
      return BigInt(inner as string);
    case 'undefined':
      return undefined;
    case 'Date':
      return new Date(fromPortable(inner) as number);
    case 'Map':
      return new Map(
        (inner as [Json, Json][]).map(([key, one]) => [fromPortable(key), fromPortable(one)] as const),
      );
    case 'Set':
      return new Set((inner as Json[]).map(fromPortable));
    case 'bytes':
      return new Uint8Array(Buffer.from(inner as string, 'base64'));
    case 'object':
      return Object.fromEntries((inner as [string, Json][]).map(([name, one]) => [name, fromPortable(one)]));
    default:
      throw new TypeError(`a value of the unknown kind '${String(kind)}'`);
  }
}
