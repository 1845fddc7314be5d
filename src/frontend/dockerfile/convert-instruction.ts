/** One instruction of a stage: expands its words, changes the stage. What makes layers is in files of its own. */
import { InternalError } from '../../errors.ts';
import type { Conversion } from './conversion.ts';
import { convertConfig } from './convert-config.ts';
import { convertCopy } from './convert-copy.ts';
import { convertRun } from './convert-run.ts';
import { convertWorkdir } from './convert-workdir.ts';
import type { StageCommand } from './stage-graph.ts';
import type { StageState } from './stage-state.ts';
import { StageWords } from './stage-words.ts';

export async function convertInstruction(
  conversion: Conversion,
  state: StageState,
  command: StageCommand,
): Promise<void> {
  const words = new StageWords(conversion, state, command);
  const { instruction } = command;
  switch (instruction.kind) {
    case 'run':
      await convertRun(conversion, state, command, instruction, words);
      return;
    case 'copy':
    case 'add':
      await convertCopy(conversion, state, command, instruction, words);
      return;
    case 'workdir':
      convertWorkdir(conversion, state, command, instruction, words);
      return;
    case 'arg':
    case 'env':
    case 'label':
    case 'maintainer':
    case 'user':
    case 'cmd':
    case 'entrypoint':
    case 'healthcheck':
    case 'expose':
    case 'volume':
    case 'stopsignal':
    case 'shell':
    case 'onbuild':
      convertConfig(conversion, state, instruction, words);
      return;
    default:
      throw new InternalError(`unknown instruction: ${(instruction as { kind: string }).kind}`);
  }
}
