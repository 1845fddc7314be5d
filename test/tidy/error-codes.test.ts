/** A code in the table is a promise that something throws it. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { ERROR_CODES } from '../../src/error-codes.ts';

const ROOT = join(import.meta.dirname, '../..');

function sources(directory: string, ending: string): string[] {
  return readdirSync(join(ROOT, directory), { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith(ending))
    .map((name) => join(directory, name));
}

const used = new Set(
  sources('src', '.ts')
    .filter((path) => path !== 'src/error-codes.ts')
    .flatMap((path) => readFileSync(join(ROOT, path), 'utf8').match(/\bE_[A-Z_]+\b/g) ?? []),
);

test('every code of the table is used', () => {
  expect(Object.keys(ERROR_CODES).filter((code) => !used.has(code))).toEqual([]);
});
