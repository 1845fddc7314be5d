/**
 * BuildKit: a daemon of our own (`buildkitd` and `buildctl` on PATH, or in the directory that BUILDKIT_BIN names) on the ground that
 * it is given, or the one at BUILDKIT_HOST, whose store is then where it is. The daemon is warm; the command is a client that asks it.
 */
import { type ChildProcess, execFileSync, spawn, spawnSync } from 'node:child_process';
import { mkdirSync, readFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import type { Ground } from './ground.ts';
import { type Build, type Command, epochOf, type Output, type Peer } from './peer.ts';

const READY_TIMEOUT_MS = 30_000;
const STOP_TIMEOUT_MS = 5000;

interface Programs {
  readonly buildctl: string;
  /** Undefined where a daemon is given. */
  readonly buildkitd: string | undefined;
}

/** Undefined where there is no BuildKit. */
export function findBuildkit(): Programs | undefined {
  const place = (name: string) =>
    process.env.BUILDKIT_BIN === undefined ? name : join(process.env.BUILDKIT_BIN, name);
  const runs = (program: string) => spawnSync(program, ['--version']).status === 0;
  const buildctl = place('buildctl');
  if (!runs(buildctl)) {
    return undefined;
  }
  if (process.env.BUILDKIT_HOST !== undefined) {
    return { buildctl, buildkitd: undefined };
  }
  const buildkitd = place('buildkitd');
  return runs(buildkitd) && process.getuid?.() === 0 ? { buildctl, buildkitd } : undefined;
}

export async function buildkitPeer(ground: Ground, { buildctl, buildkitd }: Programs): Promise<Peer> {
  const address = process.env.BUILDKIT_HOST ?? `unix://${ground.directory}.sock`;
  let daemon: ChildProcess | undefined;
  const stop = async () => {
    if (daemon !== undefined) {
      const ended = new Promise((resolve) => daemon?.once('exit', resolve));
      daemon.kill('SIGTERM');
      // It waits for a client that hung, though that is dead.
      const timer = setTimeout(() => daemon?.kill('SIGKILL'), STOP_TIMEOUT_MS);
      await ended;
      clearTimeout(timer);
      daemon = undefined;
      unmountLeftovers(ground.directory);
    }
  };
  const start = async () => {
    if (buildkitd === undefined) {
      return;
    }
    const root = join(ground.directory, 'buildkit');
    mkdirSync(root);
    daemon = spawn(
      buildkitd,
      [
        '--root',
        root,
        '--addr',
        address,
        '--oci-worker-gc=false',
        '--oci-worker-net=host',
        '--allow-insecure-entitlement=network.host',
      ],
      { stdio: 'ignore' },
    );
    const end = Date.now() + READY_TIMEOUT_MS;
    while (spawnSync(buildctl, ['--addr', address, 'debug', 'workers'], { stdio: 'ignore' }).status !== 0) {
      if (Date.now() > end || daemon.exitCode !== null) {
        throw new Error('buildkitd does not start');
      }
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  };
  return {
    name: 'buildkit',
    version: execFileSync(buildctl, ['--version'], { encoding: 'utf8' }).trim(),
    lacks: ({ output }) =>
      output !== undefined && 'compression' in output && output.compression === 'zstd:chunked'
        ? 'no zstd:chunked'
        : undefined,
    command: (build) => commandOf(build, buildctl, address),
    async reset() {
      if (buildkitd === undefined) {
        execFileSync(buildctl, ['--addr', address, 'prune', '--all'], { stdio: 'ignore' });
        return;
      }
      await stop();
      ground.reset();
      await start();
    },
    get servers() {
      return daemon?.pid === undefined ? [] : [daemon.pid];
    },
    bytesWritten: () => (buildkitd === undefined ? undefined : ground.bytesWritten()),
    [Symbol.asyncDispose]: stop,
  };
}

/** A daemon that is killed leaves mounts of its snapshots in the directory of temporary files. */
function unmountLeftovers(store: string): void {
  for (const line of readFileSync('/proc/self/mountinfo', 'utf8').split('\n')) {
    const mountpoint = line.split(' ')[4];
    if (mountpoint?.includes('/buildkit-mount') && line.includes(store)) {
      execFileSync('umount', ['--lazy', mountpoint]);
    }
  }
}

function commandOf(
  { context, dockerfile = join(context, 'Dockerfile'), target, arguments: values = {}, output }: Build,
  buildctl: string,
  address: string,
): Command {
  const option = (name: string, value: string) => ['--opt', `${name}=${value}`];
  return {
    argv: [
      buildctl,
      '--addr',
      address,
      'build',
      '--progress=quiet',
      '--frontend=dockerfile.v0',
      `--local=context=${context}`,
      `--local=dockerfile=${dirname(dockerfile)}`,
      ...option('filename', basename(dockerfile)),
      ...(target === undefined ? [] : option('target', target)),
      ...Object.entries(values).flatMap(([name, value]) => option(`build-arg:${name}`, value)),
      ...(output === undefined ? [] : outputOf(output)),
    ],
    env: { PATH: process.env.PATH, HOME: process.env.HOME, ...epochOf(output) },
  };
}

function outputOf(output: Output): string[] {
  switch (output.kind) {
    case 'layout':
      return [
        ...(output.clamp === true ? ['--opt', 'build-arg:SOURCE_DATE_EPOCH=0'] : []),
        '--output',
        `type=oci,tar=false,dest=${output.directory},compression=${output.compression},oci-mediatypes=true${output.clamp === true ? ',rewrite-timestamp=true' : ''}`,
      ];
    case 'local':
      return ['--output', `type=local,dest=${output.directory}`];
    case 'push':
      return [
        '--output',
        `type=image,name=${output.reference},push=true,compression=${output.compression},oci-mediatypes=true,registry.insecure=true`,
      ];
    case 'cache':
      return ['--export-cache', `type=registry,ref=${output.reference},mode=max,registry.insecure=true`];
  }
}
