/** This checkout's command, with a store of its own. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Builder, type BuildRequest, flags, runBuilder } from './builder.ts';

const ROOT = join(import.meta.dirname, '../../..');

export function tsbuild(): Builder {
  const home = mkdtempSync(join(tmpdir(), 'tsbuild-conformance-home-'));
  return {
    name: 'tsbuild',
    version: 'tsbuild',
    build: (request) =>
      runBuilder(process.execPath, [join(ROOT, 'bin/tsbuild.js'), ...argumentsOf(request)], {
        ...process.env,
        TSBUILD_HOME: home,
      }),
    async [Symbol.asyncDispose]() {
      rmSync(home, { recursive: true, force: true });
    },
  };
}

function argumentsOf(request: BuildRequest): string[] {
  return [
    'build',
    '--progress=plain',
    '-f',
    request.dockerfilePath,
    request.contextDirectory,
    ...(request.target === undefined ? [] : ['--target', request.target]),
    ...(request.platform === undefined ? [] : ['--platform', request.platform]),
    ...flags('--build-arg', request.buildArgs),
    ...flags('--label', request.labels),
    ...Object.entries(request.secrets).flatMap(([id, path]) => ['--secret', `id=${id},src=${path}`]),
    ...(request.sshSocket === undefined ? [] : ['--ssh', `default=${request.sshSocket}`]),
    ...request.allow.flatMap((entitlement) => ['--allow', entitlement]),
    ...Object.entries(request.contexts).flatMap(([name, context]) => [
      '--build-context',
      context.kind === 'local'
        ? `${name}=${context.directory}`
        : `${name}=oci-layout://${context.layout}@${context.digest}`,
    ]),
    '-o',
    `type=oci,tar=false,dest=${request.layout}`,
  ];
}
