import { inspect, isDeepStrictEqual } from 'node:util';
import { StepError, UsageError } from '../../errors.ts';
import { command } from '../command.ts';
import { CONTAINER_OPTIONS, containerOptions, loadIfDefinition } from '../container-options.ts';
import type { RunOptions } from '../engine-api.ts';
import { flag, value } from '../option.ts';
import { refuseWithoutTerminal, runOnStreams } from '../program-on-streams.ts';
import { parseDuration } from '../quantity.ts';
import { withEngine } from '../session.ts';
import { ENGINE_OPTIONS } from '../shared-options.ts';

export default command({
  operands: [
    {
      name: 'IMAGE',
      summary: 'A definition file with or without ::EXPORT, or the name or id of an image',
      required: true,
      completion: 'file',
    },
  ],
  rest: {
    name: 'COMMAND',
    summary: "What to run instead of the image's own command, or the arguments of a function",
  },
  options: {
    timeout: value({
      long: 'timeout',
      valueName: 'TIME',
      summary: 'End the command after this time',
      detail: 'Ends the command when it runs longer than this, such as `90s` or `1h`.',
      defaultText: 'no limit',
      parse: parseDuration,
    }),
    interactive: flag({
      long: 'interactive',
      short: 'i',
      summary: 'Hand standard input on to the command',
      detail:
        'What comes on standard input is handed on to the command as it comes. Without it the command has none. With `--tty` it must be a terminal.',
    }),
    tty: flag({
      long: 'tty',
      short: 't',
      summary: 'Give the command a terminal',
      detail:
        "Gives the command a pseudo-terminal inside of the sandbox as large as this one. With `-it` every key is the command's, Ctrl-C and Ctrl-Z too. What it writes reaches this terminal as it is, secrets unmasked. See [interactive work](../guide/interactive.md).",
    }),
    ...CONTAINER_OPTIONS,
    ...ENGINE_OPTIONS,
  },
  foreignFlags: { gpu: 'write --gpus, which takes the same' },
  detail:
    "Builds a definition's image if that is necessary, and runs a command in it: its entrypoint with what follows '--', or with its own command. What the command changes is thrown away. Ends with the command's status; 128 and the signal's number when a signal ended it. Of a definition that exports a function of an App, alone or named after `::`, the function is called with what follows '--' as arguments (JSON, or texts), and its result is printed.",
  examples: [
    { purpose: 'Run the image of a definition', command: 'tsbuild run image.ts' },
    { purpose: 'Run another command in it', command: 'tsbuild run image.ts::web -- python3 --version' },
    { purpose: 'Call a function of an app', command: 'tsbuild run app.ts::resize -- photo.png 64' },
    { purpose: 'Work in it with a terminal', command: 'tsbuild run -it web:1 -- bash' },
    { purpose: 'Run an image of the store', command: 'tsbuild run web:1 -e DEBUG=1 -- env' },
  ],
  async run({ options, operands: [operand = ''], rest }, context) {
    const module = await context.loadEngine();
    const runOptions: RunOptions = {
      ...containerOptions(options, context, module),
      ...(options.timeout === undefined ? {} : { timeoutMs: options.timeout }),
    };
    refuseWithoutTerminal(options, context);
    const loaded = await loadIfDefinition(operand, options, context, module);
    const definition = loaded === undefined ? {} : { definition: loaded.definition };
    if (loaded?.kind === 'function') {
      if (options.interactive || options.tty) {
        throw new UsageError('a function reads no standard input and has no terminal', {
          code: 'E_USAGE',
          hint: `for a shell in its image: tsbuild shell ${operand}`,
        });
      }
      const values = module.callValues(loaded.function, { args: (rest ?? []).map(argument) });
      let hasBeenShown = false;
      const returned = await withEngine(context, module, options, ({ engine, endProgress }) =>
        engine.callFunction(loaded.function, values, {
          ...runOptions,
          ...definition,
          onOutput: (stream, chunk) => {
            hasBeenShown = true;
            endProgress();
            (stream === 'stdout' ? context.stdout : context.stderr).write(chunk);
          },
        }),
      ).catch((error) => {
        throw hasBeenShown && error instanceof StepError ? withoutOutput(error) : error;
      });
      context.stdout.write(resultText(returned));
      return 0;
    }
    return await withEngine(context, module, options, ({ engine, endProgress }) =>
      runOnStreams(options, context, endProgress, (streams) =>
        engine.run(loaded?.image ?? operand, rest, { ...runOptions, ...definition, ...streams }),
      ),
    );
  },
});

/** What the function printed stands on the terminal above the error already. */
function withoutOutput(error: StepError): StepError {
  const { message, code, hint, cause } = error;
  return new StepError(message, { ...error, code, hint, cause, logTail: '' });
}

/** JSON where it is, else the text itself. */
function argument(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    return text;
  }
}

/** A text as it is, nothing for nothing, JSON for what JSON can say, and what Node shows for the rest. */
function resultText(value: unknown): string {
  if (value === undefined) {
    return '';
  }
  if (typeof value === 'string') {
    return `${value}\n`;
  }
  try {
    const json = JSON.stringify(value, undefined, 2);
    if (isDeepStrictEqual(JSON.parse(json), value)) {
      return `${json}\n`;
    }
  } catch {
    // A BigInt, for example.
  }
  return `${inspect(value, { depth: Number.POSITIVE_INFINITY })}\n`;
}
