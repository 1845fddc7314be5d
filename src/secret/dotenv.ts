/**
 * Files of variables: `NAME=value` a line, `#` comments, an optional `export`, quotes. `${NAME}` is an earlier name of the file,
 * or else a variable of the environment; within single quotes everything is literal. A name without a value is empty.
 */
import { DefinitionError } from '../errors.ts';

const LINE = /^[ \t]*(?:export[ \t]+)?([^\s=#'"]+)[ \t]*(=?)[ \t]*/;
const VARIABLE_NAME = /^[A-Za-z_][A-Za-z0-9_]*$/;
const REFERENCE = /\$\{([A-Za-z_][A-Za-z0-9_]*)\}/g;
const ESCAPES: Readonly<Record<string, string>> = { n: '\n', r: '\r', t: '\t', '"': '"', '\\': '\\', $: '$' };

/**
 * @param name - Of the file, for errors. They hold nothing of a value.
 * @throws {DefinitionError} `E_SECRET_KEY`, `E_SECRET_VALUE`
 */
export function parseDotenv(
  text: string,
  name: string,
  environment: Readonly<Record<string, string | undefined>>,
): Readonly<Record<string, string>> {
  const values: Record<string, string> = Object.create(null) as Record<string, string>;
  const lookUp = (variable: string) =>
    values[variable] ?? (Object.hasOwn(environment, variable) ? environment[variable] : undefined) ?? '';
  const lines = text.replace(/^\uFEFF/, '').replaceAll('\r\n', '\n');
  let at = 0;
  while (at < lines.length) {
    const number = lines.slice(0, at).split('\n').length;
    const end = endOfLine(lines, at);
    const line = lines.slice(at, end);
    if (/^[ \t]*(#|$)/.test(line)) {
      at = end + 1;
      continue;
    }
    const found = LINE.exec(line);
    const key = found?.[1] ?? '';
    if (found === null || !VARIABLE_NAME.test(key)) {
      throw wrong(name, number, 'E_SECRET_KEY', 'it does not begin with the name of a variable');
    }
    const { value, next } = valueAt(lines, at + found[0].length, found[2] === '=', lookUp, (why) =>
      wrong(name, number, 'E_SECRET_VALUE', why),
    );
    if (value.includes('\0')) {
      throw wrong(name, number, 'E_SECRET_VALUE', 'the value holds a NUL character');
    }
    values[key] = value;
    at = next;
  }
  return values;
}

function valueAt(
  text: string,
  from: number,
  hasValue: boolean,
  lookUp: (name: string) => string,
  fail: (why: string) => DefinitionError,
): { readonly value: string; readonly next: number } {
  const quote = text[from];
  if (hasValue && (quote === '"' || quote === "'")) {
    // Over several lines, if need be.
    const pattern = quote === '"' ? /"((?:[^"\\]|\\[\s\S])*)"/y : /'([^']*)'/y;
    pattern.lastIndex = from;
    const found = pattern.exec(text);
    if (found === null) {
      throw fail('a quote is not closed');
    }
    const end = endOfLine(text, pattern.lastIndex);
    if (!/^[ \t]*(#|$)/.test(text.slice(pattern.lastIndex, end))) {
      throw fail('something follows the closing quote');
    }
    const inner = found[1] ?? '';
    return { value: quote === '"' ? expandQuoted(inner, lookUp) : inner, next: end + 1 };
  }
  const end = endOfLine(text, from);
  const rest = text.slice(from, end);
  if (!hasValue) {
    if (!/^(#|$)/.test(rest.trimStart())) {
      throw fail("an '=' is missing");
    }
    return { value: '', next: end + 1 };
  }
  const bare = (/^#/.test(rest) ? '' : rest.replace(/[ \t]#.*$/, '')).trim();
  return { value: bare.replace(REFERENCE, (_, name: string) => lookUp(name)), next: end + 1 };
}

/** From left to right, so that an escaped dollar begins no reference. */
function expandQuoted(text: string, lookUp: (name: string) => string): string {
  return text.replace(/\\([\s\S])|\$\{([A-Za-z_][A-Za-z0-9_]*)\}/g, (all, escaped?: string, name?: string) =>
    name === undefined ? (ESCAPES[escaped ?? ''] ?? all) : lookUp(name),
  );
}

function endOfLine(text: string, from: number): number {
  const end = text.indexOf('\n', from);
  return end < 0 ? text.length : end;
}

function wrong(
  name: string,
  line: number,
  code: 'E_SECRET_KEY' | 'E_SECRET_VALUE',
  why: string,
): DefinitionError {
  return new DefinitionError(`cannot read line ${line} of '${name}': ${why}`, { code });
}
