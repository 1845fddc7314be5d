/** BuildKit: `buildctl` from PATH (or `BUILDCTL`), a daemon at `BUILDKIT_HOST`. */
import { execFileSync } from 'node:child_process';
import { basename, dirname } from 'node:path';
import { type Builder, type BuildRequest, flags, runBuilder } from './builder.ts';

const BUILDCTL = process.env.BUILDCTL ?? 'buildctl';

/** Whether there is a daemon to ask. */
export function hasBuildkit(): boolean {
  if (process.env.BUILDKIT_HOST === undefined) {
    return false;
  }
  try {
    execFileSync(BUILDCTL, ['debug', 'workers'], { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
}

export function buildkit(): Builder {
  let last: Promise<unknown> = Promise.resolve();
  return {
    name: 'buildkit',
    version: process.env.BUILDKIT_VERSION ?? versionOf(),
    build(request) {
      // One after the other: builds at the same time share steps whose inputs differ in nothing but times.
      const built = last.then(() => runBuilder(BUILDCTL, argumentsOf(request)));
      last = built;
      return built;
    },
    async [Symbol.asyncDispose]() {},
  };
}

function versionOf(): string {
  return execFileSync(BUILDCTL, ['--version'], { encoding: 'utf8' }).trim();
}

function argumentsOf(request: BuildRequest): string[] {
  const option = (name: string, value: string) => ['--opt', `${name}=${value}`];
  return [
    'build',
    '--progress=plain',
    '--no-cache',
    '--frontend=dockerfile.v0',
    `--local=context=${request.contextDirectory}`,
    `--local=dockerfile=${dirname(request.dockerfilePath)}`,
    ...option('filename', basename(request.dockerfilePath)),
    ...(request.target === undefined ? [] : option('target', request.target)),
    ...(request.platform === undefined ? [] : option('platform', request.platform)),
    ...Object.entries(request.buildArgs).flatMap(([name, value]) => option(`build-arg:${name}`, value)),
    ...Object.entries(request.labels).flatMap(([name, value]) => option(`label:${name}`, value)),
    ...Object.entries(request.secrets).flatMap(([id, path]) => ['--secret', `id=${id},src=${path}`]),
    ...(request.sshSocket === undefined ? [] : ['--ssh', `default=${request.sshSocket}`]),
    ...request.allow.flatMap((entitlement) => ['--allow', entitlement]),
    ...Object.entries(request.contexts).flatMap(([name, context]) =>
      context.kind === 'local'
        ? [`--local=${name}=${context.directory}`, ...option(`context:${name}`, `local:${name}`)]
        : [
            ...flags('--oci-layout', { [name]: context.layout }),
            ...option(`context:${name}`, `oci-layout://${name}@${context.digest}`),
          ],
    ),
    `--output=type=oci,tar=false,dest=${request.layout}`,
  ];
}
