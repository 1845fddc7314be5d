/** Images by other programs, and what those programs make of ours. */
import { execFileSync } from 'node:child_process';
import { join } from 'node:path';

/** Runs a program; what it wrote to standard error is in the error. @returns Its standard output. */
export function tool(program: string, args: readonly string[], cwd?: string): string {
  return execFileSync(program, args, {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'pipe'],
    maxBuffer: 64 << 20,
    ...(cwd === undefined ? {} : { cwd }),
  });
}

/** Between any two places, registries on loopback included. */
export function skopeoCopy(source: string, destination: string): void {
  tool('skopeo', [
    '--insecure-policy',
    'copy',
    '--quiet',
    ...(source.startsWith('docker://') ? ['--src-tls-verify=false'] : []),
    ...(destination.startsWith('docker://') ? ['--dest-tls-verify=false'] : []),
    source,
    destination,
  ]);
}

export interface SkopeoInspect {
  readonly Digest: string;
  readonly Layers: readonly string[];
  readonly Env: readonly string[];
  /** Of the layers, from the manifest: Debian's skopeo does not list them itself. */
  readonly mediaTypes: readonly string[];
}

export function skopeoInspect(place: string): SkopeoInspect {
  const inspect = (...flags: string[]): unknown =>
    JSON.parse(
      tool('skopeo', [
        'inspect',
        ...flags,
        ...(place.startsWith('docker://') ? ['--tls-verify=false'] : []),
        place,
      ]),
    );
  const manifest = inspect('--raw') as { readonly layers: readonly { readonly mediaType: string }[] };
  return {
    ...(inspect() as Omit<SkopeoInspect, 'mediaTypes'>),
    mediaTypes: manifest.layers.map(({ mediaType }) => mediaType),
  };
}

/** @returns The root filesystem of an image of a layout, as umoci unpacks it. Debian's umoci knows gzip, not zstd. */
export function umociUnpack(layout: string, tag: string, bundle: string): string {
  tool('umoci', ['unpack', '--image', `${layout}:${tag}`, bundle]);
  return join(bundle, 'rootfs');
}
