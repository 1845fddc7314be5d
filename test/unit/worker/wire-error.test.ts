import { describe, expect, test } from 'vitest';
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

/** As the other process gets it. */
function sent(error: unknown): Error {
  return fromWire(JSON.parse(JSON.stringify(toWire(error))) as WireError);
}

const hint = 'try this';
const ERRORS: readonly TsbuildError[] = [
  new StepError('a step failed', {
    code: 'E_BUILD_FAILED',
    hint,
    argv: ['sh', '-c', 'false'],
    reason: 'exit',
    exitCode: 7,
    logTail: 'last\nwords',
    logPath: '/logs/x',
    layer: 3,
    imageId: 'im-1',
  }),
  new StepError('killed', {
    code: 'E_BUILD_SIGNAL',
    argv: ['x'],
    reason: 'signal',
    signal: 'SIGKILL',
    logTail: '',
  }),
  new DefinitionError('no', { code: 'E_UNKNOWN_USER', hint }),
  new UsageError('no', { code: 'E_USAGE' }),
  new HostError('no', { code: 'E_IO', syscall: 'open', errno: 'ENOENT', path: '/x', hint }),
  new RemoteError('no', {
    code: 'E_REGISTRY',
    method: 'GET',
    url: 'https://registry.test/v2/',
    status: 503,
    ociCodes: ['DENIED'],
    attempts: 4,
    retryable: true,
  }),
  new IntegrityError('no', { code: 'E_DIGEST_MISMATCH', expected: 'a', actual: 'b', source: 'c' }),
  new InternalError('an invariant broke'),
];

describe('errors between front and worker', () => {
  test.each(ERRORS)('$name $code keeps its class, text and facts', (error) => {
    const received = sent(error);
    expect(received).toBeInstanceOf(error.constructor);
    expect(received.message).toBe(error.message);
    expect({ ...received }).toEqual({ ...error });
  });

  test('every class of errors.ts is among them', async () => {
    const classes = Object.entries(await import('../../../src/errors.ts'))
      .filter(([name, value]) => typeof value === 'function' && name !== 'TsbuildError')
      .map(([name]) => name);
    expect([...new Set(ERRORS.map(({ name }) => name))].sort()).toEqual(classes.sort());
  });

  test('a system call that failed is the machine’s affair', () => {
    const io = Object.assign(new Error("ENOENT: no such file, open '/x'"), {
      code: 'ENOENT',
      syscall: 'open',
      path: '/x',
    });
    const received = sent(io);
    expect(received).toBeInstanceOf(HostError);
    expect(received).toMatchObject({ code: 'E_IO', errno: 'ENOENT', syscall: 'open', path: '/x' });
    const full = Object.assign(new Error('ENOSPC: no space left'), { code: 'ENOSPC', syscall: 'write' });
    expect(sent(full)).toMatchObject({ code: 'E_DISK_FULL', errno: 'ENOSPC' });
  });

  test.each([new TypeError('x is undefined'), 'a string', undefined, null, { code: 'ERR_X' }])(
    'anything else is our bug: %s',
    (thrown) => {
      expect(sent(thrown)).toBeInstanceOf(InternalError);
    },
  );

  test('a class that this version does not know is our bug too, and nothing is made of its name', () => {
    for (const name of ['constructor', '__proto__', 'TsbuildError', 'Newer']) {
      expect(fromWire({ class: name, message: 'm', code: 'E_IO', details: {} })).toBeInstanceOf(
        InternalError,
      );
    }
    expect(fromWire(cancelledWire())).toBeInstanceOf(InternalError);
  });
});
