import { mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { Store } from '../../../src/engine/store.ts';

let dir: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'tsbuild-store-'));
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

test('is made with its parents, for the user alone', () => {
  const store = Store.open(join(dir, 'a/b/store'), () => 0);
  store.close();
  expect(statSync(join(dir, 'a/b/store')).mode & 0o777).toBe(0o700);
});

test('has an absolute path, however it was named', () => {
  const store = Store.open(relative(process.cwd(), join(dir, 'store')), () => 0);
  store.close();
  expect(store.dir).toBe(join(dir, 'store'));
});

// In /proc a directory cannot be made, and the errno says that its parent is missing, which it is not.
test.each(['/proc/tsbuild', 'FILE', 'FILE/below'])('%s is no place for it', (place) => {
  writeFileSync(join(dir, 'file'), '');
  const path = place.replace('FILE', join(dir, 'file'));
  expect(() => Store.open(path, () => 0)).toThrow(expect.objectContaining({ code: 'E_IO' }));
});
