import { checkObjectName } from '../../base/object-name.ts';
import { command } from '../command.ts';
import { withEngine } from '../session.ts';
import { ENVIRONMENT_OPTION, ISOLATION_OPTION } from '../shared-options.ts';

export default command({
  operands: [
    {
      name: 'NAME',
      summary: 'Name of a volume',
      required: true,
      repeatable: true,
      completion: 'nothing',
    },
  ],
  options: { environment: ENVIRONMENT_OPTION, isolation: ISOLATION_OPTION },
  detail:
    'Deletes volumes with all that is in them. One that does not exist or is in use is an error; those before it are gone then. Nothing else ever deletes a volume.',
  examples: [{ purpose: 'Throw a cache away', command: 'tsbuild volume delete hf-cache' }],
  async run({ options: { environment, isolation }, operands }, context) {
    for (const name of operands) {
      checkObjectName('volume delete', 'a volume', name);
    }
    const module = await context.loadEngine();
    await withEngine(context, module, { quiet: true, isolation }, async ({ engine }) => {
      for (const name of operands) {
        await engine.volumes.delete(name, environment === undefined ? {} : { environment });
        context.stdout.write(`deleted ${name}\n`);
      }
    });
    return 0;
  },
});
