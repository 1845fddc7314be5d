import { command } from '../command.ts';
import { flag } from '../option.ts';
import { formatAge, formatBytes } from '../quantity.ts';
import { withEngine } from '../session.ts';
import { ISOLATION_OPTION } from '../shared-options.ts';
import { formatTable } from '../table.ts';
import { neutralise, terminalJson } from '../terminal-text.ts';

export default command({
  operands: [],
  options: {
    json: flag({
      long: 'json',
      summary: 'Print JSON',
      detail: 'Prints a JSON array with one object for each cache mount.',
    }),
    quiet: flag({
      long: 'quiet',
      short: 'q',
      summary: 'Print ids only',
      detail: 'Prints the id of each cache mount and nothing else.',
    }),
    isolation: ISOLATION_OPTION,
  },
  detail:
    'Lists the directories that steps keep between builds, by id. An id has several copies when steps wanted one for themselves at the same time, or with another owner or mode.',
  examples: [{ purpose: 'See what is kept', command: 'tsbuild cache-mount list' }],
  async run({ options }, context) {
    const module = await context.loadEngine();
    const mounts = await withEngine(
      context,
      module,
      { quiet: true, isolation: options.isolation },
      ({ engine }) => engine.cacheMounts(),
    );
    if (options.json) {
      context.stdout.write(`${terminalJson(mounts, 2)}\n`);
    } else if (options.quiet) {
      context.stdout.write(mounts.map(({ id }) => `${neutralise(id)}\n`).join(''));
    } else {
      const nowMs = Date.now();
      const rows = mounts.map(({ id, sizeBytes, copies, usedMs, inUse }) => [
        id,
        formatBytes(sizeBytes),
        String(copies),
        inUse ? 'now' : formatAge(nowMs - usedMs),
      ]);
      context.stdout.write(formatTable([['ID', 'SIZE', 'COPIES', 'USED'], ...rows], [1, 2]));
    }
    return 0;
  },
});
