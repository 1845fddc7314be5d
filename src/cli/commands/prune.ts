import { command } from '../command.ts';
import { BadValue, flag, list, value } from '../option.ts';
import { formatBytes, parseBytes, parseDuration } from '../quantity.ts';
import { withEngine } from '../session.ts';
import { REMOVAL_OPTIONS } from '../shared-options.ts';
import { neutralise, terminalJson } from '../terminal-text.ts';

/** What the store holds, as `tsbuild du` lists it. */
const KINDS: readonly string[] = ['images', 'layers', 'blobs', 'archives', 'git', 'cache-mounts', 'logs'];

export default command({
  operands: [],
  options: {
    all: flag({
      long: 'all',
      short: 'a',
      summary: 'Also images with names, and cache mounts',
      detail: 'Removes also images that have names and what they need, and the directories of cache mounts.',
    }),
    olderThan: value({
      long: 'older-than',
      valueName: 'TIME',
      summary: 'Only what was last used longer ago',
      detail: 'Removes only what was last used longer ago than this, such as `24h` or `7d`.',
      parse: parseDuration,
    }),
    keepBytes: value({
      long: 'keep-bytes',
      valueName: 'SIZE',
      summary: 'Stop when the store is no larger',
      detail: 'Removes what was used longest ago until the store is no larger than this, such as `20GB`.',
      parse: parseBytes,
    }),
    kind: list({
      long: 'kind',
      valueName: 'KIND',
      summary: 'Only things of this kind',
      detail:
        'Removes only things of this kind, as `tsbuild du` names them: `images`, `layers`, `blobs`, `archives`, `git`, `cache-mounts`, `logs`.',
      completion: KINDS,
      parse: (given) => {
        if (!KINDS.includes(given)) {
          throw new BadValue(`'${given}' is not one of ${KINDS.join(', ')}`, KINDS);
        }
        return given;
      },
    }),
    ...REMOVAL_OPTIONS,
  },
  detail:
    'Removes what is no longer needed from the store: cached results that no named image needs, and the blobs and logs that go with them. What a running build uses is never touched.',
  examples: [
    { purpose: 'Remove what was not used for a week', command: 'tsbuild prune --older-than 7d' },
    { purpose: 'Hold the store below a size', command: 'tsbuild prune --all --keep-bytes 20GB' },
    { purpose: 'See what would go', command: 'tsbuild prune --all --dry-run' },
  ],
  async run({ options }, context) {
    const module = await context.loadEngine();
    const result = await withEngine(
      context,
      module,
      { quiet: true, isolation: options.isolation },
      ({ engine }) =>
        engine.prune({
          all: options.all,
          dryRun: options.dryRun,
          ...(options.olderThan === undefined ? {} : { olderThanMs: options.olderThan }),
          ...(options.keepBytes === undefined ? {} : { keepBytes: options.keepBytes }),
          ...(options.kind.length === 0 ? {} : { kinds: options.kind }),
        }),
    );
    if (options.json) {
      context.stdout.write(`${terminalJson(result, 2)}\n`);
      return 0;
    }
    for (const { kind, id, sizeBytes } of result.removed) {
      context.stdout.write(`${kind} ${neutralise(id)} ${formatBytes(sizeBytes)}\n`);
    }
    context.stdout.write(`${options.dryRun ? 'would free' : 'freed'} ${formatBytes(result.freedBytes)}\n`);
    return 0;
  },
});
