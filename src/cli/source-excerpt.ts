/** The user's own line, with a caret under the place that is meant. */
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

export interface SourcePlace {
  readonly path: string;
  /** From 1. */
  readonly line: number;
  /** From 1. */
  readonly column: number;
}

/** Our own files: frames in them are how tsbuild got there, not what the user wrote. */
const OWN_ROOTS = [new URL('..', import.meta.url).href, new URL('../../bin/', import.meta.url).href];

const FRAME = /(?:\(|\s)((?:file:\/\/|\/)[^\s()]+):(\d+):(\d+)\)?$/;

/** Where in the user's files an error arose: the innermost frame of its stack that is not ours, Node's or a dependency's. */
export function placeOf(error: Error): SourcePlace | undefined {
  for (const line of (error.stack ?? '').split('\n')) {
    const match = /^\s+at /.test(line) ? FRAME.exec(line) : null;
    if (match === null) {
      continue;
    }
    const [, file = '', row, column] = match;
    const url = file.startsWith('file:') ? file : `file://${file}`;
    if (OWN_ROOTS.some((root) => url.startsWith(root)) || url.includes('/node_modules/')) {
      continue;
    }
    try {
      return { path: fileURLToPath(url.replace(/[?#].*$/, '')), line: Number(row), column: Number(column) };
    } catch {
      // A frame with an address that is no file, for example of evaluated code.
    }
  }
  return undefined;
}

/** `image.ts:3:10`, the line and a caret; undefined when the file cannot be read any more. */
export function excerpt(place: SourcePlace): string | undefined {
  let text: string | undefined;
  try {
    text = readFileSync(place.path, 'utf8').split(/\r?\n/)[place.line - 1];
  } catch {
    return undefined;
  }
  if (text === undefined) {
    return undefined;
  }
  // Tabs stay tabs before the caret, so that it stands where the terminal puts the character.
  const indent = text.slice(0, place.column - 1).replace(/[^\t]/g, ' ');
  const number = String(place.line);
  return [
    `  ${place.path}:${place.line}:${place.column}`,
    `  ${number} | ${text.replaceAll('\t', '  ')}`,
    `  ${' '.repeat(number.length)} | ${indent.replaceAll('\t', '  ')}^`,
  ].join('\n');
}

/** The excerpt for an error that a call in the user's definition threw. */
export function definitionExcerpt(error: Error): string | undefined {
  const place = placeOf(error);
  return place === undefined ? undefined : excerpt(place);
}
