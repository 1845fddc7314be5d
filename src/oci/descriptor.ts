import type { Digest } from './digest.ts';
import type { Platform } from './platform.ts';

/** Source: OCI image-spec v1.1, `descriptor.md`. Field names keep the spec's spelling. */
export interface Descriptor {
  readonly mediaType: string;
  readonly digest: Digest;
  readonly size: number;
  readonly urls?: readonly string[];
  readonly annotations?: Readonly<Record<string, string>>;
  readonly artifactType?: string;
  readonly platform?: Platform;
}
