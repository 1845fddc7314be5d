import { UsageError } from '../../errors.ts';
import { command } from '../command.ts';
import { flag } from '../option.ts';
import { ask } from '../prompt.ts';
import { formatBytes } from '../quantity.ts';
import { withEngine } from '../session.ts';
import { REMOVAL_OPTIONS } from '../shared-options.ts';
import { terminalJson } from '../terminal-text.ts';

export default command({
  operands: [],
  options: {
    all: flag({
      long: 'all',
      short: 'a',
      summary: 'Everything but volumes and secrets',
      detail:
        'Removes every image with its names, every layer, blob and cache, every cache mount and every log. Has to be given: what is merely no longer needed is removed by `tsbuild prune`.',
    }),
    volumes: flag({
      long: 'volumes',
      summary: 'Also volumes',
      detail: 'Removes also every volume of every environment, with all that is in them.',
    }),
    yes: flag({
      long: 'yes',
      short: 'y',
      summary: 'Do not ask',
      detail: 'Does not ask first, as is done on a terminal.',
    }),
    ...REMOVAL_OPTIONS,
  },
  detail:
    'Empties the store, files of subordinate ids included, which the user cannot remove otherwise. Stored secrets stay. It refuses while another build or container uses the store.',
  examples: [
    { purpose: 'Begin anew', command: 'tsbuild clean --all' },
    { purpose: 'Give the disk back, without a question', command: 'tsbuild clean --all --volumes --yes' },
  ],
  async run({ options }, context) {
    const { all, volumes, yes, dryRun, json, isolation } = options;
    if (!all) {
      throw new UsageError('clean needs --all, because it leaves nothing of the store', {
        code: 'E_USAGE',
        hint: '`tsbuild prune` removes what is no longer needed',
      });
    }
    const module = await context.loadEngine();
    const asks = context.stdin.isTTY === true && !yes && !dryRun;
    const what = `everything in the store${volumes ? ', volumes too' : ''}`;
    if (asks && !/^y(es)?$/i.test((await ask(context, `remove ${what}? [y/N] `)).trim())) {
      context.stderr.write('nothing was removed\n');
      return 1;
    }
    const result = await withEngine(context, module, { quiet: true, isolation }, ({ engine }) =>
      engine.clean({ volumes, dryRun }),
    );
    if (json) {
      context.stdout.write(`${terminalJson(result, 2)}\n`);
      return 0;
    }
    for (const { kind, count, sizeBytes } of result.removed) {
      context.stdout.write(`${kind} ${count} ${formatBytes(sizeBytes)}\n`);
    }
    context.stdout.write(`${dryRun ? 'would free' : 'freed'} ${formatBytes(result.freedBytes)}\n`);
    return 0;
  },
});
