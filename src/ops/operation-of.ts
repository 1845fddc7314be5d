import { InternalError } from '../errors.ts';
import type { Operation, Vertex } from '../graph/vertex.ts';

/** The operation of a vertex that is known to be of one kind. */
export function operationOf<K extends Operation['kind']>(
  vertex: Vertex,
  kind: K,
): Extract<Operation, { kind: K }> {
  if (vertex.operation.kind !== kind) {
    throw new InternalError(`op for '${kind}' was given a vertex of kind '${vertex.operation.kind}'`);
  }
  return vertex.operation as Extract<Operation, { kind: K }>;
}
