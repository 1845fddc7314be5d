/**
 * Measures docs/reference/isolation.json, from which `npm run generate` makes docs/reference/isolation.md: what steps can do in each
 * isolation and sandbox, and whether their layers are equal.
 *
 *   node scripts/isolation-matrix.ts [--only TEXT]     as root; makes two accounts, and needs the network
 *
 * `--only` measures the ways whose words hold the text, and leaves the others as they were.
 *
 * Every way has a store of its own and begins with the same base, as an OCI layout. Times in outputs are clamped, so that equal
 * layers have equal digests.
 */
import { spawnSync } from 'node:child_process';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { release, tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Account, makeAccount } from '../test/support/account.ts';
import { runNested, type Surroundings } from '../test/support/nested.ts';
import {
  installTsbuild,
  networkEnvironment,
  type Ran,
  run,
  succeed,
  type Tsbuild,
} from '../test/support/tsbuild.ts';
import { BASE_LINES, BASE_PACKAGES, CELLS, type Cell } from './isolation-cells.ts';
import type { Matrix, Measured, Way } from './isolation-results.ts';

/** Later than everything in the base, earlier than everything that a step makes. */
const EPOCH = '1750000000';
const TUN = '/dev/net/tun';
const RESULT = join(import.meta.dirname, '../docs/reference/isolation.json');

interface Setting {
  readonly tsbuild: Tsbuild;
  readonly account: Account | undefined;
  /** Absent: the machine itself. */
  readonly container?: Omit<Surroundings, 'writable' | 'env' | 'user'>;
}

const CONTAINERS = {
  "a container with Docker's filter": { seccomp: 'docker' },
  'a container without a filter, /proc masked': {},
  'a container without a filter, nothing masked': { unmasked: true },
} as const;

const directory = mkdtempSync(join(tmpdir(), 'tsbuild-isolation-'));
chmodSync(directory, 0o755);
const only = process.argv[2] === '--only' ? (process.argv[3] ?? '') : '';
const accounts: Account[] = [];
// Everybody may open it where udev has made it; some machines come without udev.
const tunMode = statSync(TUN).mode & 0o777;
chmodSync(TUN, 0o666);
try {
  const tsbuild = installTsbuild(join(directory, 'package'));
  const base = await makeBase(tsbuild);
  const withIds = makeAccount({ subordinateIds: true });
  const withoutIds = makeAccount({ subordinateIds: false });
  accounts.push(withIds, withoutIds);
  const ways: Way[] = [];
  const add = async (
    setting: Omit<Setting, 'tsbuild'>,
    isolation: string,
    sandbox: string,
    surroundings = 'host',
  ) => {
    const { account } = setting;
    const user =
      account === undefined
        ? 'root'
        : account === withIds
          ? 'a user with subordinate ids'
          : 'a user without subordinate ids';
    const way = { user, isolation, sandbox, surroundings };
    if (Object.values(way).join(' ').includes(only)) {
      ways.push({ ...way, cells: await measure(base, way, { ...setting, tsbuild }) });
    }
  };
  for (const [account, isolation] of [
    [undefined, 'privileged'],
    [withIds, 'subordinate-ids'],
    [withoutIds, 'single-id'],
  ] as const) {
    for (const sandbox of ['bubblewrap', 'runc', 'crun']) {
      await add({ account }, isolation, sandbox);
    }
  }
  for (const account of [undefined, withIds, withoutIds]) {
    await add({ account }, 'chroot', 'auto');
  }
  for (const [surroundings, container] of Object.entries(CONTAINERS)) {
    for (const account of [undefined, withIds]) {
      await add({ account, container }, 'auto', 'auto', surroundings);
    }
  }
  const matrix: Matrix = {
    date: new Date().toISOString().slice(0, 10),
    kernel: release(),
    versions: Object.fromEntries(['bwrap', 'runc', 'crun'].map((name) => [name, versionOf(name)])),
    ways: [...(only === '' ? [] : others(ways)), ...ways],
  };
  writeFileSync(RESULT, `${JSON.stringify(matrix, null, 1)}\n`);
} finally {
  chmodSync(TUN, tunMode);
  for (const account of accounts) {
    account[Symbol.dispose]();
  }
  rmSync(directory, { recursive: true, force: true });
}

