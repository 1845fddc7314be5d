/** Chooses how progress is drawn. */
import type { OutputStream } from '../context.ts';
import { HeldOutput } from './held-output.ts';
import type { LineRenderer, ProgressRenderer } from './renderer.ts';
import { systemTicker } from './renderer.ts';

export const PROGRESS_KINDS = ['auto', 'tty', 'plain', 'json', 'quiet'] as const;
export type ProgressKind = (typeof PROGRESS_KINDS)[number];

export async function openProgress(
  kind: ProgressKind,
  stream: OutputStream,
  env: NodeJS.ProcessEnv,
): Promise<ProgressRenderer> {
  switch (kind === 'auto' ? automatic(stream, env) : kind) {
    case 'tty':
      return (await import('./tty.ts')).ttyProgress(stream, systemTicker, { color: wantsColor(stream, env) });
    case 'json':
      return pausable(stream, (await import('./json.ts')).jsonProgress);
    case 'quiet': {
      const nothing = () => undefined;
      return { event: nothing, notice: nothing, pause: nothing, resume: nothing, close: nothing };
    }
    default: {
      const { plainProgress } = await import('./plain.ts');
      return pausable(stream, (held) => plainProgress(held, systemTicker));
    }
  }
}

/** Lines that are written meanwhile come after {@link ProgressRenderer.resume}. */
function pausable(stream: OutputStream, draw: (held: OutputStream) => LineRenderer): ProgressRenderer {
  const held = new HeldOutput(stream);
  return { ...draw(held), pause: () => held.hold(), resume: () => held.release() };
}

/** A terminal that can move its cursor gets the picture, everything else gets lines. */
export function automatic(stream: OutputStream, env: NodeJS.ProcessEnv): 'tty' | 'plain' {
  return stream.isTTY === true && env.TERM !== 'dumb' ? 'tty' : 'plain';
}

/** Source: no-color.org; an empty value does not count. */
export function wantsColor(stream: OutputStream, env: NodeJS.ProcessEnv): boolean {
  return stream.isTTY === true && env.TERM !== 'dumb' && (env.NO_COLOR ?? '') === '';
}
