/** A builder under measurement: what it is asked for, and the process that does it. */

export type Output =
  /** An OCI image layout as a directory. */
  | {
      readonly kind: 'layout';
      readonly directory: string;
      readonly compression: Compression;
      readonly clamp?: boolean;
    }
  | { readonly kind: 'local'; readonly directory: string }
  | { readonly kind: 'push'; readonly reference: string; readonly compression: Compression }
  /** The cache for other machines, every step of it, in a registry. */
  | { readonly kind: 'cache'; readonly reference: string };

/** Only where times are clamped. */
export function epochOf(output: Output | undefined): { readonly SOURCE_DATE_EPOCH?: string } {
  return output?.kind === 'layout' && output.clamp === true ? { SOURCE_DATE_EPOCH: '0' } : {};
}

export type Compression = 'zstd' | 'gzip' | 'estargz' | 'zstd:chunked';

export interface Build {
  readonly context: string;
  /** @defaultValue `Dockerfile` in the context */
  readonly dockerfile?: string;
  /** @defaultValue the last stage */
  readonly target?: string;
  readonly arguments?: Readonly<Record<string, string>>;
  readonly output?: Output;
}

export interface Command {
  readonly argv: readonly [string, ...string[]];
  readonly env: Readonly<Record<string, string | undefined>>;
}

export interface Peer extends AsyncDisposable {
  readonly name: PeerName;
  readonly version: string;
  /** What it cannot do, if that is so. */
  lacks(build: Build): string | undefined;
  command(build: Build): Command;
  /** With nothing in its store, as on a new machine. What runs on, such as a daemon, is warm. */
  reset(): Promise<void>;
  /** Processes that work for it besides the command. */
  readonly servers: readonly number[];
  /** Bytes that its filesystem was made to write so far, what is still in memory included; where that can be known. */
  bytesWritten(): number | undefined;
}

export type PeerName = 'tsbuild' | 'buildkit' | 'buildah';
