/**
 * Parser directives: comments of the form `# key=value` before anything else in the file.
 */
import { syntaxError } from './definition-place.ts';
import type { Directives } from './instruction.ts';
import { trim, trimStart } from './white-space.ts';

const KEYS = ['syntax', 'escape', 'check'] as const;
type Key = (typeof KEYS)[number];

/** Takes the first lines of a file, one by one, until one is no directive. */
export class DirectiveReader {
  readonly #comment: '#' | '//';
  readonly #values = new Map<Key, string>();
  #isOver = false;

  /** @param comment - What comments begin with. */
  constructor(comment: '#' | '//' = '#') {
    this.#comment = comment;
  }

  /**
   * @returns Whether the line is a directive.
   * @throws {DefinitionError} `E_DOCKERFILE_SYNTAX` for one that is repeated or has a wrong value.
   */
  take(line: string): boolean {
    const directive = this.#isOver ? undefined : parseDirective(line, this.#comment);
    if (directive === undefined) {
      this.#isOver = true;
      return false;
    }
    const [key, value] = directive;
    if (this.#values.has(key)) {
      throw syntaxError(`the directive '${key}' is given twice`, {
        hint: 'remove one of them',
        culprit: key,
      });
    }
    if (key === 'escape' && value !== '\\' && value !== '`') {
      throw syntaxError(`the escape character must be \\ or \`, not '${value}'`, { culprit: value });
    }
    this.#values.set(key, value);
    return true;
  }

  get directives(): Directives {
    return {
      escape: this.#values.get('escape') === '`' ? '`' : '\\',
      syntax: this.#values.get('syntax'),
      check: this.#values.get('check'),
    };
  }
}

/** The key in lower case and the value of `# key = value`, if the key is known. */
export function parseDirective(
  line: string,
  comment: '#' | '//' | '',
): readonly [key: Key, value: string] | undefined {
  if (!line.startsWith(comment)) {
    return undefined;
  }
  const text = trimStart(line.slice(comment.length));
  const equals = text.indexOf('=');
  const key = trim(text.slice(0, Math.max(0, equals))).toLowerCase();
  const value = trim(text.slice(equals + 1));
  const known = KEYS.find((each) => each === key);
  return known === undefined || value === '' ? undefined : [known, value];
}

/**
 * The frontend that a text asks for, whatever language it is in: `# syntax=`, `// syntax=` or the key of a JSON document.
 * A first line with `#!` is skipped.
 *
 * @returns The value without its arguments.
 */
export function detectSyntax(text: string): string | undefined {
  const withoutMark = text.startsWith('\ufeff') ? text.slice(1) : text;
  const body = withoutMark.startsWith('#!') ? withoutMark.slice(lineEnd(withoutMark)) : withoutMark;
  const found = syntaxOf(body, '#') ?? syntaxOf(body, '//') ?? syntaxOfJson(body);
  return found?.split(' ')[0];
}

function lineEnd(text: string): number {
  const end = text.indexOf('\n');
  return end < 0 ? text.length : end + 1;
}

function syntaxOf(text: string, comment: '#' | '//'): string | undefined {
  for (let start = 0; start < text.length; ) {
    const end = start + lineEnd(text.slice(start, start + 65536));
    const directive = parseDirective(text.slice(start, end), comment);
    if (directive === undefined || directive[0] === 'syntax') {
      return directive?.[1];
    }
    start = end;
  }
  return undefined;
}

function syntaxOfJson(text: string): string | undefined {
  if (!trimStart(text.slice(0, 4096)).startsWith('{')) {
    return undefined;
  }
  try {
    const { syntax } = JSON.parse(text) as { syntax?: unknown };
    return typeof syntax === 'string' ? syntax : undefined;
  } catch {
    return undefined;
  }
}
