import { command } from '../command.ts';
import { withEngine } from '../session.ts';

export default command({
  operands: [
    {
      name: 'IMAGE',
      summary: 'Name or id of an image of the store',
      required: true,
      repeatable: true,
      completion: 'nothing',
    },
  ],
  options: {},
  detail:
    'Removes names; an image goes with its last name, or at once when its id is given. Layers that nothing needs any more stay until `tsbuild prune`.',
  examples: [{ purpose: 'Remove a name', command: 'tsbuild image rm web:1' }],
  async run({ operands }, context) {
    const module = await context.loadEngine();
    await withEngine(context, module, { quiet: true }, async ({ engine }) => {
      for (const name of operands) {
        const removed = await engine.removeImage(name);
        for (const untagged of removed.untagged) {
          context.stdout.write(`untagged ${untagged}\n`);
        }
        if (removed.deleted !== undefined) {
          context.stdout.write(`deleted ${removed.deleted}\n`);
        }
      }
    });
    return 0;
  },
});
