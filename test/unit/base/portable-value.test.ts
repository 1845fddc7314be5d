import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { fromPortable, toPortable } from '../../../src/base/portable-value.ts';

const VALUES = [
  null,
  undefined,
  -0,
  Number.NaN,
  Number.NEGATIVE_INFINITY,
  10n ** 30n,
  new Date(5),
  new Map<unknown, unknown>([[{ a: 1 }, new Set([undefined, 'x'])]]),
  new Uint8Array([0, 255]),
  { $tsbuild: 'number', value: 'text' },
  [[], {}, { deep: [new Date(Number.NaN)] }],
];

describe('values that go into containers and back', () => {
  test.each(VALUES)('%s', (value) => {
    expect(fromPortable(JSON.parse(JSON.stringify(toPortable(value))))).toStrictEqual(value);
  });

  test('whatever JSON says stays what it is', () => {
    fc.assert(
      fc.property(fc.jsonValue(), (value) => {
        expect(fromPortable(toPortable(value))).toStrictEqual(value);
      }),
    );
  });

  test('what cannot be carried is refused', () => {
    const loop: unknown[] = [];
    loop.push(loop);
    for (const value of [() => 1, Symbol('a'), new (class A {})(), loop, new WeakMap()]) {
      expect(() => toPortable(value)).toThrow(TypeError);
    }
  });

  test('the driver reads and writes the same form', () => {
    const text = readFileSync(new URL('../../../data/function-driver.mjs', import.meta.url), 'utf8');
    const from = (name: string) => {
      const begin = text.indexOf(`function ${name}(`);
      return text.slice(begin, text.indexOf('\n}\n', begin) + 3);
    };
    const directory = mkdtempSync(join(tmpdir(), 'tsbuild-portable-'));
    try {
      const script = join(directory, 'echo.mjs');
      writeFileSync(
        script,
        `const TAG = '$tsbuild';\n${from('decode')}\n${from('encode')}
const values = JSON.parse(process.argv[2]);\nconsole.log(JSON.stringify(values.map((one) => encode(decode(one), []))));`,
      );
      const carried = VALUES.map(toPortable);
      const echoed = execFileSync(process.execPath, [script, JSON.stringify(carried)], { encoding: 'utf8' });
      expect(JSON.parse(echoed)).toEqual(JSON.parse(JSON.stringify(carried)));
    } finally {
      rmSync(directory, { recursive: true });
    }
  });
});
