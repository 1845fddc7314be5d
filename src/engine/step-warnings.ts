/** Warnings that steps give while they run, for the diagnostics of the image that they belong to (B14 of the Image API). */
import type { Diagnostic, DiagnosticCode } from '../frontend/fluent/diagnostic.ts';
import type { ImageGraph } from '../frontend/fluent/to-graph.ts';
import type { Digest } from '../oci/digest.ts';
import type { BuildEvent } from '../solver/event.ts';

const CODES: readonly DiagnosticCode[] = [
  'W_DEVICE',
  'W_DOTENV_MISSING',
  'W_GPU_IGNORED',
  'W_GPU_TYPE',
  'W_SECRET_IN_LAYER',
];

export class StepWarnings {
  readonly #byVertex = new Map<Digest, Diagnostic[]>();

  hear(event: BuildEvent): void {
    if (event.kind !== 'warning' || event.vertex === undefined) {
      return;
    }
    const code = CODES.find((each) => each === event.code);
    if (code !== undefined) {
      const before = this.#byVertex.get(event.vertex) ?? [];
      this.#byVertex.set(event.vertex, [...before, { code, message: event.message }]);
    }
  }

  /** Of the steps of one image, in the order of its calls. */
  of({ layerVertices }: Pick<ImageGraph, 'layerVertices'>): readonly Diagnostic[] {
    return layerVertices.flatMap((vertices, layer) =>
      vertices.flatMap(({ digest }) =>
        (this.#byVertex.get(digest) ?? []).map((warning) => ({ ...warning, layer })),
      ),
    );
  }
}
