/** Build contexts that lie elsewhere. */
import { InternalError } from '../errors.ts';
import type { Emit } from '../solver/event.ts';
import type { EngineParts } from './parts.ts';
import type { RemoteSources } from './remote-sources.ts';

export type OpenedContext = { close(): Promise<void> } & (
  | { readonly kind: 'directory'; readonly path: string; readonly sourceEpochSeconds?: number }
  | { readonly kind: 'dockerfile'; readonly text: string }
);

export async function openRemoteContext(
  _argument: string | AsyncIterable<Uint8Array>,
  _options: {
    readonly parts: EngineParts;
    readonly sources: RemoteSources;
    readonly signal: AbortSignal;
    readonly emit: Emit;
  },
): Promise<OpenedContext> {
  throw new InternalError('not made yet');
}
