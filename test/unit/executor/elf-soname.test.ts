import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { sonameOf } from '../../../src/executor/elf-soname.ts';

/** Of this very program, as the loader finds them. */
function libraries(): [name: string, path: string][] {
  const listed = execFileSync('ldd', [process.execPath], { encoding: 'utf8' });
  return [...listed.matchAll(/(\S+) => (\/\S+) \(0x/g)].map(([, name = '', path = '']) => [name, path]);
}

test('libraries are called what the loader calls them', () => {
  const found = libraries();
  expect(found.length).toBeGreaterThan(2);
  expect(found.map(([, path]) => sonameOf(path))).toEqual(found.map(([name]) => name));
});

test('what is no library, or damaged, has none', () => {
  const dir = mkdtempSync(join(tmpdir(), 'tsbuild-elf-'));
  onTestFinished(() => rmSync(dir, { recursive: true }));
  const [[, path = ''] = []] = libraries();
  const whole = readFileSync(path);
  const file = join(dir, 'f');
  const of = (bytes: Uint8Array) => {
    writeFileSync(file, bytes);
    return sonameOf(file);
  };
  expect(sonameOf(process.execPath)).toBeUndefined();
  for (const length of [0, 3, 63, 64, 100, 300]) {
    expect(of(whole.subarray(0, length))).toBeUndefined();
  }
  for (let at = 16; at < 64; at += 1) {
    const bent = Buffer.from(whole.subarray(0, 64 * 1024));
    bent[at] = 0xff;
    expect(() => of(bent)).not.toThrow();
  }
});
