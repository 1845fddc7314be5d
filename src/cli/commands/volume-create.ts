import { checkObjectName } from '../../base/object-name.ts';
import { command } from '../command.ts';
import { withEngine } from '../session.ts';
import { ENVIRONMENT_OPTION } from '../shared-options.ts';

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
  options: { environment: ENVIRONMENT_OPTION },
  detail: 'Makes empty volumes. One that is there already is an error; those before it are made then.',
  examples: [{ purpose: 'Make a volume', command: 'tsbuild volume create hf-cache' }],
  async run({ options: { environment }, operands }, context) {
    for (const name of operands) {
      checkObjectName('volume create', 'a volume', name);
    }
    const module = await context.loadEngine();
    await withEngine(context, module, { quiet: true }, async ({ engine }) => {
      for (const name of operands) {
        await engine.volumes.create(name, environment === undefined ? {} : { environment });
        context.stdout.write(`created ${name}\n`);
      }
    });
    return 0;
  },
});
