/** Which vertices' layers are only wanted as blobs. */
import type { Vertex } from '../graph/vertex.ts';
import type { Digest } from '../oci/digest.ts';

/**
 * Those of which nothing in the build needs the files: no step goes on from them or reads them. A merge only stacks layers; what it stacks
 * is needed as it is itself.
 */
export function shippedOnly(tips: readonly Vertex[]): (vertex: Vertex) => boolean {
  const mounted = new Set<Digest>();
  const seen = new Set<Digest>();
  const mount = (vertex: Vertex) => {
    if (!mounted.has(vertex.digest)) {
      mounted.add(vertex.digest);
      if (vertex.operation.kind === 'merge') {
        inputsOf(vertex).forEach(mount);
      }
    }
  };
  const visit = (vertex: Vertex) => {
    if (!seen.has(vertex.digest)) {
      seen.add(vertex.digest);
      const inputs = inputsOf(vertex);
      if (vertex.operation.kind !== 'merge') {
        inputs.forEach(mount);
      }
      inputs.forEach(visit);
    }
  };
  tips.forEach(visit);
  return (vertex) => !mounted.has(vertex.digest);
}

function inputsOf(vertex: Vertex): readonly Vertex[] {
  return vertex.inputs.map((input) => input.vertex);
}
