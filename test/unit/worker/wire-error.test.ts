import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import {
  DefinitionError,
  HostError,
  IntegrityError,
  InternalError,
  RemoteError,
  StepError,
  type TsbuildError,
  UsageError,
} from '../../../src/errors.ts';
import type { WireError } from '../../../src/worker/protocol.ts';
import { cancelledWire, fromWire, toWire } from '../../../src/worker/wire-error.ts';

/** As it comes out at the other end of the pipe. */
function across(error: unknown): Error {
  return fromWire(JSON.parse(JSON.stringify(toWire(error))) as WireError);
}

/** Everything of an error but where it was made. */
function facts(error: Error): Record<string, unknown> {
  const { stack: _stack, cause: _cause, ...own } = error as Error & Record<string, unknown>;
  return { ...own, message: error.message, class: error.constructor.name };
}

const cause = new Error('inner');
const ERRORS: readonly TsbuildError[] = [
  new StepError('failed', {
    code: 'E_BUILD_FAILED',
    hint: 'look',
    cause,
    argv: ['sh', '-c', 'exit 7'],
    reason: 'exit',
    exitCode: 7,
    logTail: 'out\nlast',
    logPath: '/store/logs/x.log',
    imageId: 'im-1',
    layer: 3,
  }),
  new StepError('killed', {
    code: 'E_BUILD_SIGNAL',
    argv: [],
    reason: 'signal',
    signal: 'SIGKILL',
    logTail: '',
  }),
  new DefinitionError('wrong', { code: 'E_UNKNOWN_USER', hint: 'another' }),
  new DefinitionError('wrong flag', {
    code: 'E_DOCKERFILE_FLAG',
    file: 'Dockerfile',
    line: 3,
    column: 5,
    excerpt: '> 3 | RUN --x',
    culprit: '--x',
  }),
  new UsageError('what', { code: 'E_USAGE' }),
  new HostError('full', {
    code: 'E_DISK_FULL',
    syscall: 'write',
    errno: 'ENOSPC',
    path: '/x',
    hint: 'prune',
  }),
  new RemoteError('refused', {
    code: 'E_AUTH',
    method: 'GET',
    url: 'https://registry.test/v2/',
    status: 401,
    ociCodes: ['UNAUTHORIZED', 'DENIED'],
    attempts: 3,
    retryable: true,
  }),
  new RemoteError('refused', { code: 'E_NETWORK' }),
  new IntegrityError('other bytes', {
    code: 'E_DIGEST_MISMATCH',
    expected: 'sha256:a',
    actual: 'sha256:b',
    source: '/blob',
  }),
  new InternalError('broke', { hint: 'tell us' }),
];

test.each(ERRORS.map((error) => [error.name, error] as const))(
  '%s comes with all that it has',
  (_name, error) => {
    const other = across(error);
    expect(facts(other)).toEqual(facts(error));
    expect(other).toBeInstanceOf(error.constructor);
  },
);

test('every class is among them', () => {
  const source = readFileSync(new URL('../../../src/errors.ts', import.meta.url), 'utf8');
  const classes = [...source.matchAll(/^export class (\w+)/gm)].map(([, name]) => name);
  expect(new Set(ERRORS.map(({ name }) => name))).toEqual(new Set(classes));
});

test('a bug is said once, however often it crosses', () => {
  expect(across(across(new InternalError('broke'))).message).toBe('broke (this is a bug in tsbuild)');
});

test('a system call that failed is an error of the host', () => {
  let failure: unknown;
  try {
    readFileSync('/does/not/exist');
  } catch (error) {
    failure = error;
  }
  expect(across(failure)).toMatchObject({
    name: 'HostError',
    code: 'E_IO',
    errno: 'ENOENT',
    syscall: 'open',
    path: '/does/not/exist',
    message: expect.stringContaining('ENOENT'),
  });
});

test.each(['ENOSPC', 'EDQUOT'])('%s is a full disk', (code) => {
  const failure = Object.assign(new Error(`${code}: full`), { code, syscall: 'write' });
  expect(across(failure)).toMatchObject({ code: 'E_DISK_FULL', errno: code, path: undefined });
});

test.each([
  ['an error of the language', new TypeError('x is not a function'), 'TypeError: x is not a function'],
  ["an error of Node's own", Object.assign(new Error('bad'), { code: 'ERR_INVALID_ARG_TYPE' }), 'Error: bad'],
  ['an errno without a system call', Object.assign(new Error('bad'), { code: 'ENOENT' }), 'Error: bad'],
  ['a text', 'oops', 'oops'],
  ['undefined', undefined, 'undefined'],
  ['null', null, 'null'],
])('%s is a bug', (_what, thrown, beginning) => {
  const error = across(thrown);
  expect(error).toBeInstanceOf(InternalError);
  expect(error.message.startsWith(beginning)).toBe(true);
  expect(error.message).toMatch(/\(this is a bug in tsbuild\)$/);
});

test.each([
  'NoSuchError',
  'Cancelled',
  'TsbuildError',
  '',
  'constructor',
  'toString',
  '__proto__',
  'hasOwnProperty',
])("class '%s' is unknown and becomes an InternalError", (name) => {
  const error = fromWire({ class: name, message: 'm', code: 'E_IO', details: {} });
  expect(error).toBeInstanceOf(InternalError);
  expect(error).toMatchObject({ code: 'E_INTERNAL', message: 'm (this is a bug in tsbuild)' });
});

test('a cancellation that nobody asked for is a bug', () => {
  expect(fromWire(cancelledWire())).toBeInstanceOf(InternalError);
});

test('details do not replace what an error is', () => {
  const details = JSON.parse(
    '{"code":"E_USAGE","exitStatus":0,"name":"X","message":"y","stack":"z","__proto__":{"polluted":true}}',
  ) as Record<string, unknown>;
  const error = fromWire({ class: 'HostError', message: 'm', code: 'E_IO', details });
  expect(error).toMatchObject({ name: 'HostError', message: 'm', code: 'E_IO', exitStatus: 3 });
  expect(error.stack).toContain('HostError');
  expect(({} as Record<string, unknown>).polluted).toBeUndefined();
  expect((error as unknown as Record<string, unknown>).polluted).toBeUndefined();
});

test('text of any kind survives', () => {
  const text = 'a\0b\u001b[31m"\\\u2028\n😀\ud800';
  const error = new StepError(text, { code: 'E_BUILD_FAILED', argv: [text], reason: 'exit', logTail: text });
  expect(across(error)).toMatchObject({ message: text, argv: [text], logTail: text });
});
