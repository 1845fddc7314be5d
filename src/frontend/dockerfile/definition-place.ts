/** Errors of a Dockerfile, first without and then with their place in the text. */

import { showLines } from '../../base/excerpt.ts';
import type { ErrorCode } from '../../error-codes.ts';
import { DefinitionError, RemoteError } from '../../errors.ts';
import type { Location } from './instruction.ts';

/** A text and what to call it. */
export interface DockerfileText {
  /** Of the file, for messages. */
  readonly name: string;
  readonly lines: readonly string[];
}

interface Facts {
  readonly hint?: string | undefined;
  /** The characters that are wrong, as they stand in the text. */
  readonly culprit?: string | undefined;
  /** Where no line is to blame: what to call the text. */
  readonly file?: string | undefined;
}

/** Something is wrong with the text itself: how its lines are put together. */
export function syntaxError(message: string, facts: Facts = {}): DefinitionError {
  return mistake('E_DOCKERFILE_SYNTAX', message, facts);
}

/** There is nothing in the text that could be wrong. */
export function emptyError(message: string, facts: Facts & { readonly file: string }): DefinitionError {
  return mistake('E_DOCKERFILE_EMPTY', message, facts);
}

/** Something is wrong with one instruction. */
export function instructionError(message: string, facts: Facts = {}): DefinitionError {
  return mistake('E_DOCKERFILE_INSTRUCTION', message, facts);
}

/** Something is wrong with a flag of an instruction. */
export function flagError(message: string, facts: Facts = {}): DefinitionError {
  return mistake('E_DOCKERFILE_FLAG', message, facts);
}

/** Something is wrong with what a stage is called, is built on or copies from. */
export function stageError(message: string, facts: Facts = {}): DefinitionError {
  return mistake('E_DOCKERFILE_STAGE', message, facts);
}

/** Something is wrong with the expansion of a word. */
export function variableError(message: string, facts: Facts = {}): DefinitionError {
  return mistake('E_DOCKERFILE_VARIABLE', message, facts);
}

function mistake(code: ErrorCode, message: string, facts: Facts): DefinitionError {
  return new DefinitionError(message, { code, ...facts });
}

/**
 * Runs `action`; what it throws as the user's mistake gets its place in the lines of `location`, with a caret under the
 * error's culprit if that stands there. An error that has a place keeps it.
 */
export function atPlace<Result>(text: DockerfileText, location: Location, action: () => Result): Result {
  try {
    return action();
  } catch (error) {
    throw error instanceof DefinitionError && error.line === undefined
      ? withPlace(error, text, location)
      : error;
  }
}

/** The error again, with its place. */
export function withPlace(error: DefinitionError, text: DockerfileText, location: Location): DefinitionError {
  const found = find(text.lines, location, error.culprit);
  // With a caret only its line is meant, not the whole of a long instruction.
  const place = found === undefined ? location : { startLine: found.line, endLine: found.line };
  return new DefinitionError(error.message, {
    code: error.code,
    hint: error.hint,
    cause: error.cause,
    culprit: error.culprit,
    file: text.name,
    line: place.startLine,
    column: found?.column,
    excerpt: showLines(text.lines, place, found?.column),
  });
}

/** The error of a server again, with the place of what asks for it. */
export function remoteWithPlace(error: RemoteError, text: DockerfileText, location: Location): RemoteError {
  return new RemoteError(error.message, {
    ...error,
    cause: error.cause,
    file: text.name,
    line: location.startLine,
    excerpt: showLines(text.lines, location),
  });
}

function find(
  lines: readonly string[],
  { startLine, endLine }: Location,
  culprit: string | undefined,
): { line: number; column: number } | undefined {
  if (culprit === undefined || culprit === '') {
    return undefined;
  }
  for (let line = startLine; line <= endLine; line += 1) {
    const index = (lines[line - 1] ?? '').indexOf(culprit);
    if (index >= 0) {
      return { line, column: index + 1 };
    }
  }
  return undefined;
}
