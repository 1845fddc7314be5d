import { command } from '../command.ts';
import { withEngine } from '../session.ts';
import { ENVIRONMENT_OPTION, ISOLATION_OPTION } from '../shared-options.ts';
import { neutralise } from '../terminal-text.ts';

export default command({
  operands: [
    { name: 'NAME', summary: 'Name of the volume', required: true, completion: 'nothing' },
    { name: 'PATH', summary: 'Path in it; all of it when absent', required: false, completion: 'nothing' },
  ],
  options: { environment: ENVIRONMENT_OPTION, isolation: ISOLATION_OPTION },
  detail: 'Lists everything below a path of a volume, one path on each line; directories end in a slash.',
  examples: [{ purpose: 'See what a volume holds', command: 'tsbuild volume ls hf-cache /hub' }],
  async run({ options: { environment, isolation }, operands: [name = '', path = '/'] }, context) {
    const module = await context.loadEngine();
    const volume = module.Volume.fromName(name, environment === undefined ? {} : { environment });
    const paths = await withEngine(context, module, { quiet: true, isolation }, ({ engine }) =>
      engine.volumes.listFiles(volume, path, { signal: context.signal }),
    );
    context.stdout.write(paths.map((each) => `${neutralise(each)}\n`).join(''));
    return 0;
  },
});