function others(measured: readonly Way[]): readonly Way[] {
  const known = (JSON.parse(readFileSync(RESULT, 'utf8')) as Matrix).ways;
  const wordsOf = ({ user, isolation, sandbox, surroundings }: Way) =>
    [user, isolation, sandbox, surroundings].join();
  return known.filter((way) => !measured.some((each) => wordsOf(each) === wordsOf(way)));
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

async function measure(base: string, way: Omit<Way, 'cells'>, setting: Setting): Promise<Measured[]> {
  const { account } = setting;
  const home = account?.home ?? join(directory, 'root');
  const place = join(
    home,
    Object.values(way)
      .join('-')
      .replaceAll(/[^a-z0-9]+/gi, '-'),
  );
  mkdirSync(join(place, 'context'), { recursive: true });
  const own = () =>
    account === undefined ? undefined : spawnSync('chown', ['-R', `${account.uid}:${account.gid}`, place]);
  own();
  const measured: Measured[] = [];
  for (const cell of CELLS) {
    writeFileSync(join(place, 'context/Dockerfile'), ['FROM base', ...cell.lines, ''].join('\n'));
    const result = await measureCell(cell, base, way, place, setting);
    measured.push(result);
    console.error(
      `${Object.values(way).join(', ')}: ${cell.name}: ${result.outcome} ${result.code ?? ''} ${result.diffId ?? ''} ${result.message ?? ''}`,
    );
  }
  await runIn(place, setting, ['prune', '--all', '--isolation', way.isolation]);
  return measured;
}

/** On the machine or in the container, as the user. */
function runIn(
  place: string,
  { tsbuild, account, container }: Setting,
  args: readonly string[],
): Promise<Pick<Ran, 'status' | 'stderr'>> {
  const env = {
    ...networkEnvironment(),
    TSBUILD_HOME: join(place, 'store'),
    TMPDIR: place,
    SOURCE_DATE_EPOCH: EPOCH,
  };
  if (container === undefined) {
    return run(args, { tsbuild, cwd: place, env, ...(account === undefined ? {} : { account }) });
  }
  return runNested([tsbuild.node, join(tsbuild.directory, 'bin/tsbuild.js'), ...args], {
    ...container,
    hostNetwork: true,
    ...(account === undefined ? {} : { user: { uid: account.uid, gid: account.gid } }),
    writable: place,
    env: { ...env, PATH: process.env.PATH ?? '', HOME: place },
  });
}

async function measureCell(
  { name, options = [] }: Cell,
  base: string,
  { isolation, sandbox }: Omit<Way, 'cells'>,
  place: string,
  setting: Setting,
): Promise<Measured> {
  const output = join(place, 'image');
  const ran = await runIn(place, setting, [
    'build',
    join(place, 'context'),
    '--build-context',
    `base=oci-layout://${base}`,
    ...['--isolation', isolation, '--sandbox', sandbox, ...options],
    '-o',
    `type=oci,dest=${output},tar=false`,
    '--rewrite-timestamp',
    '--progress=json',
  ]);
  const events = eventsOf(ran.stderr);
  if (ran.status !== 0) {
    const code = /\((E_[A-Z_]+)\)/.exec(ran.stderr)?.[1] ?? `status ${ran.status}`;
    const said = /^error: (.*)$/m.exec(ran.stderr)?.[1] ?? '';
    const last = events.findLast(({ kind }) => kind === 'log')?.text?.trim() ?? '';
    const message = [said.replace(/^\[.*?\] RUN .*: /, ''), last]
      .filter((part) => part !== '')
      .join(': ')
      .replaceAll(directory, '…')
      .slice(0, 300);
    return { cell: name, outcome: code === 'E_BUILD_FAILED' ? 'failed' : 'refused', code, message };
  }
  // What an isolation says of itself it says of every cell.
  const warning = events.find(({ kind, code = '' }) => kind === 'warning' && /^W_(?!ISOLATION_)/.test(code));
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

function eventsOf(stderr: string): readonly ShownEvent[] {
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
