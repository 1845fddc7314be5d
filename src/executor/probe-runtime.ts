/** Whether an OCI runtime can make a sandbox here: one that holds nothing but our launcher, made in the worker's namespaces. */
import { spawnSync } from 'node:child_process';
import { copyFileSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { findProgram } from './find-program.ts';
import { lastError, type OciRuntimeKind, type OciRuntimeOptions, runtimeCommand } from './oci-runtime.ts';
import type { HostCheck } from './probe.ts';

const PROBE_TIMEOUT_MS = 10_000;
const CAPABILITIES = ['CAP_SYS_ADMIN'];

export function probeRuntime(kind: OciRuntimeKind, launcher: string): HostCheck {
  const program = findProgram(kind);
  if (program === undefined) {
    return {
      name: kind,
      ok: false,
      detail: 'not installed',
      fix: `sudo apt-get install ${kind}`,
      required: false,
    };
  }
  const failure = runtimeFailure({ kind, program, hostLauncher: launcher }, [launcher, '--']);
  if (failure !== undefined) {
    return {
      name: kind,
      ok: false,
      detail: failure,
      fix: 'start the container with --security-opt seccomp=unconfined --security-opt systempaths=unconfined',
      required: false,
    };
  }
  const { stdout } = spawnSync(program, ['--version'], { encoding: 'utf8' });
  return { name: kind, ok: true, detail: stdout.split('\n')[0] ?? '', required: false };
}

/**
 * Why it cannot; undefined when it can.
 *
 * @param around - Words that put it into the worker's namespaces; none where we are in them.
 */
export function runtimeFailure(
  { kind, program, hostLauncher: launcher }: Pick<OciRuntimeOptions, 'kind' | 'program' | 'hostLauncher'>,
  around: readonly string[],
): string | undefined {
  const directory = mkdtempSync(join(tmpdir(), 'tsbuild-probe-'));
  try {
    const root = join(directory, 'root');
    for (const name of ['', 'proc', 'sys', 'dev']) {
      mkdirSync(join(root, name));
    }
    copyFileSync(launcher, join(root, 'launcher'));
    writeFileSync(join(directory, 'config.json'), JSON.stringify(probeConfig(root)));
    const logFile = join(directory, 'log');
    const command = runtimeCommand({ kind, program }, join(directory, 'state'), logFile);
    const words = ['run', '--no-new-keyring', '--bundle', directory, 'tsbuild-probe'];
    const [first = '', ...rest] = [...around, launcher, 'enclose', ...command, ...words];
    const { status, stderr, error } = spawnSync(first, rest, {
      cwd: '/',
      encoding: 'utf8',
      timeout: PROBE_TIMEOUT_MS,
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    return status === 0 ? undefined : (error?.message ?? lastError(logFile, stderr.trim()).slice(-500));
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

/** What steps need of the runtime and the kernel: the namespaces, a fresh /proc, flags for whole trees of mounts. */
function probeConfig(root: string) {
  return {
    ociVersion: '1.0.2',
    process: {
      user: { uid: 0, gid: 0 },
      args: ['/launcher', 'close-devices', '/'],
      cwd: '/',
      capabilities: { bounding: CAPABILITIES, permitted: CAPABILITIES, effective: CAPABILITIES },
    },
    root: { path: root },
    mounts: [
      { destination: '/proc', type: 'proc', source: 'proc', options: ['nosuid', 'nodev', 'noexec'] },
      { destination: '/sys', type: 'bind', source: '/sys', options: ['rbind', 'rnosuid', 'rnodev', 'rro'] },
    ],
    linux: { namespaces: ['mount', 'pid', 'ipc', 'uts'].map((type) => ({ type })) },
  };
}
