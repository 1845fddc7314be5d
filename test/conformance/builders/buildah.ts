/** Buildah, with a store of its own. Debian's is of 2022: what it lacks is said in the cases. */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Builder, type BuildRequest, flags, runBuilder } from './builder.ts';

export function buildah(): Builder {
  const home = mkdtempSync(join(tmpdir(), 'tsbuild-conformance-buildah-'));
  const global = [
    '--root',
    join(home, 'root'),
    '--runroot',
    join(home, 'run'),
    '--storage-driver',
    'overlay',
  ];
  const images = new Map<string, Promise<string>>();
  let count = 0;

  /** Its named contexts cannot be layouts, so bases are brought into its store once. */
  const imported = (layout: string): Promise<string> => {
    let found = images.get(layout);
    if (found === undefined) {
      const name = `localhost/base-${images.size}`;
      found = runBuilder('skopeo', [
        '--insecure-policy',
        'copy',
        `oci:${layout}`,
        `containers-storage:[overlay@${join(home, 'root')}+${join(home, 'run')}]${name}`,
      ]).then(({ ok, text }) => {
        if (!ok) {
          throw new Error(`cannot give buildah a base: ${text}`);
        }
        return name;
      });
      images.set(layout, found);
    }
    return found;
  };

  return {
    name: 'buildah',
    version: execFileSync('buildah', ['--version'], { encoding: 'utf8' }).trim(),
    // An OCI config has no place for some members, and its history is written in other words. It leaves mount points.
    silentAbout:
      /^(history|layers|config (ArgsEscaped|author|created|Healthcheck|OnBuild|Shell)|\/(dev|proc|sys|run)(\/|$)|\/etc$|\/etc\/(hosts|hostname|resolv\.conf)$)/,
    async build(request) {
      const contexts: Record<string, string> = {};
      for (const [name, context] of Object.entries(request.contexts)) {
        contexts[name] =
          context.kind === 'local' ? context.directory : `docker-image://${await imported(context.layout)}`;
      }
      count += 1;
      const name = `localhost/made-${count}`;
      const built = await runBuilder('buildah', [...global, ...argumentsOf(request, contexts, name)]);
      if (!built.ok) {
        return built;
      }
      return runBuilder('buildah', [...global, 'push', '--quiet', name, `oci:${request.layout}:latest`]);
    },
    async [Symbol.asyncDispose]() {
      execFileSync('buildah', [...global, 'rmi', '--all', '--force'], { stdio: 'ignore' });
      rmSync(home, { recursive: true, force: true });
    },
  };
}

function argumentsOf(request: BuildRequest, contexts: Record<string, string>, name: string): string[] {
  return [
    'build',
    '--isolation=chroot',
    '--layers',
    '--no-cache',
    '--pull-never',
    '--format=docker',
    '--identity-label=false',
    '-t',
    name,
    '-f',
    request.dockerfilePath,
    ...(request.target === undefined ? [] : ['--target', request.target]),
    ...(request.platform === undefined ? [] : ['--platform', request.platform]),
    ...flags('--build-arg', request.buildArgs),
    ...flags('--label', request.labels),
    ...Object.entries(request.secrets).flatMap(([id, path]) => ['--secret', `id=${id},src=${path}`]),
    ...(request.sshSocket === undefined ? [] : ['--ssh', `default=${request.sshSocket}`]),
    ...flags('--build-context', contexts),
    request.contextDirectory,
  ];
}
