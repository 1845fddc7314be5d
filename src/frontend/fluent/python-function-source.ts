/**
 * What a Python function is made of, found without Python (B12.4 of the Image API): the text of its statement with the
 * decorators, and the simple assignments of the module whose names it mentions. Lexical: strings, brackets, comments and
 * continued lines are respected, nothing is evaluated.
 */
import { lazily } from '../../base/lazily.ts';

export interface PythonFunctionSource {
  readonly source: string;
  /** From 1. */
  readonly line: number;
  /** Text of the assignments, by name. */
  readonly globals: Readonly<Record<string, string>>;
}

/** @returns Undefined when the module has no such function at its top level. */
export function findPythonFunction(text: string, name: string): PythonFunctionSource | undefined {
  const statements = topLevelStatements(text.replace(/^\uFEFF/, '').replaceAll(/\r\n?/g, '\n'));
  // A later definition takes the place of an earlier one.
  const found = statements.findLast(({ text: statement, head }) => definedName(statement, head) === name);
  if (found === undefined) {
    return undefined;
  }
  const mentioned = identifiers(found.text);
  const globals = new Map<string, string>();
  for (const statement of statements) {
    for (const target of assignedNames(statement)) {
      if (mentioned.has(target)) {
        const before = globals.get(target);
        const own = trimmed(statement.text);
        globals.set(target, before === undefined ? own : `${before}\n${own}`);
      }
    }
  }
  return {
    source: trimmed(found.text),
    line: found.line,
    globals: Object.fromEntries([...globals].sort(([left], [right]) => (left < right ? -1 : 1))),
  };
}

interface Statement {
  readonly text: string;
  /** Where its own first word is; decorators come before. */
  readonly head: number;
  /** From 1. */
  readonly line: number;
}

