/** Pending local files of an image, in containers and as a last layer of what is exported (B10 of the Image API). */
import { ConfigState } from '../frontend/fluent/config-state.ts';
import { inputName } from '../frontend/fluent/local-input.ts';
import { PYTHON_ROOT } from '../frontend/fluent/python-source-layer.ts';
import type { ImageGraph } from '../frontend/fluent/to-graph.ts';
import { ROOT_OWNER } from '../graph/action.ts';
import { type Edge, firstOutput, vertex } from '../graph/vertex.ts';
import type { ContainerConfig } from '../oci/image-config.ts';
import type { BuildInputs } from './local-inputs.ts';

/** What a container has that gets the mounts: Python finds mounted modules (E15). */
export function configWithMounts({ config, mounts }: ImageGraph): ContainerConfig {
  if (!mounts.some(({ kind }) => kind === 'pythonSource')) {
    return config;
  }
  const state = new ConfigState(config);
  state.apply({ kind: 'prepend-env', name: 'PYTHONPATH', value: PYTHON_ROOT });
  return state.toContainerConfig();
}

/** As one last layer, in the order of the calls. */
export function withMounts(graph: ImageGraph, inputs: BuildInputs): ImageGraph {
  const { platform } = graph;
  const sources: Edge[] = graph.mounts.map(({ input }) => {
    inputs.add(input);
    return firstOutput(
      vertex({ kind: 'source-local', input: inputName(input) }, [], { platform, label: 'local files' }),
    );
  });
  const index = graph.layerVertices.length;
  const added = vertex(
    {
      kind: 'build',
      actions: sources.map((_source, at) => ({
        kind: 'copy',
        input: at + 1,
        source: '/',
        destination: '/',
        owner: ROOT_OWNER,
        modes: 'normalise',
        times: 'epoch',
      })),
    },
    [graph.tip, ...sources],
    { platform, label: 'local files', origin: { method: 'addLocal', layer: index } },
  );
  const config = configWithMounts(graph);
  const pythonPath = config.Env?.find((entry) => entry.startsWith('PYTHONPATH='));
  const changed = config !== graph.config && pythonPath !== undefined;
  return {
    ...graph,
    tip: firstOutput(added),
    config,
    history: [
      ...graph.history,
      { created_by: 'COPY . /' },
      ...(changed ? [{ created_by: `ENV ${pythonPath}`, empty_layer: true }] : []),
    ],
    layerVertices: [...graph.layerVertices, [added]],
    otherConfigs: changed ? new Map([...graph.otherConfigs, [index, pythonPath]]) : graph.otherConfigs,
  };
}
