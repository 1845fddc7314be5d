/**
 * Measures docs/reference/isolation.json, from which `npm run generate` makes docs/reference/isolation.md: what steps can do in each
 * isolation and sandbox, and whether their layers are equal.
 *
 *   node scripts/isolation-matrix.ts [--only TEXT]     as root; makes two accounts, and needs the network
 *
 * Every way has a store of its own and begins with the same base, as an OCI layout. Times in outputs are clamped, so that equal
 * layers have equal digests.
 */
import { spawnSync } from 'node:child_process';
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { release, tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Account, makeAccount } from '../test/support/account.ts';
import { installTsbuild, networkEnvironment, type Ran, run, type Tsbuild } from '../test/support/tsbuild.ts';
import { BASE_LINES, BASE_PACKAGES, CELLS, type Cell } from './isolation-cells.ts';

export interface Measured {
  readonly cell: string;
  readonly outcome: 'works' | 'note' | 'refused' | 'failed';
  /** Of a warning or an error. */
  readonly code?: string;
  readonly message?: string;
  /** Digest of the uncompressed layer of the last step, times clamped. */
  readonly diffId?: string;
}

export interface Way {
  readonly user: string;
  readonly isolation: string;
  readonly sandbox: string;
  readonly surroundings: string;
  readonly cells: readonly Measured[];
}

export interface Matrix {
  readonly date: string;
  readonly kernel: string;
  readonly versions: Readonly<Record<string, string>>;
  readonly ways: readonly Way[];
}

/** Later than everything in the base, earlier than everything that a step makes. */
const EPOCH = '1750000000';
const RESULT = join(import.meta.dirname, '../docs/reference/isolation.json');

const directory = mkdtempSync(join(tmpdir(), 'tsbuild-isolation-'));
chmodSync(directory, 0o755);
const only = process.argv[2] === '--only' ? (process.argv[3] ?? '') : '';
const accounts: Account[] = [];
try {
  const installed = installTsbuild(join(directory, 'package'));
  const base = await makeBase(installed);
  const withIds = makeAccount({ subordinateIds: true });
  const withoutIds = makeAccount({ subordinateIds: false });
  accounts.push(withIds, withoutIds);
  const ways: Way[] = [];
  for (const [account, isolation] of [
    [undefined, 'privileged'],
    [withIds, 'subordinate-ids'],
    [withoutIds, 'single-id'],
    [undefined, 'chroot'],
    [withIds, 'chroot'],
    [withoutIds, 'chroot'],
  ] as const) {
    for (const sandbox of isolation === 'chroot' ? ['its own'] : ['bubblewrap', 'runc', 'crun']) {
      const user =
        account === undefined
          ? 'root'
          : account === withIds
            ? 'a user with subordinate ids'
            : 'a user without subordinate ids';
      const way = { user, isolation, sandbox, surroundings: 'host' };
      if (Object.values(way).join(' ').includes(only)) {
        ways.push({ ...way, cells: await measure(installed, base, way, account) });
      }
    }
  }
  const matrix: Matrix = {
    date: new Date().toISOString().slice(0, 10),
    kernel: release(),
    versions: Object.fromEntries(['bwrap', 'runc', 'crun'].map((name) => [name, versionOf(name)])),
    ways,
  };
  if (only === '') {
    writeFileSync(RESULT, `${JSON.stringify(matrix, null, 2)}\n`);
  } else {
    console.log(JSON.stringify(matrix, null, 2));
  }
} finally {
  for (const account of accounts) {
    account[Symbol.dispose]();
  }
  rmSync(directory, { recursive: true, force: true });
}

function versionOf(program: string): string {
  return spawnSync(program, ['--version'], { encoding: 'utf8' }).stdout?.split('\n')[0] ?? 'missing';
}

async function makeBase(tsbuild: Tsbuild): Promise<string> {
  const path = join(directory, 'base');
  mkdirSync(path, { mode: 0o755 });
  const env = {
    ...networkEnvironment(),
    TSBUILD_HOME: join(directory, 'base-store'),
    SOURCE_DATE_EPOCH: EPOCH,
  };
  const packages = JSON.stringify(BASE_PACKAGES);
  writeFileSync(
    join(path, 'base.ts'),
    `import { Image } from 'tsbuild';
export default Image.fromDebian({ suite: 'bookworm', packages: ${packages} }).dockerfileCommands(${JSON.stringify(BASE_LINES)});\n`,
  );
  const layout = join(path, 'layout');
  await succeed(
    ['build', join(path, 'base.ts'), '-o', `type=oci,dest=${layout},tar=false`, '--rewrite-timestamp'],
    { tsbuild, env },
  );
  spawnSync('chmod', ['-R', 'a+rX', path]);
  return layout;
}

