import { resolve } from 'node:path';
import { command } from '../command.ts';
import { formatBytes } from '../quantity.ts';
import { withEngine } from '../session.ts';
import { ISOLATION_OPTION, PROGRESS_OPTION, QUIET_OPTION } from '../shared-options.ts';

export default command({
  operands: [
    { name: 'ID', summary: 'Id of the cache mount', required: true, completion: 'nothing' },
    { name: 'FILE', summary: 'Archive to read', required: true, completion: 'file' },
  ],
  options: { progress: PROGRESS_OPTION, quiet: QUIET_OPTION, isolation: ISOLATION_OPTION },
  detail:
    'Makes a cache mount of a tar archive, which may be compressed with zstd or gzip. What the cache mount held before is replaced; when the archive cannot be used, nothing changes.',
  examples: [
    {
      purpose: 'Begin with the cache of another machine',
      command: 'tsbuild cache-mount import /root/.npm npm.tar.zst',
    },
  ],
  async run({ options, operands: [id = '', file = ''] }, context) {
    const module = await context.loadEngine();
    const { sizeBytes } = await withEngine(context, module, options, ({ engine }) =>
      engine.importCacheMount(id, resolve(context.cwd, file), { signal: context.signal }),
    );
    context.stdout.write(`${id} ${formatBytes(sizeBytes)}\n`);
    return 0;
  },
});
