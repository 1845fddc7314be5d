/**
 * Users for tests: with subordinate ids, and without. Made once as root and left there; programs run as them with what they
 * need where they can read it.
 */
import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { cpSync, mkdtempSync, readFileSync, realpathSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export type TestUser = 'root' | 'with-ids' | 'without-ids';

const NAMES = { 'with-ids': 'tsbuild-ids', 'without-ids': 'tsbuild-noids' } as const;
const REPOSITORY = join(import.meta.dirname, '../..');
/** Far from what others use. */
const FIRST_ID = 700_000_000;

/** Users can be made only by root. */
export function canMakeUsers(): boolean {
  return process.getuid?.() === 0 && spawnSync('useradd', ['--version']).error === undefined;
}

function userName(user: Exclude<TestUser, 'root'>): string {
  const name = NAMES[user];
  if (spawnSync('id', [name]).status !== 0) {
    execFileSync('useradd', ['--create-home', name]);
  }
  for (const path of ['/etc/subuid', '/etc/subgid']) {
    const others = readFileSync(path, 'utf8')
      .split('\n')
      .filter((line) => line !== '' && !line.startsWith(`${name}:`));
    const own = user === 'with-ids' ? [`${name}:${FIRST_ID}:65536`] : [];
    writeFileSync(path, `${[...others, ...own].join('\n')}\n`);
  }
  return name;
}

export interface Stage {
  readonly user: TestUser;
  /** A directory that the user owns. */
  readonly dir: string;
  /** argv that runs a TypeScript file of the repository as the user. */
  command(file: string, ...words: string[]): [string, string[]];
  remove(): void;
}

export function stage(user: TestUser): Stage {
  const dir = mkdtempSync(join(tmpdir(), `tsbuild-${user}-`));
  let repository = REPOSITORY;
  let node = realpathSync(process.execPath);
  let prefix: string[] = [];
  if (user !== 'root') {
    const name = userName(user);
    prefix = ['runuser', '-u', name, '--'];
    execFileSync('chmod', ['755', dir]);
    const reads = (path: string) => spawnSync('runuser', ['-u', name, '--', 'test', '-r', path]).status === 0;
    if (!reads(join(repository, 'package.json')) || !reads(node)) {
      const copy = join(dir, 'repository');
      for (const part of [
        'src',
        'test/support',
        'native/dist',
        'package.json',
        'node_modules/undici',
        'node_modules/yaml',
      ]) {
        cpSync(join(REPOSITORY, part), join(copy, part), { recursive: true });
      }
      cpSync(node, join(dir, 'node'));
      repository = copy;
      node = join(dir, 'node');
    }
    execFileSync('chown', ['-R', name, dir]);
  }
  return {
    user,
    dir,
    command: (file, ...words) => {
      const [program = '', ...rest] = [...prefix, node, join(repository, file), ...words];
      return [program, rest];
    },
    remove: () => rmSync(dir, { recursive: true, force: true }),
  };
}

/** Runs the file and gives the JSON that it prints last. */
export function runJson(where: Stage, file: string, ...words: string[]): Promise<unknown> {
  const [program, argv] = where.command(file, ...words);
  return new Promise((resolve, reject) => {
    const child = spawn(program, argv, {
      cwd: where.dir,
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { PATH: process.env.PATH ?? '' },
    });
    let out = '';
    let err = '';
    child.stdout.on('data', (chunk: Buffer) => {
      out += chunk.toString('utf8');
    });
    child.stderr.on('data', (chunk: Buffer) => {
      err += chunk.toString('utf8');
    });
    child.once('error', reject);
    child.once('close', (status) => {
      if (status !== 0) {
        reject(new Error(`status ${status}: ${err}\n${out}`));
      } else {
        resolve(JSON.parse(out.trim().split('\n').at(-1) ?? ''));
      }
    });
  });
}
