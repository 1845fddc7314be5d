import { posix, resolve } from 'node:path';
import { UsageError } from '../../errors.ts';
import { command } from '../command.ts';
import { withEngine } from '../session.ts';
import { ENVIRONMENT_OPTION, ISOLATION_OPTION, PROGRESS_OPTION, QUIET_OPTION } from '../shared-options.ts';

export default command({
  operands: [
    { name: 'NAME', summary: 'Name of the volume', required: true, completion: 'nothing' },
    { name: 'PATH', summary: 'File or directory in it', required: true, completion: 'nothing' },
    {
      name: 'DESTINATION',
      summary: 'Where to write it; here, under its name, when absent',
      required: false,
      completion: 'file',
    },
  ],
  options: {
    environment: ENVIRONMENT_OPTION,
    progress: PROGRESS_OPTION,
    quiet: QUIET_OPTION,
    isolation: ISOLATION_OPTION,
  },
  detail:
    'Copies a file, or what a directory holds, out of a volume. What is written belongs to the user. Links of a volume are never followed out of it.',
  examples: [{ purpose: 'Fetch a result', command: 'tsbuild volume get results /run1/metrics.json' }],
  async run({ options, operands: [name = '', path = '', destination] }, context) {
    const { environment } = options;
    if (destination === '-') {
      throw new UsageError("'volume get' writes files, not standard output", {
        code: 'E_USAGE',
        hint: 'name a file; ./- is one of that name',
      });
    }
    const module = await context.loadEngine();
    const volume = module.Volume.fromName(name, environment === undefined ? {} : { environment });
    const target = destination ?? (posix.basename(path) || name);
    await withEngine(context, module, options, ({ engine }) =>
      engine.volumes.get(volume, path, resolve(context.cwd, target), { signal: context.signal }),
    );
    context.stdout.write(`${target}\n`);
    return 0;
  },
});
