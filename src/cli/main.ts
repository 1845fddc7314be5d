/**
 * The command line: argv to an exit status. Loads only the command that runs, because a fully cached build is mostly
 * start-up.
 */
import { flushCompileCache } from 'node:module';
import { loadedNative } from '../native/addon.ts';
import type { CommandEntry } from './command.ts';
import { COMMANDS } from './command-table.ts';
import type { CliContext } from './context.ts';
import { Elsewhere } from './elsewhere.ts';
import type { EngineModule } from './engine-api.ts';
import { exitStatus, Interrupted } from './exit-status.ts';
import { chooseCommand, parseWords, unknownCommand } from './parse.ts';
import { standardOutput } from './standard-output.ts';

/**
 * @returns The exit status. Errors are printed on `context.stderr`.
 * @throws {Elsewhere} and nothing else
 */
export async function main(argv: readonly string[], context: CliContext): Promise<number> {
  try {
    return await dispatch(argv, context);
  } catch (error) {
    if (error instanceof Elsewhere) {
      throw error;
    }
    const { renderError } = await import('./render-error.ts');
    const { wantsColor } = await import('./progress/open.ts');
    context.stderr.write(renderError(error, { color: wantsColor(context.stderr, context.env) }));
    return exitStatus(error);
  }
}

async function dispatch(argv: readonly string[], context: CliContext): Promise<number> {
  const choice = chooseCommand(argv, COMMANDS);
  switch (choice.kind) {
    case 'version':
      context.stdout.write(`tsbuild ${(await import('./version.ts')).version()}\n`);
      return 0;
    case 'help':
      context.stdout.write(await helpFor(choice.names));
      return 0;
    case 'run': {
      const command = await choice.entry.load();
      const invocation = parseWords(choice.entry.name, command, choice.words);
      if (invocation === 'help') {
        context.stdout.write(await entryHelp(choice.entry));
        return 0;
      }
      context.signal.throwIfAborted();
      return (await command.run(invocation, context)) ?? 0;
    }
    default:
      return choice satisfies never;
  }
}

async function helpFor(names: readonly string[]): Promise<string> {
  const { groupHelp, programHelp } = await import('./help.ts');
  const name = names.join(' ');
  if (name === '') {
    return programHelp(COMMANDS);
  }
  const entry = COMMANDS.find((candidate) => candidate.name === name);
  if (entry !== undefined) {
    return entryHelp(entry);
  }
  if (COMMANDS.some((candidate) => candidate.name.startsWith(`${name} `))) {
    return groupHelp(name, COMMANDS);
  }
  throw unknownCommand(
    name,
    COMMANDS.map((candidate) => candidate.name),
  );
}

async function entryHelp(entry: CommandEntry): Promise<string> {
  const { commandHelp } = await import('./help.ts');
  return commandHelp(entry, await entry.load());
}

/** They make Node write something at its end. */
const MEASURING = ['NODE_OPTIONS', 'NODE_V8_COVERAGE'];

/**
 * Runs this process's command line and ends the process.
 *
 * @throws {Elsewhere} before anything was done
 */
export async function runProcess(
  loadEngine: () => Promise<EngineModule> = () => import('./engine-module.ts'),
): Promise<never> {
  dropNodeWarnings();
  const controller = new AbortController();
  listenToSignals(controller);
  const status = await main(process.argv.slice(2), {
    // Made when somebody reads.
    get stdin() {
      return process.stdin;
    },
    stdout: standardOutput(1, () => process.stdout),
    stderr: standardOutput(2, () => process.stderr),
    env: process.env,
    cwd: process.cwd(),
    signal: controller.signal,
    loadEngine,
  });
  endProcess(status);
}

/**
 * A socket that is kept alive for reuse must not keep the process: writes to pipes, files and terminals are synchronous on Linux, so
 * nothing is lost. Nor must what Node does at the end: it waits for V8's threads, and takes apart what the kernel is about to.
 */
function endProcess(status: number): never {
  const native = loadedNative();
  if (
    native !== undefined &&
    process.execArgv.length === 0 &&
    !MEASURING.some((name) => name in process.env)
  ) {
    process.emit('exit', status);
    flushCompileCache();
    native.exitNow(status);
  }
  process.exit(status);
}

/** The first signal cancels, and everything cleans up after itself. The second one does not wait for that. */
function listenToSignals(controller: AbortController): void {
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    process.on(signal, () => {
      const interrupted = new Interrupted(signal);
      if (controller.signal.aborted) {
        process.exit(exitStatus(interrupted));
      }
      controller.abort(interrupted);
    });
  }
}

/**
 * What Node says about itself and nothing that a user of ours can act on: that a built-in module is experimental, and
 * that a definition's folder does not say that its files are modules.
 */
function dropNodeWarnings(): void {
  const listeners = process.listeners('warning');
  process.removeAllListeners('warning');
  process.on('warning', (warning: Error & { readonly code?: string }) => {
    if (warning.name !== 'ExperimentalWarning' && warning.code !== 'MODULE_TYPELESS_PACKAGE_JSON') {
      for (const listener of listeners) {
        listener(warning);
      }
    }
  });
}
