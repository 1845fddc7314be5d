import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import {
  type BuildSecret,
  buildSecretReader,
  MAX_SECRET_BYTES,
  parseBuildSecret,
} from '../../../src/secret/build-secret.ts';

const secret = (id: string, kind: BuildSecret['source']['kind'], name: string): BuildSecret => ({
  id,
  source: { kind, name },
});

describe('parseBuildSecret', () => {
  test.each([
    ['id=a,src=/x', secret('a', 'file', '/x')],
    ['id=a,source=x y', secret('a', 'file', 'x y')],
    ['ID=a,SRC=x', secret('a', 'file', 'x')],
    ['type=file,id=a', secret('a', 'file', 'a')],
    ['id=a,env=B', secret('a', 'environment', 'B')],
    ['id=a,type=env', secret('a', 'environment', 'a')],
    ['id=a,type=env,src=B', secret('a', 'environment', 'B')],
    ['id=a', secret('a', 'either', 'a')],
    ['"id=a,b","src=c,""d"', secret('a,b', 'file', 'c,"d')],
    ['id=a=b,src=c=d', secret('a=b', 'file', 'c=d')],
  ])('%s', (text, expected) => {
    expect(parseBuildSecret(text)).toEqual(expected);
  });

  test.each([
    '',
    'a',
    'src=x',
    'id=,src=x',
    'id=a,src=x,env=Y',
    'id=a,type=env,src=x,env=Y',
    'id=a,type=file,env=Y',
    'id=a,type=vault',
    'id=a,id=b',
    'id=a,src=x,source=y',
    'id=a,mode=0400',
    'id=a,"src=x',
  ])('%s is refused', (text) => {
    expect(() => parseBuildSecret(text)).toThrow(
      expect.objectContaining({ name: 'UsageError', code: 'E_USAGE' }),
    );
  });
});

describe('buildSecretReader', () => {
  let dir: string;
  beforeEach(() => {
    dir = mkdtempSync(join(tmpdir(), 'tsbuild-secret-'));
  });
  afterEach(() => rmSync(dir, { recursive: true, force: true }));

  const reader = (secrets: readonly BuildSecret[], environment: NodeJS.ProcessEnv = {}) =>
    buildSecretReader(secrets, { environment, cwd: dir });

  test('bytes of a file are as they are, and read once', async () => {
    const bytes = Buffer.from([0, 255, 10, 128]);
    writeFileSync(join(dir, 'f'), bytes);
    const read = reader([secret('a', 'file', 'f')]);
    expect(await read('a')).toEqual({ kind: 'value', bytes });
    writeFileSync(join(dir, 'f'), 'other');
    expect(await read('a')).toEqual({ kind: 'value', bytes });
  });

  test('a pipe is read to its end', async () => {
    execFileSync('mkfifo', [join(dir, 'p')]);
    const read = reader([secret('a', 'file', 'p')]);
    const [value] = await Promise.all([
      read('a'),
      import('node:fs/promises').then((fs) => fs.writeFile(join(dir, 'p'), 'from a pipe')),
    ]);
    expect(value).toEqual({ kind: 'value', bytes: Buffer.from('from a pipe') });
  });

  test('a variable; an empty one is a value, one that is not set is none', async () => {
    const read = reader([secret('a', 'environment', 'A'), secret('b', 'environment', 'B')], { A: '' });
    expect(await read('a')).toEqual({ kind: 'value', bytes: Buffer.alloc(0) });
    expect(await read('b')).toEqual({ kind: 'missing', why: "the environment variable 'B' is not set" });
    expect(await read('c')).toEqual({ kind: 'missing', why: 'it was not given to the build' });
  });

  test('an id alone is the variable, then the file', async () => {
    writeFileSync(join(dir, 'a'), 'file');
    const secrets = [secret('a', 'either', 'a'), secret('b', 'either', 'b')];
    expect(await reader(secrets, { a: 'variable' })('a')).toEqual({
      kind: 'value',
      bytes: Buffer.from('variable'),
    });
    expect(await reader(secrets)('a')).toEqual({ kind: 'value', bytes: Buffer.from('file') });
    expect(await reader(secrets)('b')).toMatchObject({ kind: 'missing' });
  });

  test('the largest is taken, a larger one is refused, and nothing of it is said', async () => {
    writeFileSync(join(dir, 'largest'), 'x'.repeat(MAX_SECRET_BYTES));
    writeFileSync(join(dir, 'larger'), 'y'.repeat(MAX_SECRET_BYTES + 1));
    const read = reader([secret('a', 'file', 'largest'), secret('b', 'file', 'larger')]);
    expect((await read('a')).kind).toBe('value');
    const error = await read('b').catch((thrown: Error) => thrown);
    expect(error).toMatchObject({ code: 'E_SECRET_VALUE' });
    expect((error as Error).message).not.toContain('yyy');
  });

  test('a file that was named and is not there is an error', async () => {
    await expect(reader([secret('a', 'file', 'none')])('a')).rejects.toMatchObject({
      code: 'E_SECRET_MISSING',
      message: expect.stringContaining(`${dir}/none`),
    });
  });

  test('of two of one id the later counts', async () => {
    const read = reader([secret('a', 'environment', 'A'), secret('a', 'environment', 'B')], { B: 'b' });
    expect(await read('a')).toEqual({ kind: 'value', bytes: Buffer.from('b') });
  });
});
