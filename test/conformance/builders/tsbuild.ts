/** This checkout's command. Each build has a store of its own: what a build leaves must not lend its times to another. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Builder, type BuildRequest, flags, runBuilder } from './builder.ts';

const ROOT = join(import.meta.dirname, '../../..');

export function tsbuild(): Builder {
  return {
    name: 'tsbuild',
    version: 'tsbuild',
    async build(request) {
      const home = mkdtempSync(join(tmpdir(), 'tsbuild-conformance-home-'));
      try {
        return await runBuilder(process.execPath, [join(ROOT, 'bin/tsbuild.js'), ...argumentsOf(request)], {
          // Steps see no certificates and proxies of the machine.
          PATH: process.env.PATH,
          HOME: process.env.HOME,
          TSBUILD_HOME: home,
        });
      } finally {
        rmSync(home, { recursive: true, force: true });
      }
    },
    async [Symbol.asyncDispose]() {},
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
