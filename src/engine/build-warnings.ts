/** The warnings of one build: sent as events when they are known, and kept for the images that they are about. */
import type { Diagnostic } from '../frontend/fluent/diagnostic.ts';
import type { LayerDefinition } from '../frontend/fluent/layer-definition.ts';
import { inputName, type LocalInput, type ScannedFiles } from '../frontend/fluent/local-input.ts';
import { inputDiagnostics, inputsOf } from '../frontend/fluent/plan.ts';
import type { Emit } from '../solver/event.ts';

export class BuildWarnings {
  readonly #emit: Emit;
  readonly #ofImages = new Map<number, Diagnostic[]>();
  readonly #sent = new Set<string>();

  constructor(emit: Emit) {
    this.#emit = emit;
  }

  /** @param image - Position of the image in the build. What images share is sent once. */
  add(image: number, diagnostics: readonly Diagnostic[]): void {
    const own = this.#ofImages.get(image) ?? [];
    this.#ofImages.set(image, own);
    for (const diagnostic of diagnostics) {
      own.push(diagnostic);
      const key = JSON.stringify(diagnostic);
      if (!this.#sent.has(key)) {
        this.#sent.add(key);
        const { layer: _, ...warning } = diagnostic;
        this.#emit({ kind: 'warning', ...warning });
      }
    }
  }

  ofImage(image: number): readonly Diagnostic[] {
    return this.#ofImages.get(image) ?? [];
  }
}

/** About the local files of a chain; a build has scanned them, so that asking again costs nothing. */
export async function warningsOfFiles(
  layers: readonly LayerDefinition[],
  scan: (input: LocalInput) => Promise<Pick<ScannedFiles, 'findings'>>,
): Promise<readonly Diagnostic[]> {
  const inputs = new Map(layers.flatMap(inputsOf).map((input) => [inputName(input), input]));
  const scans = new Map(
    await Promise.all([...inputs].map(async ([name, input]) => [name, await scan(input)] as const)),
  );
  return inputDiagnostics(layers, (input) => scans.get(inputName(input)) as Pick<ScannedFiles, 'findings'>);
}
