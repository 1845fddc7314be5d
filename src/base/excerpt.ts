/** The user's own lines around a culprit, with a caret under it. */
import { maskUrlCredentials } from './redact.ts';

/** More lines of a long instruction than this help nobody. */
const MOST_LINES = 7;
/** Columns of a line that are shown; the window moves to the culprit. */
const WIDEST = 120;

/**
 * One line before, the culprit's, one after, with their numbers.
 *
 * @param range - Both from 1.
 * @param column - From 1, on the first line of `range`. Without it nothing is pointed at.
 */
export function showLines(
  lines: readonly string[],
  range: { readonly startLine: number; readonly endLine: number },
  column?: number,
): string {
  const first = Math.max(1, range.startLine - 1);
  const last = Math.min(lines.length, range.endLine + 1, first + MOST_LINES - 1);
  const width = String(last).length;
  // Without a window all lines begin at their first column, so that they stay aligned.
  const from = Math.max(0, (column ?? 1) - WIDEST + 20);
  const shown: string[] = [];
  for (let number = first; number <= last; number += 1) {
    const line = maskUrlCredentials(lines[number - 1] ?? '');
    const inside = number >= range.startLine && number <= range.endLine;
    shown.push(`${inside ? '>' : ' '} ${String(number).padStart(width)} | ${part(line, from)}`.trimEnd());
    if (number === range.startLine && column !== undefined) {
      // What is left of the caret is as wide as it was printed.
      const left = part(line.slice(0, column - 1), from);
      shown.push(`  ${' '.repeat(width)} | ${' '.repeat(left.length)}^`);
    }
  }
  return shown.join('\n');
}

// biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what it looks for.
const CONTROL = /[\0-\x08\n-\x1f\x7f]/g;

/** What fits of a line from a column on. Characters that would move the caret are shown as one that does not. */
function part(line: string, from: number): string {
  const text = line.slice(from, from + WIDEST + 1).replace(CONTROL, '\ufffd');
  const cut = text.length > WIDEST ? `${text.slice(0, WIDEST - 1)}…` : text;
  return (from > 0 && text !== '' ? `…${cut.slice(1)}` : cut).replaceAll('\t', '  ');
}
