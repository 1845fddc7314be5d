import { execFileSync } from 'node:child_process';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { launcherPath } from '../../src/native/launcher-path.ts';
import { lacks } from '../support/requires.ts';
import { SNAPSHOT_CASES } from './snapshot-driver-cases.ts';

describe.skipIf(lacks('root')).each(['overlay', 'copy'])('snapshots by %s', (kind) => {
  let storeDir: string;
  let outcomes: Record<string, string>;
  beforeAll(() => {
    storeDir = mkdtempSync(join(tmpdir(), 'tsbuild-snapshots-'));
    const program = join(import.meta.dirname, '../support/snapshot-cases.ts');
    outcomes = JSON.parse(
      execFileSync(launcherPath(), ['--mode', 'root', '--', process.execPath, program, storeDir, kind], {
        encoding: 'utf8',
      }),
    );
  });
  afterAll(() => rmSync(storeDir, { recursive: true, force: true }));

  test.each(Object.keys(SNAPSHOT_CASES))('%s', (name) => {
    expect(outcomes[name]).toBe('passed');
  });

  test('closed stores leave nothing in tmp/', () => {
    expect(readdirSync(join(storeDir, 'tmp'))).toEqual([]);
  });
});
