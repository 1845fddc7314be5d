/**
 * Lines of a file put together to instructions: continuations joined, comments collected, bodies of heredocs taken.
 * Source: reference of the Dockerfile, "Format".
 */
import { atPlace, type DockerfileText, syntaxError, withPlace } from './definition-place.ts';
import { DirectiveReader } from './directives.ts';
import type { HeredocOpening } from './heredoc.ts';
import type { Directives, Location } from './instruction.ts';
import { trim, trimStart } from './white-space.ts';

/** The reference implementation reads lines into a buffer of this many bytes. */
const LONGEST_LINE_BYTES = 65_535;

/** One instruction as text. */
export interface InstructionLine {
  /** On one line, without the white space around it. */
  readonly text: string;
  /** Without the bodies of heredocs. */
  readonly location: Location;
  /** Text of the comment lines above. */
  readonly comments: readonly string[];
  /** Numbers of the empty lines that a continuation ran over. */
  readonly emptyLines: readonly number[];
}

/** Reads a text from its first line to its last. */
export class InstructionReader {
  readonly text: DockerfileText;
  readonly #raw: readonly string[];
  readonly #directives = new DirectiveReader();
  #escape: '\\' | '`' | undefined;
  /** Lines that were read. */
  #at = 0;

  /** @param escapeCharacter - Overrules the directive. */
  constructor(text: string, name: string, escapeCharacter?: '\\' | '`') {
    const whole = (text.startsWith('\ufeff') ? text.slice(1) : text).toWellFormed();
    const raw = whole.split('\n');
    if (raw.at(-1) === '') {
      raw.pop();
    }
    this.#raw = raw;
    this.#escape = escapeCharacter;
    this.text = { name, lines: raw.map(withoutCarriageReturns) };
  }

  /** Final as soon as the first instruction was read. */
  get directives(): Directives {
    const found = this.#directives.directives;
    return this.#escape === undefined ? found : { ...found, escape: this.#escape };
  }

  /** @returns Undefined at the end of the text. */
  next(): InstructionLine | undefined {
    let comments: string[] = [];
    while (this.#at < this.#raw.length) {
      const line = trimStart(withoutCarriageReturns(this.#read()));
      const isDirective = atPlace(this.text, this.#here(), () => this.#directives.take(line));
      if (line.startsWith('#')) {
        const comment = trim(line.slice(1));
        if (comment === '') {
          // A comment without text ends what belongs to the next instruction; an empty line does not.
          comments = [];
        } else if (!isDirective) {
          comments.push(comment);
        }
      } else if (line !== '') {
        const instruction = this.#instruction(line, comments);
        if (instruction.text !== '') {
          return instruction;
        }
      }
    }
    return undefined;
  }

  /**
   * The lines up to the delimiter.
   *
   * @param start - Of the instruction, for the error.
   * @returns The body as it is written, and its last line's number.
   * @throws {DefinitionError} `E_DOCKERFILE_SYNTAX` when the text ends first.
   */
  heredocBody(opening: HeredocOpening, start: Location): { body: string; endLine: number } {
    const body: string[] = [];
    let nearMiss: number | undefined;
    while (this.#at < this.#raw.length) {
      const raw = this.#read();
      const line = withoutCarriageReturns(raw);
      if ((opening.chomp ? line.replace(/^\t+/, '') : line) === opening.name) {
        return { body: body.join(''), endLine: this.#at };
      }
      if (nearMiss === undefined && trim(line) === opening.name) {
        nearMiss = this.#at;
      }
      body.push(`${raw}\n`);
    }
    throw withPlace(
      syntaxError(`the heredoc '${opening.name}' does not end`, {
        hint:
          nearMiss === undefined
            ? `write a line with nothing but ${opening.name} behind its text; a << that opens none belongs in quotes`
            : `remove the white space around ${opening.name} in line ${nearMiss}`,
        culprit: '<<',
      }),
      this.text,
      start,
    );
  }

  #instruction(firstLine: string, comments: readonly string[]): InstructionLine {
    const { escape: escapeCharacter } = this.directives;
    const startLine = this.#at;
    const emptyLines: number[] = [];
    const parts: string[] = [];
    let [part, continues] = cutContinuation(firstLine, escapeCharacter);
    parts.push(part);
    while (continues && this.#at < this.#raw.length) {
      const line = withoutCarriageReturns(this.#read());
      const start = trimStart(line);
      if (start === '') {
        emptyLines.push(this.#at);
      } else if (!start.startsWith('#')) {
        [part, continues] = cutContinuation(line, escapeCharacter);
        parts.push(part);
      }
    }
    return {
      text: trim(parts.join('')),
      location: { startLine, endLine: this.#at },
      comments,
      emptyLines,
    };
  }

  #read(): string {
    const line = this.#raw[this.#at] ?? '';
    this.#at += 1;
    // A UTF-16 unit is at most three bytes.
    if (line.length * 3 > LONGEST_LINE_BYTES && Buffer.byteLength(line) > LONGEST_LINE_BYTES) {
      const error = syntaxError(`the line is longer than ${LONGEST_LINE_BYTES} bytes`, {
        hint: 'break it with a continuation',
      });
      throw withPlace(error, this.text, this.#here());
    }
    return line;
  }

  #here(): Location {
    return { startLine: this.#at, endLine: this.#at };
  }
}

/** The line without the escape that continues it, and whether there is one. Two of them are text. */
function cutContinuation(line: string, escapeCharacter: string): [text: string, continues: boolean] {
  let end = line.length;
  while (end > 0 && (line[end - 1] === ' ' || line[end - 1] === '\t')) {
    end -= 1;
  }
  const continues = line[end - 1] === escapeCharacter && line[end - 2] !== escapeCharacter;
  return continues ? [line.slice(0, end - 1), true] : [line, false];
}

function withoutCarriageReturns(line: string): string {
  let end = line.length;
  while (end > 0 && line[end - 1] === '\r') {
    end -= 1;
  }
  return line.slice(0, end);
}
