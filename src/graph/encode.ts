/** The graph as text and back, so that nothing can hide outside of the representation. */
import { InternalError } from '../errors.ts';
import type { Digest } from '../oci/digest.ts';
import {
  type Edge,
  firstOutput,
  type Operation,
  topologicalOrder,
  type Vertex,
  type VertexOptions,
  vertex,
} from './vertex.ts';

interface EncodedVertex {
  readonly operation: Operation;
  readonly inputs: readonly (readonly [Digest, number])[];
  readonly options: VertexOptions;
  readonly digest: Digest;
}

export function encodeGraph(tips: readonly Vertex[]): string {
  const vertices: EncodedVertex[] = topologicalOrder(tips).map((each) => {
    const { operation, inputs, digest, ...options } = each;
    return { operation, inputs: inputs.map((edge) => [edge.vertex.digest, edge.output]), options, digest };
  });
  return JSON.stringify({ version: 1, vertices, tips: tips.map((tip) => tip.digest) });
}

/** @throws {InternalError} when the text was not made by {@link encodeGraph}. */
export function decodeGraph(text: string): Vertex[] {
  const { vertices, tips } = JSON.parse(text) as { vertices: EncodedVertex[]; tips: Digest[] };
  const byDigest = new Map<Digest, Vertex>();
  const find = (digest: Digest): Vertex => {
    const found = byDigest.get(digest);
    if (found === undefined) {
      throw new InternalError(`graph names a vertex that it does not hold: ${digest}`);
    }
    return found;
  };
  for (const each of vertices) {
    const inputs: Edge[] = each.inputs.map(([digest, output]) => ({ ...firstOutput(find(digest)), output }));
    const decoded = vertex(each.operation, inputs, each.options);
    if (decoded.digest !== each.digest) {
      throw new InternalError(`vertex changed while it was encoded: ${each.digest}`);
    }
    byDigest.set(decoded.digest, decoded);
  }
  return tips.map(find);
}
