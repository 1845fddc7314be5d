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
      detail: 'Prints a JSON array with the name of each secret and when it was made.',
    }),
    quiet: flag({
      long: 'quiet',
      short: 'q',
      summary: 'Print names only',
      detail: 'Prints the name of each secret and nothing else.',
    }),
    environment: ENVIRONMENT_OPTION,
  },
  detail: 'Lists the secrets that are stored, the newest first. Values and names of variables are not shown.',
  examples: [{ purpose: 'See what is stored', command: 'tsbuild secret list' }],
  async run({ options }, context) {
    const { environment } = options;
    const module = await context.loadEngine();
    const secrets = await withEngine(context, module, { quiet: true }, ({ engine }) =>
      engine.secrets.list(environment === undefined ? {} : { environment }),
    );
    context.stdout.write(objectListing(secrets, options));
    return 0;
  },
});