async function measure(
  tsbuild: Tsbuild,
  base: string,
  way: Omit<Way, 'cells'>,
  account: Account | undefined,
): Promise<Measured[]> {
  const home = account?.home ?? join(directory, 'root');
  const place = join(home, `${way.isolation}-${way.sandbox}`.replace(' ', '-'));
  mkdirSync(place, { recursive: true });
  if (account !== undefined) {
    spawnSync('chown', [`${account.uid}:${account.gid}`, place]);
  }
  const setting = {
    tsbuild,
    cwd: place,
    env: {
      ...networkEnvironment(),
      TSBUILD_HOME: join(place, 'store'),
      TMPDIR: place,
      SOURCE_DATE_EPOCH: EPOCH,
    },
    ...(account === undefined ? {} : { account }),
  };
  const measured: Measured[] = [];
  for (const cell of CELLS) {
    const result = await measureCell(cell, base, way, place, setting);
    measured.push(result);
    console.error(
      `${way.user}, ${way.isolation}, ${way.sandbox}: ${cell.name}: ${result.outcome} ${result.code ?? ''} ${result.diffId ?? ''} ${result.message ?? ''}`,
    );
  }
  await run(['prune', '--all'], setting);
  return measured;
}

async function measureCell(
  { name, lines }: Cell,
  base: string,
  { isolation, sandbox }: Omit<Way, 'cells'>,
  place: string,
  setting: Parameters<typeof run>[1],
): Promise<Measured> {
  const dockerfile = ['FROM base', ...lines, ''].join('\n');
  const output = join(place, 'image');
  const ran = await run(
    [
      'build',
      '-',
      '--build-context',
      `base=oci-layout://${base}`,
      '--isolation',
      isolation,
      ...(isolation === 'chroot' ? [] : ['--sandbox', sandbox]),
      '-o',
      `type=oci,dest=${output},tar=false`,
      '--rewrite-timestamp',
      '--progress=json',
    ],
    { ...setting, stdin: dockerfile },
  );
  const events = eventsOf(ran);
  if (ran.status !== 0) {
    const code = /\((E_[A-Z_]+)\)/.exec(ran.stderr)?.[1] ?? `status ${ran.status}`;
    const said = /^error: (.*)$/m.exec(ran.stderr)?.[1] ?? '';
    const last = events.findLast(({ kind }) => kind === 'log')?.text?.trim() ?? '';
    const message = [said.replace(/^\[.*?\] RUN .*: /, ''), last]
      .filter((part) => part !== '')
      .join(': ')
      .slice(0, 300);
    return { cell: name, outcome: code === 'E_BUILD_FAILED' ? 'failed' : 'refused', code, message };
  }
  const warning = events.find(({ kind, code }) => kind === 'warning' && code?.startsWith('W_') === true);
  const diffId = lastDiffId(output);
  rmSync(output, { recursive: true, force: true });
  return {
    cell: name,
    outcome: warning === undefined ? 'works' : 'note',
    ...(warning === undefined ? {} : { code: warning.code ?? '', message: warning.message ?? '' }),
    ...(diffId === undefined ? {} : { diffId }),
  };
}

interface ShownEvent {
  readonly kind?: string;
  readonly code?: string;
  readonly message?: string;
  readonly text?: string;
}

function eventsOf({ stderr }: Ran): readonly ShownEvent[] {
  return stderr.split('\n').flatMap((line) => {
    try {
      return [JSON.parse(line) as ShownEvent];
    } catch {
      return [];
    }
  });
}

function lastDiffId(layout: string): string | undefined {
  const read = (path: string) => JSON.parse(readFileSync(join(layout, path), 'utf8'));
  const blob = (digest: string) => `blobs/${digest.replace(':', '/')}`;
  if (!existsSync(join(layout, 'index.json'))) {
    return undefined;
  }
  const manifest = read(blob(read('index.json').manifests[0].digest));
  return read(blob(manifest.config.digest)).rootfs.diff_ids.at(-1);
}

async function succeed(args: readonly string[], setting: Parameters<typeof run>[1]): Promise<Ran> {
  const ran = await run(args, setting);
  if (ran.status !== 0) {
    throw new Error(`tsbuild ${args.join(' ')} ended with ${ran.status}:\n${ran.stderr}`);
  }
  return ran;
}
