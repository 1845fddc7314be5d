import { resolve } from 'node:path';
import { command } from '../command.ts';
import { choice } from '../option.ts';
import { formatBytes } from '../quantity.ts';
import { withEngine } from '../session.ts';
import { ISOLATION_OPTION, PROGRESS_OPTION, QUIET_OPTION } from '../shared-options.ts';

export default command({
  operands: [
    { name: 'ID', summary: 'Id of a cache mount', required: true, completion: 'nothing' },
    { name: 'FILE', summary: 'Archive to write', required: true, completion: 'file' },
  ],
  options: {
    compression: choice({
      long: 'compression',
      valueName: 'NAME',
      words: ['zstd', 'gzip', 'none'],
      summary: 'How to compress the archive',
      detail:
        'How the archive is compressed. Without it the name of the file decides: `.tar` is not compressed, `.tar.gz` and `.tgz` are gzip, all else is zstd.',
      defaultText: 'by the name of the file',
    }),
    progress: PROGRESS_OPTION,
    quiet: QUIET_OPTION,
    isolation: ISOLATION_OPTION,
  },
  detail:
    'Writes what a cache mount holds to a tar archive, with the owners that steps see. Of several copies the one that was used last is taken. The file is complete or not there.',
  examples: [
    {
      purpose: 'Keep a cache for the next machine',
      command: 'tsbuild cache-mount export /root/.npm npm.tar.zst',
    },
  ],
  async run({ options, operands: [id = '', file = ''] }, context) {
    const module = await context.loadEngine();
    const { compression } = options;
    const { sizeBytes } = await withEngine(context, module, options, ({ engine }) =>
      engine.exportCacheMount(id, resolve(context.cwd, file), {
        signal: context.signal,
        ...(compression === undefined ? {} : { compression }),
      }),
    );
    context.stdout.write(`${file} ${formatBytes(sizeBytes)}\n`);
    return 0;
  },
});
