import { command } from '../command.ts';
import { withEngine } from '../session.ts';
import { ISOLATION_OPTION } from '../shared-options.ts';

export default command({
  operands: [
    {
      name: 'ID',
      summary: 'Id of a cache mount',
      required: true,
      repeatable: true,
      completion: 'nothing',
    },
  ],
  options: { isolation: ISOLATION_OPTION },
  detail:
    'Removes cache mounts with all their copies. When one of them is in use or does not exist, none is removed. `tsbuild prune --all --kind cache-mounts` removes all that are not in use.',
  examples: [{ purpose: 'Begin anew with a cache', command: 'tsbuild cache-mount rm /root/.npm' }],
  async run({ options, operands }, context) {
    const module = await context.loadEngine();
    await withEngine(context, module, { quiet: true, isolation: options.isolation }, ({ engine }) =>
      engine.removeCacheMounts(operands),
    );
    context.stdout.write(operands.map((id) => `removed ${id}\n`).join(''));
    return 0;
  },
});
