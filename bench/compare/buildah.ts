/**
 * Debian's buildah, where it is on PATH and may be root: no daemon, a process that starts, works and ends, and a store of its own on the
 * ground that it is given.
 */
import { spawnSync } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import type { Ground } from './ground.ts';
import { BASE, writeContext } from './inputs.ts';
import type { Build, Command, Peer } from './peer.ts';

/** The first that runs a step is taken. Its default, crun, refuses machines that have both versions of cgroups. */
const SANDBOXES: readonly (readonly string[])[] = [[], ['--runtime=runc'], ['--isolation=chroot']];

/** A push needs a name, and what has one is what a user keeps. */
const NAME = 'localhost/bench';

/** Its version; undefined where there is no buildah. */
export function findBuildah(): string | undefined {
  const { status, stdout } = spawnSync('buildah', ['--version'], { encoding: 'utf8' });
  return status === 0 && process.getuid?.() === 0 ? stdout.trim() : undefined;
}

export async function buildahPeer(ground: Ground, version: string): Promise<Peer> {
  const home = join(ground.directory, 'buildah');
  const reset = async () => {
    // With what it left mounted: the container of a build that was ended from outside.
    ground.reset();
    mkdirSync(join(home, 'tmp'), { recursive: true });
  };
  await reset();
  const sandbox = findSandbox(home);
  return {
    name: 'buildah',
    version: [version, ...sandbox].join(', '),
    lacks,
    command: (build) => commandOf(build, home, sandbox),
    reset,
    servers: [],
    bytesWritten: () => ground.bytesWritten(),
    async [Symbol.asyncDispose]() {},
  };
}

function lacks({ output }: Build): string | undefined {
  if (output === undefined || !('compression' in output)) {
    return undefined;
  }
  if (output.kind === 'layout' && output.clamp === true) {
    // `--timestamp` is for layers that are made in that build; those that it finds made keep their times.
    return 'no `rewrite-timestamp`';
  }
  return output.compression === 'estargz' ? 'no estargz' : undefined;
}

function findSandbox(home: string): readonly string[] {
  const context = join(home, 'trial');
  writeContext(context, BASE);
  let said = '';
  for (const sandbox of SANDBOXES) {
    const { argv, env } = commandOf({ context }, home, sandbox);
    const { status, stderr } = spawnSync(argv[0], argv.slice(1), { env, encoding: 'utf8' });
    if (status === 0) {
      return sandbox;
    }
    said += stderr;
  }
  throw new Error(`buildah runs no step:\n${said}`);
}

function commandOf(
  { context, dockerfile, target, arguments: values = {}, output }: Build,
  home: string,
  sandbox: readonly string[],
): Command {
  const buildah = [
    'buildah',
    `--root=${join(home, 'storage')}`,
    `--runroot=${join(home, 'run')}`,
    '--storage-driver=overlay',
  ];
  const build = [
    ...buildah,
    'build',
    '--quiet',
    // What the others do without being asked: steps are cached, and stages run side by side.
    '--layers',
    '--jobs=0',
    // A last stage that is nothing but another one leaves its container.
    '--force-rm',
    '--network=host',
    '--tls-verify=false',
    ...sandbox,
    `--tag=${NAME}`,
    ...(dockerfile === undefined ? [] : [`--file=${dockerfile}`]),
    ...(target === undefined ? [] : [`--target=${target}`]),
    ...Object.entries(values).map(([name, value]) => `--build-arg=${name}=${value}`),
    ...(output?.kind === 'local' ? [`--output=type=local,dest=${output.directory}`] : []),
    // The repository: it makes tags of its own, one for each step.
    ...(output?.kind === 'cache' ? [`--cache-to=${output.reference.replace(/:[^:/]+$/, '')}`] : []),
    context,
  ];
  const push = (compression: string, destination: string) => [
    ...buildah,
    'push',
    '--quiet',
    '--tls-verify=false',
    `--compression-format=${compression}`,
    NAME,
    destination,
  ];
  const commands = [build];
  if (output?.kind === 'layout') {
    commands.push(push(output.compression, `oci:${output.directory}`));
  } else if (output?.kind === 'push') {
    commands.push(push(output.compression, `docker://${output.reference}`));
  }
  return {
    argv: oneAfterTheOther(commands),
    // It keeps what is on its way into a layer or a registry in the directory of temporary files.
    env: { PATH: process.env.PATH, HOME: process.env.HOME, TMPDIR: join(home, 'tmp') },
  };
}

/** As one command. Words are parameters of the shell, so that nothing in them is read as its language. */
export function oneAfterTheOther(commands: readonly (readonly string[])[]): [string, ...string[]] {
  let count = 0;
  const lines = commands.map((words) =>
    words
      .map(() => {
        count += 1;
        return `"\${${count}}"`;
      })
      .join(' '),
  );
  return ['sh', '-c', lines.join(' && '), 'sh', ...commands.flat()];
}
