import { command } from '../command.ts';
import { withEngine } from '../session.ts';
import { ENVIRONMENT_OPTION, ISOLATION_OPTION } from '../shared-options.ts';

export default command({
  operands: [
    { name: 'NAME', summary: 'Name of the volume', required: true, completion: 'nothing' },
    {
      name: 'PATH',
      summary: 'File or directory in it',
      required: true,
      repeatable: true,
      completion: 'nothing',
    },
  ],
  options: { environment: ENVIRONMENT_OPTION, isolation: ISOLATION_OPTION },
  detail:
    'Removes files, and directories with all that is in them, from a volume. `tsbuild volume delete` deletes the volume itself.',
  examples: [{ purpose: 'Forget one model', command: 'tsbuild volume rm hf-cache /hub/models--gpt2' }],
  async run({ options: { environment, isolation }, operands: [name = '', ...paths] }, context) {
    const module = await context.loadEngine();
    const volume = module.Volume.fromName(name, environment === undefined ? {} : { environment });
    await withEngine(context, module, { quiet: true, isolation }, async ({ engine }) => {
      for (const path of paths) {
        await engine.volumes.remove(volume, path, { signal: context.signal });
        context.stdout.write(`removed ${path}\n`);
      }
    });
    return 0;
  },
});
