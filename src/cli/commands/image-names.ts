import { UsageError } from '../../errors.ts';
import { formatImageName, parseImageName } from '../../frontend/fluent/image-name.ts';
import { command } from '../command.ts';
import { flag } from '../option.ts';
import { formatAge } from '../quantity.ts';
import { withEngine } from '../session.ts';
import { formatTable } from '../table.ts';
import { terminalJson } from '../terminal-text.ts';

export default command({
  operands: [
    {
      name: 'NAME',
      summary: 'A name, with its environment and a slash before it if that is not the usual one',
      required: false,
      completion: 'nothing',
    },
  ],
  options: {
    json: flag({
      long: 'json',
      summary: 'Print JSON',
      detail: 'Prints a JSON array with one object for each name, or for each image that the name stood for.',
    }),
  },
  detail:
    'Lists the names that images were published under by `image.publish()`. With a name, what it stands for and stood for before, newest first.',
  examples: [
    { purpose: 'See what is published', command: 'tsbuild image names' },
    { purpose: 'See what a name stood for before', command: 'tsbuild image names web:v1' },
  ],
  async run({ options, operands: [given] }, context) {
    const module = await context.loadEngine();
    const wanted = given === undefined ? undefined : parseImageName('image names', given);
    const names = await withEngine(context, module, { quiet: true }, async ({ engine }) =>
      wanted === undefined ? await engine.publishedNames() : await engine.publishedHistory(wanted),
    );
    if (wanted !== undefined && names.length === 0) {
      throw new UsageError(`nothing was ever published as '${formatImageName(wanted)}'`, {
        code: 'E_IMAGE_NOT_FOUND',
        hint: '`tsbuild image names` lists the names; `tsbuild image list` those that were given with --tag',
      });
    }
    if (options.json) {
      context.stdout.write(`${terminalJson(names, 2)}\n`);
      return 0;
    }
    const nowMs = Date.now();
    const rows = names.map(({ namespace, name, tag, id, publishedMs }) => [
      namespace,
      `${name}:${tag}`,
      id,
      formatAge(nowMs - publishedMs),
    ]);
    context.stdout.write(formatTable([['ENVIRONMENT', 'NAME', 'ID', 'PUBLISHED'], ...rows], []));
    return 0;
  },
});
