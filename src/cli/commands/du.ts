import { command } from '../command.ts';
import { flag } from '../option.ts';
import { formatBytes } from '../quantity.ts';
import { withEngine } from '../session.ts';
import { ISOLATION_OPTION } from '../shared-options.ts';
import { formatTable } from '../table.ts';
import { terminalJson } from '../terminal-text.ts';

export default command({
  operands: [],
  options: {
    json: flag({
      long: 'json',
      summary: 'Print JSON',
      detail: 'Prints a JSON array with one object for each kind.',
    }),
    isolation: ISOLATION_OPTION,
  },
  detail: 'Shows what the store takes on disk, by kind, and how much of it `tsbuild prune --all` would free.',
  examples: [{ purpose: 'See where the space went', command: 'tsbuild du' }],
  async run({ options }, context) {
    const module = await context.loadEngine();
    const usage = await withEngine(
      context,
      module,
      { quiet: true, isolation: options.isolation },
      ({ engine }) => engine.usage(),
    );
    if (options.json) {
      context.stdout.write(`${terminalJson(usage, 2)}\n`);
      return 0;
    }
    const rows = usage.map((line) => [
      line.kind,
      String(line.count),
      formatBytes(line.sizeBytes),
      formatBytes(line.reclaimableBytes),
    ]);
    const total = [
      'total',
      String(usage.reduce((sum, line) => sum + line.count, 0)),
      formatBytes(usage.reduce((sum, line) => sum + line.sizeBytes, 0)),
      formatBytes(usage.reduce((sum, line) => sum + line.reclaimableBytes, 0)),
    ];
    context.stdout.write(formatTable([['KIND', 'COUNT', 'SIZE', 'RECLAIMABLE'], ...rows, total], [1, 2, 3]));
    return 0;
  },
});
