import { resolve } from 'node:path';
import { command } from '../command.ts';
import { withEngine } from '../session.ts';
import { ENVIRONMENT_OPTION, ISOLATION_OPTION, PROGRESS_OPTION, QUIET_OPTION } from '../shared-options.ts';

export default command({
  operands: [
    { name: 'NAME', summary: 'Name of the volume', required: true, completion: 'nothing' },
    { name: 'SOURCE', summary: 'File or directory to copy', required: true, completion: 'file' },
    {
      name: 'PATH',
      summary: 'Where in the volume; its name, when absent',
      required: false,
      completion: 'nothing',
    },
  ],
  options: {
    environment: ENVIRONMENT_OPTION,
    progress: PROGRESS_OPTION,
    quiet: QUIET_OPTION,
    isolation: ISOLATION_OPTION,
  },
  detail:
    'Copies a file, or what a directory holds, into a volume. A PATH that ends in a slash is a directory that gets it under its name. In the volume it belongs to root.',
  examples: [{ purpose: 'Bring weights', command: 'tsbuild volume put models weights.bin /v1/' }],
  async run({ options, operands: [name = '', source = '', path] }, context) {
    const { environment } = options;
    const module = await context.loadEngine();
    const volume = module.Volume.fromName(name, environment === undefined ? {} : { environment });
    await withEngine(context, module, options, ({ engine }) =>
      engine.volumes.put(volume, resolve(context.cwd, source), path, { signal: context.signal }),
    );
    return 0;
  },
});
