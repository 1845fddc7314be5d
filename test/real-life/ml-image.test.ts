/**
 * A machine-learning image as an unprivileged user builds it: base from Debian's archive, numpy, pandas and scikit-learn from
 * PyPI, run and pushed; then one line of its source is edited, and only the last layer is built and pushed again.
 */
import { chmodSync, chownSync, cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type Account, makeAccount } from '../support/account.ts';
import { type DockerRegistry, startDockerRegistry } from '../support/docker-registry.ts';
import { lacks } from '../support/requires.ts';
import { installTsbuild, networkEnvironment, succeed, type Tsbuild } from '../support/tsbuild.ts';

const EXAMPLE = join(import.meta.dirname, '../../examples/ml-image');

interface ShownEvent {
  readonly kind: string;
  readonly vertex?: string;
  readonly vertices?: readonly { readonly digest: string; readonly label: string }[];
  readonly activity?: string;
  readonly id?: string;
  readonly doneBytes?: number;
  readonly state?: string;
}

describe.skipIf(lacks('root', 'bwrap', 'newuidmap', 'docker-registry'))('a machine-learning image', () => {
  let directory: string;
  let installed: Tsbuild;
  let account: Account;
  let registry: DockerRegistry;
  const definition = () => join(account.home, 'ml-image/image.ts');
  const setting = () => ({
    tsbuild: installed,
    account,
    cwd: account.home,
    env: { ...networkEnvironment(), TSBUILD_HOME: join(account.home, 'store'), TMPDIR: account.home },
  });

  beforeAll(async () => {
    directory = mkdtempSync(join(tmpdir(), 'tsbuild-ml-image-'));
    chmodSync(directory, 0o755);
    installed = installTsbuild(join(directory, 'package'));
    account = makeAccount({ subordinateIds: true });
    cpSync(EXAMPLE, join(account.home, 'ml-image'), { recursive: true });
    registry = await startDockerRegistry();
  });
  afterAll(async () => {
    // Files of subordinate ids can only be removed from within the namespace that made them.
    await succeed(['prune', '--all'], setting());
    account?.[Symbol.dispose]();
    await registry?.[Symbol.asyncDispose]();
    rmSync(directory, { recursive: true, force: true });
  });

  /** Builds, runs and pushes. */
  async function make(): Promise<{ ran: readonly string[]; said: string; uploadedBytes: number }> {
    const built = await succeed(['build', definition(), '-t', 'ml-image', '--progress=json'], setting());
    const { stdout: said } = await succeed(['run', 'ml-image'], setting());
    const pushed = await succeed(
      ['push', 'ml-image', `${registry.host}/ml-image:latest`, '--progress=json'],
      setting(),
    );
    const labels = new Map(
      events(built.stderr).flatMap(({ vertices = [] }) =>
        vertices.map(({ digest, label }) => [digest, label]),
      ),
    );
    const ran = events(built.stderr).flatMap(({ kind, vertex = '' }) =>
      kind === 'vertex-started' ? [labels.get(vertex) ?? ''] : [],
    );
    const uploads = events(pushed.stderr).filter(
      ({ activity, state }) => activity === 'upload' && state === 'done',
    );
    return { ran, said, uploadedBytes: uploads.reduce((sum, { doneBytes = 0 }) => sum + doneBytes, 0) };
  }

  test('is built, run and pushed; after an edit, only its last layer', { timeout: 600_000 }, async () => {
    const first = await make();
    expect(first.said).toMatch(/^accuracy [01]\.\d\d on 30 of 150 flowers\n$/);
    expect(first.uploadedBytes).toBeGreaterThan(50_000_000);

    const source = join(account.home, 'ml-image/app/train.py');
    writeFileSync(source, readFileSync(source, 'utf8').replace('print(f"', 'print(f"edited: '));
    chownSync(source, account.uid, account.gid);
    const second = await make();
    expect(second.said).toBe(`edited: ${first.said}`);
    expect(second.ran).toEqual(['local files for copyLocalDir app', 'copyLocalDir app']);
    expect(second.uploadedBytes).toBeGreaterThan(0);
    expect(second.uploadedBytes).toBeLessThan(20_000);
  });
});

function events(text: string): readonly ShownEvent[] {
  return text
    .split('\n')
    .filter((line) => line.startsWith('{'))
    .map((line) => JSON.parse(line) as ShownEvent);
}
