/** With one user id owners, devices and lists are recorded: whoever runs the worker, a step sees the same and its layer is the same. */
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { RECORDER_CASES } from '../support/recorder-cases.ts';
import { lacks } from '../support/requires.ts';
import { canMakeUsers, runJson, type Stage, stage, type TestUser } from '../support/unprivileged-user.ts';

interface Done {
  readonly lines: readonly string[];
  readonly warnings: readonly string[];
  readonly digest?: string;
  readonly error?: { readonly code: string; readonly message: string };
}

type Results = Readonly<Record<string, Done>> & { readonly hello: { readonly idMode: string } };

describe.runIf(canMakeUsers() && !lacks('busybox', 'bwrap', 'setcap', 'setfacl', 'setpriv'))('owners', () => {
  const stages: Stage[] = [];
  const runAs = async (user: TestUser, ...words: string[]): Promise<Results> => {
    const where = stage(user);
    stages.push(where);
    const store = join(where.dir, 'store');
    return (await runJson(where, 'test/support/recorder-scenario.ts', store, ...words)) as Results;
  };
  let reference: Results;

  beforeAll(async () => {
    reference = await runAs('root', 'overlay');
  }, 60_000);
  afterAll(() => {
    for (const where of stages) {
      where.remove();
    }
  });

  test('are real for root, and the steps are worth comparing', () => {
    for (const name of Object.keys(RECORDER_CASES)) {
      expect(reference[name]?.error, name).toBeUndefined();
    }
    expect(reference.chown?.lines).toContain('/srv/app/first 1000:1001 4750 regular file');
    expect(reference.become?.lines).toContain('/tmp/thirty 33:35 644 regular file');
    expect(reference.user?.lines.at(-1)).toMatch(/CapEff:\s+0000000000000000/);
  });

  test.each([
    ['without-ids', 'single'],
    ['with-ids', 'multi'],
  ] as const)(
    'are the same for a user %s',
    async (user, idMode) => {
      const results = await runAs(user, 'overlay');
      expect(results.hello.idMode).toBe(idMode);
      for (const name of Object.keys(RECORDER_CASES)) {
        const { lines, digest, warnings, error } = results[name] as Done;
        expect({ name, digest, warnings, error }).toEqual({
          name,
          digest: reference[name]?.digest,
          warnings: [],
          error: undefined,
        });
        // Where ids are real only the layer knows of devices; to the step they are files.
        if (!(name === 'nodes' && idMode === 'multi')) {
          expect(lines, name).toEqual(reference[name]?.lines);
        }
      }
    },
    60_000,
  );

  test('are the same where layers are copied', { timeout: 120_000 }, async () => {
    const [copied, single] = [await runAs('root', 'copy'), await runAs('without-ids', 'copy')];
    for (const name of Object.keys(RECORDER_CASES)) {
      expect(single[name], name).toEqual(copied[name]);
    }
  });

  test('are pretended where nobody can listen, which is said once', { timeout: 60_000 }, async () => {
    const results = await runAs('without-ids', 'overlay', 'pretended');
    expect(results.chown?.error).toBeUndefined();
    expect(results.chown?.lines).toContain('/srv/app/first 0:0 4750 regular file');
    expect(results.user?.error?.code).toBe('E_SUBUID_MISSING');
    const warnings = Object.keys(RECORDER_CASES).flatMap((name) => results[name]?.warnings ?? []);
    expect(warnings).toEqual(['W_OWNERS_PRETENDED']);
  });
});
