/** What `--on-error` means: a shell where a step has failed, or keeping what it left. */
import type { FailedStep } from '../engine/failed-steps.ts';
import type { CliContext } from './context.ts';
import type { BuildOptions } from './engine-api.ts';
import { LentTerminal } from './lent-terminal.ts';
import { neutraliseLines } from './terminal-text.ts';

/** Of what the step wrote last, above the shell. */
const TAIL_LINES = 10;

/** @param pauseProgress - Lends the terminal; returns what takes it back. */
export function onErrorOf(
  word: 'fail' | 'shell' | 'keep' | undefined,
  context: CliContext,
  pauseProgress: () => () => void,
): BuildOptions['onError'] {
  if (word !== 'shell') {
    return word;
  }
  if (context.stdin.isTTY !== true || context.stderr.isTTY !== true) {
    const code = 'W_NO_TERMINAL';
    context.stderr.write(
      `warning: --on-error=shell needs a terminal on standard input and standard error; a step that fails just fails (${code})\n`,
    );
    return undefined;
  }
  return (failed) => openShell(failed, context, pauseProgress);
}

async function openShell(
  failed: FailedStep,
  { stdin, stderr }: CliContext,
  pauseProgress: () => () => void,
): Promise<void> {
  const resumeProgress = pauseProgress();
  const terminal = new LentTerminal(stderr);
  try {
    stderr.write(banner(failed));
    await failed.run(undefined, {
      stdin,
      terminal: stderr,
      onOutput: (_stream, chunk) => terminal.write(chunk),
    });
  } catch (error) {
    // The build fails with what made the step fail, not with this.
    stderr.write(`cannot open a shell: ${neutraliseLines((error as Error).message)}\n`);
  } finally {
    terminal.takeBack();
    stderr.write('\n');
    resumeProgress();
  }
}

function banner({ error, command }: FailedStep): string {
  const tail = neutraliseLines(error.logTail.trimEnd()).split('\n').slice(-TAIL_LINES);
  return [
    '',
    ...tail.filter((line) => line !== ''),
    '',
    `${neutraliseLines(error.message)}:`,
    ...neutraliseLines(command)
      .split('\n')
      .map((line) => `    ${line}`),
    "This is a shell in the step's file system, with all that the step had: its user, directory, environment, secrets, mounts and network.",
    '`eval "$TSBUILD_FAILED_COMMAND"` runs the command again. What you change is thrown away; the build fails when you leave.',
    '',
    '',
  ].join('\n');
}
