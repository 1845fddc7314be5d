import { command } from '../command.ts';
import { withEngine } from '../session.ts';

export default command({
  operands: [
    { name: 'IMAGE', summary: 'Name or id of an image of the store', required: true, completion: 'nothing' },
    { name: 'NAME', summary: 'The new name', required: true, repeatable: true, completion: 'nothing' },
  ],
  options: {},
  detail: 'Gives an image of the store more names. A name that another image had moves to this one.',
  examples: [{ purpose: 'Name a release', command: 'tsbuild tag web:1 registry.example/web:latest' }],
  async run({ operands: [source = '', ...targets] }, context) {
    const module = await context.loadEngine();
    await withEngine(context, module, { quiet: true }, async ({ engine }) => {
      for (const target of targets) {
        await engine.tag(source, target);
      }
    });
    return 0;
  },
});
