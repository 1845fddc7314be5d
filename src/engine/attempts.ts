/** Remembers what a build tried, so that its logs are found by the ids that the build gave (Image API, A3.8 and B4.2). */
import { basename } from 'node:path';
import type { AttemptedLayer } from '../content/attempt-records.ts';
import { StepError } from '../errors.ts';
import type { ImageGraph } from '../frontend/fluent/to-graph.ts';
import type { Digest } from '../oci/digest.ts';
import type { BuildEvent } from '../solver/event.ts';
import type { Store } from './store.ts';

/** What an attempt is about: a definition, with the ids that its layers have or would have had. */
export interface Attempt {
  readonly graph: ImageGraph;
  /** Of its calls, the base's first. */
  readonly ids: readonly string[];
  readonly methods: readonly string[];
}

export class Attempts {
  readonly #store: Pick<Store, 'attempts'>;
  readonly #resultIds = new Map<Digest, string>();
  #failed: Digest | undefined;

  constructor(store: Pick<Store, 'attempts'>) {
    this.#store = store;
  }

  see(event: BuildEvent): void {
    if (event.kind === 'vertex-finished' && event.outcome === 'failed') {
      // What fails after the first was cancelled because of it.
      this.#failed ??= event.vertex;
    }
  }

  /** Ids of results by vertex; later ones stand over earlier ones. */
  know(resultIds: ReadonlyMap<Digest, string>): void {
    for (const [vertex, id] of resultIds) {
      this.#resultIds.set(vertex, id);
    }
  }

  succeeded(attempts: readonly Attempt[]): void {
    for (const attempt of attempts) {
      const id = attempt.ids.at(-1);
      // What the store has already was attempted by somebody else.
      if (id !== undefined && id !== attempt.graph.storedId) {
        this.#store.attempts.put(id, { layers: this.#layersOf(attempt, attempt.ids.length), failed: false });
      }
    }
  }

  /**
   * Images whose steps were cancelled because a step of another one failed have no attempt.
   *
   * @returns The error, with the id of the image that the step would have made if it is a step's.
   */
  failed(error: unknown, attempts: readonly Attempt[]): unknown {
    const failed = this.#failed;
    if (failed === undefined) {
      return error;
    }
    if (error instanceof StepError && error.logPath !== undefined) {
      this.#resultIds.set(failed, basename(error.logPath, '.log'));
    }
    const layerOf = ({ graph }: Attempt) =>
      graph.layerVertices.findIndex((vertices) => vertices.some(({ digest }) => digest === failed));
    const failing = attempts.filter((attempt) => layerOf(attempt) >= 0);
    for (const attempt of failing) {
      const layer = layerOf(attempt);
      const record = { layers: this.#layersOf(attempt, layer + 1), failed: true };
      for (const id of new Set([attempt.ids[layer], attempt.ids.at(-1)])) {
        if (id !== undefined) {
          this.#store.attempts.put(id, record);
        }
      }
    }
    const [first] = failing;
    const imageId = first?.ids[layerOf(first)];
    return error instanceof StepError && error.imageId === undefined
      ? new StepError(error.message, { ...error, code: error.code, imageId, cause: error.cause })
      : error;
  }

  #layersOf({ graph, ids, methods }: Attempt, count: number): readonly AttemptedLayer[] {
    const own = ids.slice(0, count).map((id, layer) => ({
      id,
      method: methods[layer] ?? '',
      results: (graph.layerVertices[layer] ?? []).flatMap(({ digest }) => this.#resultIds.get(digest) ?? []),
    }));
    const below = graph.storedId === undefined ? undefined : this.#store.attempts.find(graph.storedId);
    // The base is an image that was built here: its calls come first.
    return below === undefined ? own : [...below.layers, ...own.slice(1)];
  }
}
