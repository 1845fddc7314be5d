/** An engine with its progress, for as long as a command needs it. */

import type { BuildEvent } from '../solver/event.ts';
import type { CliContext } from './context.ts';
import type { EngineLike, EngineModule } from './engine-api.ts';
import { openProgress } from './progress/open.ts';
import { resolveEngine, resolveProgress, type TypedEngineOptions } from './resolve.ts';
import { SourceWarnings } from './source-warnings.ts';

export interface Session {
  readonly engine: EngineLike;
  /** Ends the drawing: from here on the terminal belongs to what the command prints. */
  endProgress(): void;
  /** Lends the terminal to somebody else. @returns What takes it back. */
  pauseProgress(): () => void;
}

/**
 * The progress is ended before the result or the error reaches the caller, so that neither is drawn over.
 * @param onEvent - Sees every event as well.
 */
export async function withEngine<T>(
  context: CliContext,
  module: EngineModule,
  typed: TypedEngineOptions,
  action: (session: Session) => Promise<T>,
  onEvent?: (event: BuildEvent) => void,
): Promise<T> {
  const kind = resolveProgress(typed, context.env);
  const progress = await openProgress(kind, context.stderr, context.env);
  // Programs get every event; people get what is about one file together, when it is over.
  const warnings = kind === 'json' ? undefined : new SourceWarnings(context.cwd);
  // Drawn with the progress: a line written past it would be drawn over.
  const onAbort = () => progress.notice('cancelling; once more ends at once');
  context.signal.addEventListener('abort', onAbort);
  try {
    await using engine = await module.Engine.open({
      ...resolveEngine(typed, context),
      onEvent: (event) => {
        if (warnings?.take(event) !== true) {
          progress.event(event);
        }
        onEvent?.(event);
      },
    });
    return await action({
      engine,
      endProgress: () => progress.close(),
      pauseProgress: () => {
        progress.pause();
        return () => progress.resume();
      },
    });
  } finally {
    context.signal.removeEventListener('abort', onAbort);
    progress.close();
    if (warnings !== undefined && kind !== 'quiet') {
      context.stderr.write(warnings.text());
    }
  }
}
