import type { Descriptor } from '../../oci/descriptor.ts';
import type { Digest } from '../../oci/digest.ts';
import type { ImageConfig } from '../../oci/image-config.ts';
import type { Diagnostic } from './diagnostic.ts';
import { Image, sameImageAs } from './image.ts';

/** One layer of a plan, after a build. */
export interface BuiltLayer {
  readonly id: string;
  readonly method: string;
  /** Whether this build found it instead of running it. */
  readonly cached: boolean;
  readonly durationMs: number;
}

export interface BuiltFacts {
  readonly id: string;
  /** Of the manifest, or of the index where several platforms were built. */
  readonly digest: Digest;
  readonly configDigest: Digest;
  readonly manifestDescriptor: Descriptor;
  /** The whole OCI image configuration. */
  readonly config: ImageConfig;
  /** Index as in the plan. */
  readonly layers: readonly BuiltLayer[];
  readonly diagnostics: readonly Diagnostic[];
  /** Absent: built for one platform. */
  readonly platforms?: readonly BuiltPlatform[];
}

/** One image of several that an index lists. */
export interface BuiltPlatform {
  /** `linux/arm64`. */
  readonly platform: string;
  readonly image: BuiltImage;
}

/**
 * An image together with what building it gave. Frozen; it can be extended like any other. Built for several platforms, its
 * id, digest and descriptor are the index's, its configuration is that of this machine's platform or else of the first.
 */
export class BuiltImage extends Image {
  readonly #facts: BuiltFacts;

  constructor(facts: BuiltFacts, ...state: ConstructorParameters<typeof Image>) {
    super(...state);
    this.#facts = Object.freeze({ ...facts });
    Object.freeze(this);
  }

  static of(image: Image, facts: BuiltFacts): BuiltImage {
    return sameImageAs(image, (...state) => new BuiltImage(facts, ...state));
  }

  override get id(): string {
    return this.#facts.id;
  }

  override get layers(): readonly BuiltLayer[] {
    return this.#facts.layers;
  }

  get digest(): Digest {
    return this.#facts.digest;
  }

  /** What other tools call the image id. */
  get configDigest(): Digest {
    return this.#facts.configDigest;
  }

  get manifestDescriptor(): Descriptor {
    return this.#facts.manifestDescriptor;
  }

  get config(): ImageConfig {
    return this.#facts.config;
  }

  get diagnostics(): readonly Diagnostic[] {
    return this.#facts.diagnostics;
  }

  /** What was built for each platform, in the order of the index. Empty: one platform, which is this image. */
  get platforms(): readonly BuiltPlatform[] {
    return this.#facts.platforms ?? [];
  }
}
