import { command } from '../command.ts';
import { withEngine } from '../session.ts';
import { terminalJson } from '../terminal-text.ts';

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
  detail: 'Prints a JSON array with the manifest, the config and the names of each image.',
  examples: [
    {
      purpose: "See an image's environment",
      command: "tsbuild image inspect web:1 | jq '.[0].config.config.Env'",
    },
  ],
  async run({ operands }, context) {
    const module = await context.loadEngine();
    const found = await withEngine(context, module, { quiet: true }, async ({ engine }) => {
      const all: object[] = [];
      for (const name of operands) {
        all.push(await engine.inspect(name));
      }
      return all;
    });
    context.stdout.write(`${terminalJson(found, 2)}\n`);
    return 0;
  },
});
