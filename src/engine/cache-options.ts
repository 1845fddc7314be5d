/** Where caches come from and go to. The members of the command line's `--cache-from` and `--cache-to`. */
import type { Digest } from '../oci/digest.ts';
import type { CompressionName } from './compression.ts';

/** A cache, or an image that carries one, that is looked into before steps run. */
export type CacheSource =
  | { readonly type: 'registry'; readonly ref: string }
  | {
      readonly type: 'local';
      /** Directory of an OCI image layout. */
      readonly src: string;
      /** @defaultValue latest */
      readonly tag?: string;
      readonly digest?: Digest;
    };

export type CacheTarget =
  | (CacheTargetOptions & { readonly type: 'registry'; readonly ref: string })
  | (CacheTargetOptions & {
      readonly type: 'local';
      readonly dest: string;
      /** @defaultValue latest */
      readonly tag?: string;
    })
  /** In the config of the image itself, which brings the layers. */
  | { readonly type: 'inline' };

export interface CacheTargetOptions {
  /** `min`: results that the final images are made of. `max`: of all steps. @defaultValue min */
  readonly mode?: 'min' | 'max';
  /** Of the layers that tsbuild writes; those of a base stay as they are unless forced. @defaultValue zstd */
  readonly compression?: CompressionName;
  /** @defaultValue 3 for zstd, 6 for gzip */
  readonly compressionLevel?: number;
  /** Compress layers of a base anew too. @defaultValue false */
  readonly forceCompression?: boolean;
  /** A cache that cannot be written is a warning. @defaultValue false */
  readonly ignoreError?: boolean;
}
