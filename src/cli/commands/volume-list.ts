import { command } from '../command.ts';
import { flag } from '../option.ts';
import { withEngine } from '../session.ts';
import { ENVIRONMENT_OPTION } from '../shared-options.ts';
import { objectListing } from '../stored-object-listing.ts';

export default command({
  operands: [],
  options: {
    json: flag({
      long: 'json',
      summary: 'Print JSON',
      detail: 'Prints a JSON array with the name of each volume and when it was made.',
    }),
    quiet: flag({
      long: 'quiet',
      short: 'q',
      summary: 'Print names only',
      detail: 'Prints the name of each volume and nothing else.',
    }),
    environment: ENVIRONMENT_OPTION,
  },
  detail: 'Lists the volumes, the newest first. `tsbuild du` says what they take on disk.',
  examples: [{ purpose: 'See what there is', command: 'tsbuild volume list' }],
  async run({ options }, context) {
    const { environment } = options;
    const module = await context.loadEngine();
    const volumes = await withEngine(context, module, { quiet: true }, ({ engine }) =>
      engine.volumes.list(environment === undefined ? {} : { environment }),
    );
    context.stdout.write(objectListing(volumes, options));
    return 0;
  },
});
