import type { Digest } from '../oci/digest.ts';
import type { Emit } from '../solver/event.ts';
import type { WorkerEvent } from './protocol.ts';

/** Passes on what the worker says of a request as events of the build, under the vertex that it works for. */
export function workerEvents(emit: Emit, vertex?: Digest): (event: WorkerEvent) => void {
  return (event) => {
    switch (event.kind) {
      case 'log':
        if (vertex !== undefined) {
          emit({ kind: 'log', vertex, stream: event.stream, text: event.text });
        }
        break;
      case 'progress':
        emit({ ...event, ...(vertex === undefined ? {} : { vertex }) });
        break;
      case 'output':
      case 'input-taken':
      case 'step-failed':
      case 'step-kept':
      case 'ran-in-failed':
        // Whoever asked for a program looks for these itself.
        break;
      case 'warning':
        emit({ ...event, ...(vertex === undefined ? {} : { vertex }) });
        break;
    }
  };
}
