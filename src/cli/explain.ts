/** `--explain`: why steps ran again, in words. */
import type { BuildEvent, CacheMiss, EventVertex } from '../solver/event.ts';
import { neutralise } from './terminal-text.ts';

/** More differences than this of one step are counted, not listed. */
const MOST_DIFFERENCES = 20;
const LONGEST_VALUE = 120;
/** That it differs is what counts; twelve digits are enough to see it. */
const SHA256 = /\b([a-f0-9]{12})[a-f0-9]{52}\b/g;

/** Collects misses from the events; `text` tells them in the order in which the steps ended. */
export function missCollector(): { onEvent(event: BuildEvent): void; text(): string } {
  const vertices = new Map<string, EventVertex>();
  const misses: (readonly [digest: string, miss: CacheMiss])[] = [];
  return {
    onEvent: (event) => {
      if (event.kind === 'plan') {
        for (const vertex of event.vertices) {
          vertices.set(vertex.digest, vertex);
        }
      } else if (event.kind === 'vertex-finished' && event.miss !== undefined) {
        misses.push([event.vertex, event.miss]);
      }
    },
    text: () => {
      if (misses.length === 0) {
        return 'explain: every step was cached\n';
      }
      const lines = misses.flatMap(([digest, miss]) => {
        const label = neutralise(vertices.get(digest)?.label ?? digest);
        return [`explain: ${label}: ${REASONS[miss.reason]}`, ...differences(miss)];
      });
      return `${lines.join('\n')}\n`;
    },
  };
}

const REASONS: Readonly<Record<CacheMiss['reason'], string>> = {
  new: 'never ran before',
  forced: 'it was asked for',
  changed: 'changed since it last ran',
  gone: 'its result was removed from the store',
  input: 'what it builds on changed',
};

function differences(miss: CacheMiss): string[] {
  const lines = miss.differences.slice(0, MOST_DIFFERENCES).map(({ field, before, after }) =>
    // An input has no value that would say anything: its own explanation is above.
    before === undefined && after === undefined
      ? `  ${neutralise(field)}`
      : `  ${neutralise(field)}: ${shown(before)} -> ${shown(after)}`,
  );
  const more = miss.differences.length - lines.length;
  return more > 0 ? [...lines, `  and ${more} more`] : lines;
}

function shown(value: string | undefined): string {
  if (value === undefined) {
    return '(none)';
  }
  const text = neutralise(value.replaceAll('\n', '\\n')).replaceAll(SHA256, '$1…');
  return text.length > LONGEST_VALUE ? `${text.slice(0, LONGEST_VALUE)}…` : text;
}
