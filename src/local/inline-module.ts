/** The module that an inline function becomes, with a source map to where it probably stands in the user's file. */
import { readFile } from 'node:fs/promises';
import { stripTypeScriptTypes } from 'node:module';
import type { InlineTarget } from '../frontend/fluent/function-target.ts';

/** A place in a file, from 1. */
interface Place {
  readonly path: string;
  readonly line: number;
  readonly column: number;
}

export interface InlineModule {
  readonly code: string;
  /** The user's file that the source map leads to. */
  readonly sources: readonly string[];
}

/** @param globals - Names that the driver has values for. */
export async function inlineModule(target: InlineTarget, globals: readonly string[]): Promise<InlineModule> {
  const names = [
    globals.length === 0
      ? ''
      : `const { ${globals.join(', ')} } = globalThis[Symbol.for('tsbuild.globals')];`,
    globals.includes('require') ? '' : "const require = globalThis[Symbol.for('tsbuild.require')];",
    // Compilers that keep names of functions call it.
    globals.includes('__name') ? '' : 'const __name = (fn) => fn;',
  ];
  const before = `${names.join(' ')}\nexport default (\n`;
  const code = `${before}${target.analysis.expression}\n);\n`;
  const place = await findInFiles(target.text, target.nearFiles);
  const skipped = before.split('\n').length - 1;
  const map = {
    version: 3,
    names: [],
    sources: [place?.path ?? `inline function ${target.name}`],
    mappings: lineMappings(skipped, target.text.split('\n').length, target.analysis.prefixLength, place),
  };
  const url = Buffer.from(JSON.stringify(map)).toString('base64');
  return {
    code: `${code}//# sourceMappingURL=data:application/json;base64,${url}\n`,
    sources: place === undefined ? [] : [place.path],
  };
}

/** Undefined where the text stands in none of the files, or in several places: compilers other than Node's change it. */
async function findInFiles(text: string, paths: readonly string[]): Promise<Place | undefined> {
  for (const path of paths) {
    if (path.includes('/node_modules/')) {
      continue;
    }
    const source = await readFile(path, 'utf8').catch(() => undefined);
    for (const candidate of source === undefined ? [] : candidates(source, path)) {
      const at = candidate.indexOf(text);
      if (at >= 0 && candidate.indexOf(text, at + 1) < 0) {
        const before = candidate.slice(0, at).split('\n');
        return { path, line: before.length, column: (before.at(-1) ?? '').length + 1 };
      }
    }
  }
  return undefined;
}

/** Node puts blanks in the place of types, so that nothing moves. */
function candidates(source: string, path: string): string[] {
  if (!/\.[cm]?ts$/.test(path)) {
    return [source];
  }
  try {
    return [source, stripTypeScriptTypes(source)];
  } catch {
    return [source];
  }
}

/**
 * Columns of the first line are moved, those of the others stay.
 *
 * Source: ECMA-426, "Source map format": fields of a mapping are differences to the one before, as base64 VLQ.
 */
function lineMappings(skipped: number, lines: number, prefix: number, place: Place | undefined): string {
  const startLine = (place?.line ?? 1) - 1;
  const startColumn = (place?.column ?? 1) - 1;
  const first = [prefix, 0, startLine, startColumn].map(vlq).join('');
  const second = [0, 0, 1, -startColumn].map(vlq).join('');
  const other = [0, 0, 1, 0].map(vlq).join('');
  const rest = Array.from({ length: lines - 1 }, (_, index) => (index === 0 ? second : other));
  return `${';'.repeat(skipped)}${[first, ...rest].join(';')}`;
}

const BASE64 = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/';

function vlq(value: number): string {
  let rest = value < 0 ? (-value << 1) | 1 : value << 1;
  let text = '';
  do {
    const digit = rest & 31;
    rest >>>= 5;
    text += BASE64[rest > 0 ? digit | 32 : digit];
  } while (rest > 0);
  return text;
}
