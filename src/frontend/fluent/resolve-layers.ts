/**
 * The calls of a chain with all their steps: what hangs on local files is worked out here, once for plans and for graphs, so
 * that both are made of the same value.
 */
import type { LayerDefinition } from './layer-definition.ts';
import { inputName, type LocalInput, type ScanInput, type ScannedFiles } from './local-input.ts';

/** @throws {DefinitionError} what the scan or the files say is wrong. */
export async function resolveLayers(
  layers: readonly LayerDefinition[],
  scan: ScanInput,
): Promise<readonly LayerDefinition[]> {
  return Promise.all(layers.map((layer) => resolveLayer(layer, scan)));
}

async function resolveLayer(layer: LayerDefinition, scan: ScanInput): Promise<LayerDefinition> {
  const { deferred, ...known } = layer;
  if (deferred === undefined) {
    return layer;
  }
  const facts = new Map(
    await Promise.all(deferred.inputs.map(async (input) => [inputName(input), await scan(input)] as const)),
  );
  const found = (input: LocalInput) => facts.get(inputName(input)) as ScannedFiles;
  return Object.freeze({ ...known, ...(await deferred.resolve(found)) });
}
