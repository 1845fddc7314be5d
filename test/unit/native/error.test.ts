import { expect, test } from 'vitest';
import { DefinitionError, HostError, IntegrityError, InternalError } from '../../../src/errors.ts';
import { fromNative, isCancelled } from '../../../src/native/error.ts';

function failure(code: string, more: { errno?: string; path?: string; message?: string } = {}): Error {
  return new Error(JSON.stringify({ code, errno: null, path: null, message: 'it broke', ...more }));
}

test.each([
  ['BAD_ARCHIVE', IntegrityError, 'E_BAD_ARCHIVE'],
  ['ARCHIVE_LIMIT', IntegrityError, 'E_ARCHIVE_LIMIT'],
  ['DIGEST_MISMATCH', IntegrityError, 'E_DIGEST_MISMATCH'],
  ['LAYER_UNREPRESENTABLE', DefinitionError, 'E_LAYER_UNREPRESENTABLE'],
  ['FILE_CONFLICT', DefinitionError, 'E_PACKAGE_CONFLICT'],
  ['SOURCE_CHANGED', DefinitionError, 'E_FILE_CHANGED_DURING_BUILD'],
  ['NOT_A_DIRECTORY', DefinitionError, 'E_PATH_BLOCKED'],
  ['IS_A_DIRECTORY', DefinitionError, 'E_PATH_BLOCKED'],
  ['TOO_LARGE', DefinitionError, 'E_FILE_TOO_LARGE'],
  ['TOO_MANY_LAYERS', DefinitionError, 'E_TOO_MANY_LAYERS'],
  ['NEEDS_IDS', HostError, 'E_SUBUID_MISSING'],
  ['IO', HostError, 'E_IO'],
  ['SOMETHING_NEW', InternalError, 'E_INTERNAL'],
])('%s has a class and a code', (code, type, expected) => {
  const native = failure(code);
  const error = fromNative(native, 'cannot unpack');
  expect(error).toBeInstanceOf(type);
  expect(error).toMatchObject({ code: expected, cause: native });
  expect(error.message).toMatch(/^cannot unpack: it broke/);
});

test('a full disk is told apart, and keeps errno and path', () => {
  const error = fromNative(failure('IO', { errno: 'ENOSPC', path: '/x' }), 'cannot write');
  expect(error).toMatchObject({ code: 'E_DISK_FULL', errno: 'ENOSPC', path: '/x' });
});

test('a digest error carries both digests', () => {
  const [actual, expected] = [`sha256:${'a'.repeat(64)}`, `sha256:${'b'.repeat(64)}`];
  const message = `the blob of 'x' has digest ${actual}, expected ${expected}`;
  expect(fromNative(failure('DIGEST_MISMATCH', { message }), 'cannot unpack')).toMatchObject({
    actual,
    expected,
  });
});

test('other errors pass through, and only ours are cancellations', () => {
  const other = new TypeError('{"code": not JSON');
  expect(fromNative(other, 'cannot')).toBe(other);
  expect(isCancelled(failure('CANCELLED'))).toBe(true);
  expect(isCancelled(failure('IO'))).toBe(false);
  expect(isCancelled(other)).toBe(false);
});
