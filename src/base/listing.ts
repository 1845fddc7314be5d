/**
 * Many names with a value each as one text, for whoever compares it with an earlier one: what is the same at both ends is not looked into.
 * A line each: the name, a tab, the value, both as JSON writes what is between a string's quotes. The order is that of the names.
 */

export function listingOf(values: Iterable<readonly [name: string, value: string]>): string {
  let text = '';
  for (const [name, value] of values) {
    text += `${escaped(name)}\t${escaped(value)}\n`;
  }
  return text;
}

/** What two listings have between the lines with which both begin and end. By name. */
export function betweenEqualEnds(
  before: string,
  after: string,
): { readonly before: Record<string, string>; readonly after: Record<string, string> } {
  const begin = before.lastIndexOf('\n', commonStart(before, after) - 1) + 1;
  const [oldRest, newRest] = [before.slice(begin), after.slice(begin)];
  const common = commonEnd(oldRest, newRest);
  // The line in which the common end begins is whole in neither.
  const lineEnd = oldRest.indexOf('\n', oldRest.length - common);
  const kept = lineEnd === -1 ? 0 : oldRest.length - lineEnd - 1;
  return {
    before: valuesOf(oldRest.slice(0, oldRest.length - kept)),
    after: valuesOf(newRest.slice(0, newRest.length - kept)),
  };
}

function valuesOf(listing: string): Record<string, string> {
  const lines = listing.split('\n').slice(0, -1);
  return Object.fromEntries(
    lines.map((line) => {
      const [name = '', value = ''] = line.split('\t');
      return [unescaped(name), unescaped(value)];
    }),
  );
}

function escaped(text: string): string {
  return JSON.stringify(text).slice(1, -1);
}

/** Of a cache that others wrote it may be anything, and then means itself. */
function unescaped(text: string): string {
  try {
    return JSON.parse(`"${text}"`);
  } catch {
    return text;
  }
}

/** Long stretches first, as comparing them is what an engine does fastest. */
const STRETCHES = [1 << 16, 1 << 12, 1 << 8, 1 << 4, 1];

function commonStart(one: string, other: string): number {
  return commonLength(one, other, (text, from, to) => text.slice(from, to));
}

function commonEnd(one: string, other: string): number {
  return commonLength(one, other, (text, from, to) => text.slice(text.length - to, text.length - from));
}

/** @param stretchOf - What lies between two distances from the end that is looked at. */
function commonLength(
  one: string,
  other: string,
  stretchOf: (text: string, from: number, to: number) => string,
): number {
  const most = Math.min(one.length, other.length);
  let count = 0;
  for (const stretch of STRETCHES) {
    while (
      count + stretch <= most &&
      stretchOf(one, count, count + stretch) === stretchOf(other, count, count + stretch)
    ) {
      count += stretch;
    }
  }
  return count;
}
