import { UsageError } from '../../errors.ts';
import { command } from '../command.ts';
import { flag, value, wholeNumber } from '../option.ts';
import { withEngine } from '../session.ts';
import { neutralise, terminalJson } from '../terminal-text.ts';

export default command({
  operands: [
    {
      name: 'IMAGE',
      summary: 'Name or id of an image, or the id that a failed build gave',
      required: true,
      completion: 'nothing',
    },
  ],
  options: {
    layers: value({
      long: 'layers',
      valueName: 'N',
      summary: 'How many of the newest layers',
      detail: 'Shows what the steps of the N newest layers said.',
      defaultText: '1',
      parse: wholeNumber(1),
    }),
    all: flag({
      long: 'all',
      summary: 'All layers',
      detail: 'Shows what the steps of all layers said. Not with `--layers`.',
    }),
    json: flag({
      long: 'json',
      summary: 'Print JSON',
      detail: 'Prints one JSON object a line: layer, timestamp, stream, message.',
    }),
  },
  detail:
    'Shows what the steps of an image said when they were built, with secrets masked. Of a build that failed the last layer is the one that failed.',
  examples: [
    { purpose: 'See what the last step said', command: 'tsbuild image logs web:1' },
    { purpose: 'See everything', command: 'tsbuild image logs --all im-1QvBvzuiGs2TX5w0XPQKvz' },
  ],
  async run({ options, operands: [image = ''] }, context) {
    if (options.all && options.layers !== undefined) {
      throw new UsageError('--layers and --all cannot be given together', { code: 'E_USAGE' });
    }
    const layers = options.all ? null : (options.layers ?? 1);
    const module = await context.loadEngine();
    await withEngine(context, module, { quiet: true }, async ({ engine }) => {
      let silent = true;
      for await (const entry of engine.logs(image, { layers })) {
        silent = false;
        const { stream, message } = entry;
        const line = stream === 'tsbuild' ? `tsbuild: ${message}` : message;
        context.stdout.write(options.json ? `${terminalJson(entry)}\n` : `${neutralise(line)}\n`);
      }
      if (silent) {
        context.stderr.write(
          layers === null
            ? 'the steps of this image said nothing\n'
            : `the newest ${layers === 1 ? 'layer' : `${layers} layers`} said nothing; --all shows what the others said\n`,
        );
      }
    });
    return 0;
  },
});
