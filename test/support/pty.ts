/** A command on a real pseudo-terminal that somebody types into. */
import { spawn } from 'node:child_process';
import { text } from 'node:stream/consumers';

export type PtyAction =
  /** Typed. */
  | string
  | { readonly size: readonly [columns: number, rows: number] }
  | { readonly kill: NodeJS.Signals }
  | { readonly 'kill-worker': true }
  /** Closes the terminal. */
  | { readonly 'hang-up': true };

export interface PtyRun {
  readonly text: string;
  /** Negative: a signal. */
  readonly status: number;
  /** Of the terminal, when the command has ended; null when it was closed. */
  readonly modes: {
    readonly echo: boolean;
    readonly lines: boolean;
    readonly signals: boolean;
    readonly output: boolean;
  } | null;
  /** What was waited for in vain, and what came before. */
  readonly problem: string | null;
}

/** As a shell has its terminal. */
export const USUAL_MODES = { echo: true, lines: true, signals: true, output: true };

/** @param steps - When the regular expression matches what was written since the last one, the action is done. */
export async function onPty(
  argv: readonly string[],
  steps: readonly (readonly [expect: string, action: PtyAction])[],
  { env, columns = 90, rows = 30 }: { env: NodeJS.ProcessEnv; columns?: number; rows?: number },
): Promise<PtyRun> {
  const child = spawn('python3', [`${import.meta.dirname}/on-pty.py`], {
    env,
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  child.stdin.end(JSON.stringify({ argv, columns, rows, steps }));
  const ran = JSON.parse(await text(child.stdout)) as PtyRun;
  return ran.problem === null ? ran : { ...ran, problem: `${ran.problem} after ${ran.text.slice(-2000)}` };
}