const DEFINITION = lazily(
  () => /^(?:async\s+)?def\s+([\p{L}\p{Nl}_][\p{L}\p{Nl}\p{Mn}\p{Mc}\p{Nd}\p{Pc}]*)\s*[([]/u,
);
const IDENTIFIER = lazily(() => /[\p{L}\p{Nl}_][\p{L}\p{Nl}\p{Mn}\p{Mc}\p{Nd}\p{Pc}]*/uy);
const ASSIGNMENT = lazily(() => /^([\p{L}\p{Nl}_][\p{L}\p{Nl}\p{Mn}\p{Mc}\p{Nd}\p{Pc}]*)\s*(=(?!=)|:(?!=))/u);
/** A colon may follow them at once. */
const BLOCK_WORDS: ReadonlySet<string> = new Set(['else', 'finally', 'try']);

function definedName(text: string, head: number): string | undefined {
  return DEFINITION().exec(text.slice(head).replaceAll('\\\n', ' '))?.[1];
}

/** Of `A = …`, `A: T = …` and `A = B = …`. */
function assignedNames({ text, head }: Statement): string[] {
  const names: string[] = [];
  let rest = text.slice(head);
  for (let match = ASSIGNMENT().exec(rest); match !== null; match = ASSIGNMENT().exec(rest)) {
    const [whole, name = '', operator] = match;
    if (operator === ':') {
      // A compound statement such as `else:` has a body; an annotation alone assigns nothing.
      return !BLOCK_WORDS.has(name) && hasAssignment(rest.slice(whole.length)) ? [name] : [];
    }
    names.push(name);
    rest = rest.slice(whole.length).trimStart();
  }
  return names;
}

/** Whether there is a lone `=` outside of brackets and strings. */
function hasAssignment(text: string): boolean {
  let depth = 0;
  let at = 0;
  while (at < text.length) {
    const next = skipToken(text, at);
    const token = text.slice(at, next);
    if (token === '\n' && depth === 0) {
      return false;
    }
    depth += bracketStep(token);
    if (token === '=' && depth === 0 && text[next] !== '=' && !/[=!<>:]/.test(text[at - 1] ?? '')) {
      return true;
    }
    at = next;
  }
  return false;
}

function topLevelStatements(text: string): Statement[] {
  const statements: Statement[] = [];
  let current: { start: number; head: number; end: number; line: number; decorated: boolean } | undefined;
  const finish = () => {
    if (current !== undefined) {
      const { start, head, end, line } = current;
      statements.push({ text: text.slice(start, end), head: head - start, line });
      current = undefined;
    }
  };
  let line = 1;
  for (let at = 0; at < text.length; ) {
    const { end, parts } = logicalLine(text, at);
    const indent = /[ \t\f]*/y;
    indent.lastIndex = at;
    const first = at + (indent.exec(text)?.[0].length ?? 0);
    const isBlank = parts.length === 0;
    if (!isBlank && first === at) {
      if (current?.decorated !== true) {
        finish();
        current = { start: at, head: at, end: at, line, decorated: false };
      }
      current = { ...(current as NonNullable<typeof current>), head: at, decorated: text[at] === '@' };
      // `A = 1; B = 2` are statements of one line.
      for (const [index, part] of parts.entries()) {
        if (index > 0 && !text.startsWith('@', at) && !DEFINITION().test(text.slice(at))) {
          finish();
          current = { start: part.start, head: part.start, end: part.end, line, decorated: false };
        } else {
          current.end = part.end;
        }
      }
    } else if (!isBlank && current !== undefined) {
      current.end = (parts.at(-1) as Part).end;
    }
    line += text.slice(at, end).split('\n').length - 1;
    at = end;
  }
  finish();
  return statements;
}

interface Part {
  readonly start: number;
  end: number;
}

/** A line with those that continue it: what is between semicolons, without comments and white space around. */
function logicalLine(text: string, start: number): { readonly end: number; readonly parts: readonly Part[] } {
  const parts: Part[] = [];
  let part: Part | undefined;
  let depth = 0;
  let at = start;
  while (at < text.length) {
    const next = skipToken(text, at);
    const token = text.slice(at, next);
    if (token === '\n' && depth === 0) {
      return { end: next, parts };
    }
    if (token === ';' && depth === 0) {
      part = undefined;
    } else if (!/^\s|^#|^\\\n/.test(token)) {
      if (part === undefined) {
        part = { start: at, end: next };
        parts.push(part);
      }
      part.end = next;
    }
    depth = Math.max(0, depth + bracketStep(token));
    at = next;
  }
  return { end: at, parts };
}

function bracketStep(token: string): number {
  return token === '(' || token === '[' || token === '{'
    ? 1
    : token === ')' || token === ']' || token === '}'
      ? -1
      : 0;
}

const STRING_START = /[A-Za-z]{0,2}("""|'''|"|')/y;
const STRING_PREFIX = /^(?:[rbuft]|rb|br|rf|fr|rt|tr)?$/i;

/** Where the token at `at` ends: a string, a comment, a name or number, a line continuation, or one character. */
function skipToken(text: string, at: number, onCode?: (from: number, to: number) => void): number {
  const first = text[at] ?? '';
  if (first === '#') {
    const end = text.indexOf('\n', at);
    return end < 0 ? text.length : end;
  }
  if (first === '\\' && text[at + 1] === '\n') {
    return at + 2;
  }
  STRING_START.lastIndex = at;
  const opening = STRING_START.exec(text);
  if (opening !== null) {
    const quote = opening[1] as string;
    const prefix = opening[0].slice(0, -quote.length);
    if (STRING_PREFIX.test(prefix)) {
      return skipString(text, at + opening[0].length, quote, /[ft]/i.test(prefix), onCode);
    }
  }
  const pattern = IDENTIFIER();
  pattern.lastIndex = at;
  const word = pattern.exec(text);
  return at + (word?.[0].length ?? 1);
}

/** From behind the opening quote to behind the closing one. An f-string has code in braces, which may have the same quotes. */
function skipString(
  text: string,
  start: number,
  quote: string,
  formatted: boolean,
  onCode: ((from: number, to: number) => void) | undefined,
): number {
  let at = start;
  while (at < text.length) {
    if (text[at] === '\\') {
      at += 2;
    } else if (text.startsWith(quote, at)) {
      return at + quote.length;
    } else if (text[at] === '\n' && quote.length === 1) {
      // Not closed: what follows is somebody else's.
      return at;
    } else if (formatted && text[at] === '{' && text[at + 1] !== '{') {
      at = skipField(text, at + 1, quote, onCode);
    } else {
      at += formatted && text[at] === '{' ? 2 : 1;
    }
  }
  return text.length;
}

/** A replacement field of an f-string, from behind its brace to behind the other. */
function skipField(
  text: string,
  start: number,
  quote: string,
  onCode: ((from: number, to: number) => void) | undefined,
): number {
  let depth = 0;
  let at = start;
  while (at < text.length) {
    const char = text[at] as string;
    if (depth === 0 && char === '}') {
      return at + 1;
    }
    if (depth === 0 && char === ':' && text[at + 1] !== '=') {
      // The format: text again, with fields in it.
      at += 1;
      while (at < text.length && text[at] !== '}' && !text.startsWith(quote, at)) {
        at = text[at] === '{' ? skipField(text, at + 1, quote, onCode) : at + 1;
      }
      return text[at] === '}' ? at + 1 : at;
    }
    const next = skipToken(text, at, onCode);
    onCode?.(at, next);
    depth += bracketStep(text.slice(at, next));
    at = next;
  }
  return text.length;
}

/** Names that the code mentions, also in the fields of f-strings; not those in other strings and comments. */
function identifiers(text: string): ReadonlySet<string> {
  const names = new Set<string>();
  const take = (from: number, to: number) => {
    const pattern = IDENTIFIER();
    pattern.lastIndex = from;
    const word = pattern.exec(text);
    if (word !== null && from + word[0].length === to) {
      names.add(word[0]);
    }
  };
  for (let at = 0; at < text.length; ) {
    const next = skipToken(text, at, take);
    take(at, next);
    at = next;
  }
  return names;
}

function trimmed(text: string): string {
  return text
    .split('\n')
    .map((line) => line.trimEnd())
    .join('\n')
    .trim();
}
