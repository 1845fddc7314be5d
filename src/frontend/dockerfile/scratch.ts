/** An empty root filesystem, as Dockerfiles ask for it. */
import { type Edge, firstOutput, vertex } from '../../graph/vertex.ts';
import type { Platform } from '../../oci/platform.ts';

export function scratchEdge(platform: Platform): Edge {
  return firstOutput(vertex({ kind: 'scratch' }, [], { platform, label: '[internal] FROM scratch' }));
}
