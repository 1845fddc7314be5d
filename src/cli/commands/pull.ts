import { command } from '../command.ts';
import { withEngine } from '../session.ts';
import { PLATFORM_OPTION, PROGRESS_OPTION, QUIET_OPTION } from '../shared-options.ts';

export default command({
  operands: [
    {
      name: 'REFERENCE',
      summary: 'Image of a registry, such as debian:13',
      required: true,
      completion: 'nothing',
    },
  ],
  options: { platform: PLATFORM_OPTION, progress: PROGRESS_OPTION, quiet: QUIET_OPTION },
  detail:
    'Fetches an image from a registry into the store. What the store has already is not fetched again. The digest is written to standard output.',
  examples: [
    { purpose: 'Fetch an image', command: 'tsbuild pull debian:13' },
    { purpose: 'Fetch it for another platform', command: 'tsbuild pull --platform linux/arm64 debian:13' },
  ],
  async run({ options, operands: [reference = ''] }, context) {
    const module = await context.loadEngine();
    const image = await withEngine(context, module, options, ({ engine }) =>
      engine.pull(reference, {
        signal: context.signal,
        ...(options.platform === undefined ? {} : { platform: options.platform }),
      }),
    );
    context.stdout.write(`${image.digest}\n`);
    return 0;
  },
});
