import { utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { BuildValidation } from '../../../src/engine/build-validation.ts';
import { BuildInputs } from '../../../src/engine/local-inputs.ts';
import type { LocalInput } from '../../../src/frontend/fluent/local-input.ts';
import { type ConfigFile, readSettings } from '../../../src/settings.ts';
import { MemoryStatCache } from '../../support/plain-scan.ts';
import { temporaryTree } from '../../support/temporary-tree.ts';

const signal = new AbortController().signal;
const HOUR_MS = 3_600_000;

type Policy = 'error' | 'warn' | 'ignore';

function build(policy: Policy, startMs: number, own = '/nowhere') {
  const validation = new BuildValidation(policy, startMs, own);
  return { validation, inputs: new BuildInputs(new MemoryStatCache(), Date.now, validation) };
}

const file = (hostPath: string): LocalInput => ({
  expects: 'file',
  hostPath,
  fileAt: '/file',
  directoryAt: '/',
  filter: { kind: 'none' },
});

describe('input files that change while a build runs', () => {
  test('are an error, a warning or nothing, as the policy says', async () => {
    await using tree = await temporaryTree({ f: 'x' });
    const input = file(join(tree.path, 'f'));
    const before = Date.now() - HOUR_MS;
    const code = 'E_FILE_CHANGED_DURING_BUILD';
    await expect(build('error', before).inputs.scan(input, signal)).rejects.toMatchObject({ code });
    const warned = build('warn', before);
    await warned.inputs.scan(input, signal);
    await warned.inputs.scan(input, signal);
    expect(warned.validation.diagnostics).toEqual([
      { code: 'W_FILE_CHANGED_DURING_BUILD', message: expect.stringContaining(join(tree.path, 'f')) },
    ]);
    const ignored = build('ignore', before);
    await ignored.inputs.scan(input, signal);
    expect(ignored.validation.diagnostics).toEqual([]);
  });

  test('a file from before is none of them, whatever its time says', async () => {
    await using tree = await temporaryTree({ f: 'x', future: 'y' });
    const future = join(tree.path, 'future');
    utimesSync(future, 4_000_000_000, 4_000_000_000);
    const { inputs } = build('error', Date.now() + 50);
    await inputs.scan(file(join(tree.path, 'f')), signal);
    await inputs.scan(file(future), signal);
  });

  test('a file of a context counts, one that the build fetched does not, nor does what a container gets', async () => {
    await using tree = await temporaryTree({ f: 'x' });
    const context = {
      kind: 'context',
      name: 'context',
      directory: tree.path,
      ignore: undefined,
      selections: [{ source: 'f' }],
    } as const;
    const before = Date.now() - HOUR_MS;
    await expect(build('error', before).inputs.contextFiles(context, signal)).rejects.toMatchObject({
      code: 'E_FILE_CHANGED_DURING_BUILD',
    });
    await build('error', before, tree.path).inputs.contextFiles(context, signal);
    await build('error', before).inputs.mounted(file(join(tree.path, 'f')), signal);
  });

  test('the policy comes from the environment or a configuration file', () => {
    const policy = (env: Record<string, string>, project: ConfigFile = {}) =>
      readSettings({ HOME: '/h', ...env }, project).buildValidation;
    expect(policy({})).toBe('error');
    expect(policy({ TSBUILD_BUILD_VALIDATION: 'warn' }, { buildValidation: 'ignore' })).toBe('warn');
    expect(policy({}, { buildValidation: 'ignore' })).toBe('ignore');
    expect(() => policy({ TSBUILD_BUILD_VALIDATION: 'perhaps' })).toThrow(
      expect.objectContaining({ code: 'E_USAGE' }),
    );
  });

  test('what is written later is noticed by the next build only', async () => {
    await using tree = await temporaryTree({ f: 'x' });
    const path = join(tree.path, 'f');
    const { inputs } = build('error', Date.now() + 50);
    const { contentDigest } = await inputs.scan(file(path), signal);
    writeFileSync(path, 'y');
    expect((await inputs.scan(file(path), signal)).contentDigest).toBe(contentDigest);
  });
});
