/** This checkout's command, after `npm run build`: one process that starts, works and ends. */
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import type { Ground } from './ground.ts';
import { type Build, type Command, epochOf, type Output, type Peer } from './peer.ts';

const ROOT = join(import.meta.dirname, '../..');

export function tsbuildPeer(ground: Ground, version: string): Peer {
  const home = join(ground.directory, 'tsbuild');
  return {
    name: 'tsbuild',
    version,
    lacks: () => undefined,
    command: (build) => commandOf(build, home),
    async reset() {
      ground.reset();
      mkdirSync(home);
    },
    servers: [],
    bytesWritten: () => ground.bytesWritten(),
    async [Symbol.asyncDispose]() {},
  };
}

function commandOf(
  { context, dockerfile, target, arguments: values = {}, output }: Build,
  home: string,
): Command {
  return {
    argv: [
      process.execPath,
      join(ROOT, 'bin/tsbuild.js'),
      'build',
      context,
      '--quiet',
      ...(dockerfile === undefined ? [] : ['--file', dockerfile]),
      ...(target === undefined ? [] : ['--target', target]),
      ...Object.entries(values).flatMap(([name, value]) => ['--build-arg', `${name}=${value}`]),
      ...(output === undefined ? [] : outputOf(output)),
    ],
    env: { PATH: process.env.PATH, HOME: process.env.HOME, TSBUILD_HOME: home, ...epochOf(output) },
  };
}

function outputOf(output: Output): string[] {
  switch (output.kind) {
    case 'layout':
      return [
        '--output',
        `type=oci,tar=false,dest=${output.directory},compression=${output.compression}`,
        ...(output.clamp === true ? ['--rewrite-timestamp'] : []),
      ];
    case 'local':
      return ['--output', `type=local,dest=${output.directory}`];
    case 'push':
      return ['--output', `type=registry,name=${output.reference},compression=${output.compression}`];
    case 'cache':
      return ['--cache-to', `type=registry,ref=${output.reference},mode=max`];
  }
}
