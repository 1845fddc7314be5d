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
  /** Of the manifest. */
  readonly digest: string;
  /** The whole OCI image configuration. */
  readonly config: ImageConfig;
  /** Index as in the plan. */
  readonly layers: readonly BuiltLayer[];
  readonly diagnostics: readonly Diagnostic[];
}

/** An image together with what building it gave. Frozen; it can be extended like any other. */
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

  get digest(): string {
    return this.#facts.digest;
  }

  get config(): ImageConfig {
    return this.#facts.config;
  }

  get diagnostics(): readonly Diagnostic[] {
    return this.#facts.diagnostics;
  }
}
