import { command } from '../command.ts';
import { withEngine } from '../session.ts';
import { ISOLATION_OPTION, PROGRESS_OPTION, QUIET_OPTION } from '../shared-options.ts';

export default command({
  operands: [
    { name: 'IMAGE', summary: 'Name or id of an image of the store', required: true, completion: 'nothing' },
    {
      name: 'DESTINATION',
      summary: 'Reference to push to; the name itself when absent',
      required: false,
      completion: 'nothing',
    },
  ],
  options: { progress: PROGRESS_OPTION, quiet: QUIET_OPTION, isolation: ISOLATION_OPTION },
  detail:
    'Sends an image of the store to a registry. What the registry has already is not sent again. The digest is written to standard output.',
  examples: [
    { purpose: 'Push under its own name', command: 'tsbuild push registry.example/web:1' },
    { purpose: 'Push under another name', command: 'tsbuild push web:1 registry.example/team/web:1' },
  ],
  async run({ options, operands: [name = '', destination = name] }, context) {
    const module = await context.loadEngine();
    const { digest } = await withEngine(context, module, options, ({ engine }) =>
      engine.push(name, destination, { signal: context.signal }),
    );
    context.stdout.write(`${digest}\n`);
    return 0;
  },
});
