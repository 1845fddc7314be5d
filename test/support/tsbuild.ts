/** The command as a user has it: a process of its own, started from what an npm install would bring. */
import { spawn } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, readFileSync, realpathSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';

const ROOT = join(import.meta.dirname, '../..');

export interface Tsbuild {
  /** Of the package: `bin`, `dist`, `native/dist`, `data`, `node_modules`. */
  readonly directory: string;
  readonly node: string;
}

/** The checkout itself, which only this user may be able to read. */
export const checkout: Tsbuild = { directory: ROOT, node: process.execPath };

/** Copies the package, what it needs at run time, and Node; everybody can read the copy if the parents let them. */
export function installTsbuild(directory: string): Tsbuild {
  if (!existsSync(join(ROOT, 'dist/index.js'))) {
    throw new Error('dist/ is missing: npm run build');
  }
  mkdirSync(directory, { recursive: true, mode: 0o755 });
  const lock = JSON.parse(readFileSync(join(ROOT, 'package-lock.json'), 'utf8')) as {
    readonly packages: Readonly<Record<string, { readonly dev?: boolean }>>;
  };
  const modules = Object.entries(lock.packages).flatMap(([path, { dev }]) =>
    path !== '' && dev !== true && existsSync(join(ROOT, path)) ? [path] : [],
  );
  for (const path of ['bin', 'dist', 'native/dist', 'data', 'package.json', ...modules]) {
    mkdirSync(dirname(join(directory, path)), { recursive: true });
    cpSync(join(ROOT, path), join(directory, path), { recursive: true });
  }
  const node = join(directory, 'node');
  cpSync(realpathSync(process.execPath), node);
  return { directory, node };
}

/** What a test that reaches out needs of this machine's environment. */
export function networkEnvironment(): Record<string, string> {
  const names = /^(https?_proxy|no_proxy|all_proxy|ssl_cert_file|node_extra_ca_certs)$/i;
  return Object.fromEntries(
    Object.entries(process.env).flatMap(([name, value]) =>
      names.test(name) && value !== undefined ? [[name, value]] : [],
    ),
  );
}

export interface RunSetting {
  readonly tsbuild?: Tsbuild;
  /** Added to a clean environment with PATH, HOME and TMPDIR. */
  readonly env?: Readonly<Record<string, string>>;
  readonly cwd?: string;
  readonly account?: { readonly uid: number; readonly gid: number; readonly home: string };
  readonly stdin?: string | Uint8Array;
  /** Put in front of the command, such as `['unshare', '-n']`. */
  readonly before?: readonly string[];
  /** Sent when standard error shows this text. */
  readonly signalAt?: { readonly text: string; readonly signal: NodeJS.Signals };
  /** Done when standard error shows this text. */
  readonly at?: { readonly text: string; readonly act: () => void };
  /** Sent when this comes true, such as a request that a server of the test sees. */
  readonly signalWhen?: { readonly happens: Promise<unknown>; readonly signal: NodeJS.Signals };
}

export interface Ran {
  readonly status: number | null;
  readonly stdout: string;
  readonly stdoutBytes: Buffer;
  readonly stderr: string;
}

/** Runs the command to its end, whatever that is. */
export function run(args: readonly string[], setting: RunSetting): Promise<Ran> {
  const { directory, node } = setting.tsbuild ?? checkout;
  const [program = '', ...rest] = [
    ...(setting.before ?? []),
    node,
    join(directory, 'bin/tsbuild.js'),
    ...args,
  ];
  const { account } = setting;
  const child = spawn(program, rest, {
    cwd: setting.cwd ?? account?.home ?? tmpdir(),
    env: {
      PATH: process.env.PATH,
      HOME: account?.home ?? process.env.HOME,
      ...setting.env,
    },
    ...(account === undefined ? {} : { uid: account.uid, gid: account.gid }),
    stdio: ['pipe', 'pipe', 'pipe'],
  });
  const stdout: Buffer[] = [];
  const stderr: Buffer[] = [];
  child.stdout.on('data', (chunk: Buffer) => stdout.push(chunk));
  let { signalAt, at } = setting;
  child.stderr.on('data', (chunk: Buffer) => {
    stderr.push(chunk);
    if (signalAt !== undefined && Buffer.concat(stderr).includes(signalAt.text)) {
      child.kill(signalAt.signal);
      signalAt = undefined;
    }
    if (at !== undefined && Buffer.concat(stderr).includes(at.text)) {
      at.act();
      at = undefined;
    }
  });
  void setting.signalWhen?.happens.then(() => child.kill(setting.signalWhen?.signal));
  // A command that reads nothing may end before it was given everything.
  child.stdin.on('error', () => {});
  child.stdin.end(setting.stdin ?? '');
  return new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (status) => {
      const stdoutBytes = Buffer.concat(stdout);
      resolve({
        status,
        stdout: stdoutBytes.toString('utf8'),
        stdoutBytes,
        stderr: Buffer.concat(stderr).toString('utf8'),
      });
    });
  });
}

/** Runs the command and insists on success; what it wrote to standard error is in the error. */
export async function succeed(args: readonly string[], setting: RunSetting): Promise<Ran> {
  const ran = await run(args, setting);
  if (ran.status !== 0) {
    throw new Error(`tsbuild ${args.join(' ')} ended with ${ran.status}:\n${ran.stderr}`);
  }
  return ran;
}
