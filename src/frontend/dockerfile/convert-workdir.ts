/** WORKDIR. Source: reference of the Dockerfile, "WORKDIR". */
import { posix } from 'node:path';
import { ROOT_OWNER } from '../../graph/action.ts';
import { CHECKS } from './check-rules.ts';
import type { Conversion } from './conversion.ts';
import { ownerOf } from './copy-owner.ts';
import type { WorkdirInstruction } from './instruction.ts';
import type { StageCommand } from './stage-graph.ts';
import type { StageState } from './stage-state.ts';
import type { StageWords } from './stage-words.ts';

const DIRECTORY_MODE = 0o755;

export function convertWorkdir(
  conversion: Conversion,
  state: StageState,
  command: StageCommand,
  instruction: WorkdirInstruction,
  words: StageWords,
): void {
  const written = words.expand(instruction.path);
  if (!state.workdirSet && !written.startsWith('/')) {
    words.finding('WorkdirRelativePath', CHECKS.WorkdirRelativePath.message(written));
  }
  state.workdirSet = true;
  const path = posix.resolve(state.workingDir, written);
  state.config.WorkingDir = path;
  const label = state.nextLabel(command, words.shown(instruction.source));
  if (path !== '/') {
    const { sourceDateEpoch } = conversion;
    state.add(
      {
        kind: 'build',
        actions: [
          {
            kind: 'mkdir',
            path,
            mode: DIRECTORY_MODE,
            owner: ownerOf(state.user) ?? ROOT_OWNER,
            ...(sourceDateEpoch === undefined ? {} : { mtimeSeconds: sourceDateEpoch }),
          },
        ],
      },
      [state.tip],
      command,
      label,
      'becomes tip',
    );
  }
  state.addHistory(`WORKDIR ${path}`, path !== '/');
}
