import { UsageError } from '../../errors.ts';
import { command } from '../command.ts';
import { OUTPUT_OPTION, refuseStdout } from '../output-option.ts';
import { withEngine } from '../session.ts';
import { ISOLATION_OPTION, PROGRESS_OPTION, QUIET_OPTION } from '../shared-options.ts';

export default command({
  operands: [
    { name: 'IMAGE', summary: 'Name or id of an image of the store', required: true, completion: 'nothing' },
  ],
  options: {
    output: OUTPUT_OPTION,
    progress: PROGRESS_OPTION,
    quiet: QUIET_OPTION,
    isolation: ISOLATION_OPTION,
  },
  detail:
    'Writes an image of the store as an archive, a directory or a root file system, as `--output` of `build` does. The digest of each is written to standard output, unless the image itself goes there.',
  examples: [
    { purpose: 'Write a docker archive', command: 'tsbuild export web:1 -o type=docker,dest=web.tar' },
    {
      purpose: 'Look into the root file system',
      command: 'tsbuild export web:1 -o type=tar,dest=- | tar -t',
    },
  ],
  async run({ options, operands: [name = ''] }, context) {
    const outputs = options.output.filter((output) => output !== undefined);
    if (outputs.length === 0) {
      throw new UsageError('nothing says where to write the image', {
        code: 'E_USAGE',
        hint: 'give an --output, such as -o type=oci,dest=image.tar',
      });
    }
    refuseStdout(outputs, context);
    const module = await context.loadEngine();
    const digests = await withEngine(context, module, options, async ({ engine }) => {
      const written: string[] = [];
      for (const output of outputs) {
        written.push((await engine.output(name, output, { signal: context.signal })).digest);
      }
      return written;
    });
    if (!outputs.some(({ dest }) => dest === '-')) {
      context.stdout.write(digests.map((digest) => `${digest}\n`).join(''));
    }
    return 0;
  },
});
