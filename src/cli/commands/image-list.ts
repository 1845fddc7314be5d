import { formatPlatform } from '../../oci/platform.ts';
import { command } from '../command.ts';
import type { StoredImage } from '../engine-api.ts';
import { flag } from '../option.ts';
import { formatAge, formatBytes } from '../quantity.ts';
import { withEngine } from '../session.ts';
import { formatTable } from '../table.ts';
import { terminalJson } from '../terminal-text.ts';

/** As many characters of an id as people compare. */
const SHORT_ID = 12;

export default command({
  operands: [],
  options: {
    json: flag({
      long: 'json',
      summary: 'Print JSON',
      detail: 'Prints a JSON array with one object for each image.',
    }),
    quiet: flag({
      long: 'quiet',
      short: 'q',
      summary: 'Print ids only',
      detail: 'Prints the id of each image and nothing else.',
    }),
  },
  detail: 'Lists the images of the store, newest first.',
  examples: [
    { purpose: 'See what is there', command: 'tsbuild image list' },
    { purpose: 'Remove all of them', command: 'tsbuild image list -q | xargs tsbuild image rm' },
  ],
  async run({ options }, context) {
    const module = await context.loadEngine();
    const images = await withEngine(context, module, { quiet: true }, async ({ engine }) => [
      ...(await engine.images()),
    ]);
    images.sort((left, right) => right.createdMs - left.createdMs);
    if (options.json) {
      context.stdout.write(`${terminalJson(images, 2)}\n`);
    } else if (options.quiet) {
      context.stdout.write(images.map((image) => `${image.id}\n`).join(''));
    } else {
      const nowMs = Date.now();
      const namesOf = ({ names, published }: StoredImage) => [...new Set([...names, ...published])];
      const rows = images.flatMap((image) =>
        (namesOf(image).length === 0 ? ['<none>'] : namesOf(image)).map((name) => [
          name,
          shortId(image.id),
          image.platforms.map(formatPlatform).join(','),
          formatBytes(image.sizeBytes),
          formatAge(nowMs - image.createdMs),
        ]),
      );
      context.stdout.write(formatTable([['NAME', 'ID', 'PLATFORM', 'SIZE', 'CREATED'], ...rows], [3]));
    }
    return 0;
  },
});

function shortId(id: string): string {
  const prefix = /^(sha256:|im-)?/.exec(id)?.[0] ?? '';
  return prefix === 'im-'
    ? id.slice(0, prefix.length + SHORT_ID)
    : id.slice(prefix.length, prefix.length + SHORT_ID);
}
