/**
 * A fully cached build starts no worker, no sandbox and no other process, and makes no network request. It runs where none
 * of that could succeed unseen: in a network namespace without interfaces, with a launcher and a PATH that leave a mark.
 */
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { busyboxDefinition } from '../support/busybox.ts';
import { startDockerRegistry } from '../support/docker-registry.ts';
import { lacks } from '../support/requires.ts';
import { installTsbuild, networkEnvironment, run, succeed, type Tsbuild } from '../support/tsbuild.ts';

const LAUNCHER = `native/dist/tsbuild-launcher.linux-${process.arch === 'arm64' ? 'arm64' : 'x64'}`;
const PROGRAMS = [
  'bwrap',
  'runc',
  'newuidmap',
  'newgidmap',
  'sh',
  'node',
  'git',
  'docker-credential-mark',
  'python3',
];

/**
 * Told to Node by `--import`: what the kernel knows of this process' children when it ends. Each child was either waited
 * for, and then its page faults are added to ours (`cminflt`, proc(5)), or is still in the list of children.
 */
const CENSUS = `
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
process.on('exit', () => {
  const fields = readFileSync('/proc/self/stat', 'utf8').replace(/^.*\\) /, '').split(' ');
  const children = readdirSync('/proc/self/task').map((id) => readFileSync('/proc/self/task/' + id + '/children', 'utf8'));
  writeFileSync(process.env.CENSUS, JSON.stringify({ faultsOfChildren: Number(fields[8]), children: children.join('') }));
});
`;

describe.skipIf(lacks('root', 'bwrap', 'busybox', 'docker-registry'))('a fully cached build', () => {
  let directory: string;
  let installed: Tsbuild;
  /** The same package with a launcher that leaves a mark and fails. */
  let crippled: Tsbuild;
  let mark: string;
  let census: string;

  beforeAll(() => {
    directory = mkdtempSync(join(tmpdir(), 'tsbuild-cached-'));
    mark = join(directory, 'started');
    census = join(directory, 'census.json');
    installed = installTsbuild(join(directory, 'package'));
    crippled = installTsbuild(join(directory, 'crippled'));
    mkdirSync(join(directory, 'bin'));
    const marker = `#!/bin/sh\necho "$0 $@" >> ${mark}\nexit 99\n`;
    const traps = [
      join(crippled.directory, LAUNCHER),
      ...PROGRAMS.map((name) => join(directory, 'bin', name)),
    ];
    for (const path of traps) {
      writeFileSync(path, marker);
      chmodSync(path, 0o755);
    }
    writeFileSync(join(directory, 'census.mjs'), CENSUS);
  });
  afterAll(() => rmSync(directory, { recursive: true, force: true }));
  beforeEach(() => {
    rmSync(mark, { force: true });
    rmSync(census, { force: true });
  });

  const setting = (store: string) => ({
    cwd: directory,
    env: { TSBUILD_HOME: join(directory, store), HOME: join(directory, 'home') },
  });
  const alone = (store: string) => ({
    tsbuild: crippled,
    cwd: directory,
    before: ['/usr/bin/unshare', '-n'],
    env: {
      ...setting(store).env,
      PATH: join(directory, 'bin'),
      CENSUS: census,
      NODE_OPTIONS: `--import=${join(directory, 'census.mjs')}`,
    },
  });

  /** Builds with everything, then with nothing, and compares what was written. */
  async function buildTwice(
    name: string,
    definition: string,
    between: () => PromiseLike<void> = async () => undefined,
  ): Promise<void> {
    const file = join(directory, `${name}.ts`);
    writeFileSync(file, definition);
    const args = (dest: string) => [
      'build',
      file,
      '-t',
      `${name}:1`,
      '-t',
      `registry.invalid/${name}:2`,
      '-o',
      `type=oci,dest=${join(directory, dest)}.tar`,
      '-o',
      `type=oci,dest=${join(directory, dest)},tar=false,compression=gzip`,
      '--iidfile',
      join(directory, `${dest}.iid`),
      '--progress=plain',
    ];
    const first = await succeed(args(`${name}-1`), {
      cwd: directory,
      tsbuild: installed,
      env: { ...networkEnvironment(), ...setting(name).env },
    });
    await between();
    const second = await succeed(args(`${name}-2`), alone(name));
    expect(second.stdout).toBe(first.stdout);
    expect(existsSync(mark) ? readFileSync(mark, 'utf8') : '').toBe('');
    expect(JSON.parse(readFileSync(census, 'utf8'))).toEqual({ faultsOfChildren: 0, children: '' });
    for (const output of [`${name}-%.tar`, `${name}-%/index.json`, `${name}-%.iid`]) {
      const [one, two] = ['1', '2'].map((each) => readFileSync(join(directory, output.replace('%', each))));
      expect(two?.equals(one ?? Buffer.alloc(0)), output).toBe(true);
    }
  }

  test('the traps and the census see what they are for', async () => {
    const file = join(directory, 'miss.ts');
    writeFileSync(file, busyboxDefinition("runCommands('echo not cached > /file')"));
    const ran = await run(['build', file, '--progress=plain'], alone('miss'));
    expect(ran.status).toBe(3);
    expect(readFileSync(mark, 'utf8')).toContain('tsbuild-launcher');
    expect(JSON.parse(readFileSync(census, 'utf8')).faultsOfChildren).toBeGreaterThan(0);
    const remote = join(directory, 'remote.ts');
    writeFileSync(
      remote,
      "import { Image } from 'tsbuild';\nexport default Image.fromRegistry('127.0.0.1:9/no:1');\n",
    );
    expect((await run(['build', remote, '--progress=plain'], alone('miss'))).status).toBe(4);
  });

  test('on local files alone', async () => {
    await buildTwice(
      'local',
      busyboxDefinition("runCommands('echo one > /one').workdir('/w').env({ A: 'b' })"),
    );
  });

  test('on a base of a registry that is gone by then', async () => {
    const registry = await startDockerRegistry();
    try {
      const base = join(directory, 'base.ts');
      writeFileSync(base, busyboxDefinition("runCommands('echo base > /base')"));
      await succeed(['build', base, '-t', `${registry.host}/base:1`, '--push'], {
        ...setting('base'),
        tsbuild: installed,
      });
      await buildTwice(
        'on-registry',
        `import { Image } from 'tsbuild';
export default Image.fromRegistry('${registry.host}/base:1').runCommands('cat /base > /copy').cmd(['/bin/sh']);
`,
        () => registry[Symbol.asyncDispose](),
      );
    } finally {
      await registry[Symbol.asyncDispose]();
    }
  });

  test("on Debian's archive", async () => {
    await buildTwice(
      'on-debian',
      `import { Image } from 'tsbuild';
export default Image.fromDebian({ suite: 'trixie' }).runCommands('cat /etc/os-release > /copy').env({ A: 'b' });
`,
    );
  });

  test('takes less than a second, whole process, on a busy machine', async () => {
    const file = join(directory, 'local.ts');
    const start = performance.now();
    await succeed(['build', file, '--progress=quiet'], alone('local'));
    expect(performance.now() - start).toBeLessThan(1000);
  });
});
