import { UsageError } from '../../errors.ts';
import { command } from '../command.ts';
import { CONTAINER_OPTIONS, containerOptions, loadIfDefinition } from '../container-options.ts';
import type { CliContext } from '../context.ts';
import { runOnStreams } from '../program-on-streams.ts';
import { withEngine } from '../session.ts';
import { ENGINE_OPTIONS } from '../shared-options.ts';
import { neutraliseLines } from '../terminal-text.ts';

const FAILED = /^failed:/;

const options = { ...CONTAINER_OPTIONS, ...ENGINE_OPTIONS } as const;

export default command({
  operands: [
    {
      name: 'IMAGE',
      summary:
        'A definition file with or without ::EXPORT, the name or id of an image, or failed:ID of a failed step',
      required: true,
      completion: 'file',
    },
  ],
  rest: { name: 'COMMAND', summary: 'What to run instead of a shell' },
  options,
  foreignFlags: { gpu: 'write --gpus, which takes the same' },
  detail:
    "Opens a shell in an image: bash, or else sh. The image's entrypoint is not used. Of a definition the image is built first; of a function of an App it is the image that the function runs in. What is changed is thrown away, but for what is written to volumes. Without a terminal on standard input, the shell reads its commands from there. `failed:ID` is what a failed step left, which `tsbuild build --on-error=keep` has kept; `failed:latest` is the last one. Ends with the shell's status. See [interactive work](../guide/interactive.md).",
  examples: [
    { purpose: 'Look around in an image of the store', command: 'tsbuild shell web:1' },
    { purpose: 'Build a definition and look around in it', command: 'tsbuild shell image.ts::web' },
    { purpose: 'As another user, with a volume', command: 'tsbuild shell web:1 -u 1000 -v data:/data' },
    { purpose: 'Look at what a failed step left', command: 'tsbuild shell failed:latest' },
    { purpose: 'Run commands of a script', command: 'tsbuild shell web:1 < check.sh' },
  ],
  async run({ options: typed, operands: [operand = ''], rest }, context) {
    const module = await context.loadEngine();
    const wanted = { interactive: true, tty: context.stdin.isTTY === true };
    const runOptions = containerOptions(typed, context, module);
    if (FAILED.test(operand)) {
      const { env, user, workdir, network, signal } = runOptions;
      refuseForFailed(typed);
      return await withEngine(context, module, typed, ({ engine, endProgress }) =>
        runOnStreams(wanted, context, endProgress, ({ onStart, ...streams }) =>
          engine.runInFailed(operand, rest, {
            ...streams,
            onStart: (step) => {
              onStart?.();
              describeStep(step, wanted.tty ? context : undefined);
            },
            ...(env === undefined ? {} : { env }),
            ...(user === undefined ? {} : { user }),
            ...(workdir === undefined ? {} : { workdir }),
            ...(network === undefined ? {} : { network }),
            ...(signal === undefined ? {} : { signal }),
          }),
        ),
      );
    }
    const loaded = await loadIfDefinition(operand, typed, context, module);
    const image = loaded?.kind === 'function' ? loaded.function.image : (loaded?.image ?? operand);
    return await withEngine(context, module, typed, ({ engine, endProgress }) =>
      runOnStreams(wanted, context, endProgress, (streams) =>
        engine.run(image, rest, {
          ...runOptions,
          ...(loaded === undefined ? {} : { definition: loaded.definition }),
          ...streams,
          shell: true,
        }),
      ),
    );
  },
});

/** A step has the volumes and devices that it had. */
function refuseForFailed(typed: { readonly volume: readonly unknown[]; readonly gpus?: unknown }): void {
  const given = typed.volume.length > 0 ? '--volume' : typed.gpus === undefined ? undefined : '--gpus';
  if (given !== undefined) {
    throw new UsageError(`${given} is for images: a failed step is opened with what it had`, {
      code: 'E_USAGE',
    });
  }
}

function describeStep(
  step: { readonly label: string; readonly command: string; readonly missing: readonly string[] },
  context: CliContext | undefined,
): void {
  const missing = step.missing.length === 0 ? '' : `Not kept: ${step.missing.join(', ')}.\n`;
  context?.stderr.write(
    neutraliseLines(
      `${step.label}:\n    ${step.command.replaceAll('\n', '\n    ')}\n${missing}What you change is thrown away. \`eval "$TSBUILD_FAILED_COMMAND"\` runs the command again.\n\n`,
    ),
  );
}
