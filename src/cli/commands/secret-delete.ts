import { checkObjectName } from '../../base/object-name.ts';
import { command } from '../command.ts';
import { withEngine } from '../session.ts';
import { ENVIRONMENT_OPTION } from '../shared-options.ts';

export default command({
  operands: [
    {
      name: 'NAME',
      summary: 'Name of a secret',
      required: true,
      repeatable: true,
      completion: 'nothing',
    },
  ],
  options: { environment: ENVIRONMENT_OPTION },
  detail:
    'Deletes secrets from the store. One that does not exist is an error; those before it are gone then.',
  examples: [{ purpose: 'Forget a token', command: 'tsbuild secret delete huggingface' }],
  async run({ options: { environment }, operands }, context) {
    for (const name of operands) {
      checkObjectName('secret delete', 'a secret', name);
    }
    const module = await context.loadEngine();
    await withEngine(context, module, { quiet: true }, async ({ engine }) => {
      for (const name of operands) {
        await engine.secrets.delete(name, environment === undefined ? {} : { environment });
        context.stdout.write(`deleted ${name}\n`);
      }
    });
    return 0;
  },
});
