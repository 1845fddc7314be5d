/**
 * Every error that tsbuild throws on purpose, by who has to act. `code` is public and stable: callers and tests
 * match on it, never on the message. docs/reference/errors.md is generated from `src/error-codes.ts`.
 */
import type { ErrorCode } from './error-codes.ts';

export type { ErrorCode } from './error-codes.ts';

export interface ErrorDetails {
  readonly code: ErrorCode;
  /** The one next thing to try. */
  readonly hint?: string | undefined;
  readonly cause?: unknown;
}

export abstract class TsbuildError extends Error {
  readonly code: ErrorCode;
  readonly hint: string | undefined;
  /** What the command line exits with. */
  abstract readonly exitStatus: number;

  constructor(message: string, details: ErrorDetails) {
    super(message, details.cause === undefined ? undefined : { cause: details.cause });
    this.name = new.target.name;
    this.code = details.code;
    this.hint = details.hint;
  }
}

/** Where in the user's own text something was asked for. Lines count from 1. */
export interface Origin {
  /** `aptInstall`, `RUN`, … */
  readonly method: string;
  /** Position in the chain, 0 is the base. */
  readonly layer: number;
}

export interface StepErrorDetails extends ErrorDetails {
  readonly argv: readonly string[];
  /** How the step ended. `exit` carries `exitCode`, `signal` carries `signal`. */
  readonly reason: 'exit' | 'signal' | 'timeout' | 'memory' | 'not-started';
  readonly exitCode?: number | undefined;
  readonly signal?: string | undefined;
  /** The last lines of the step's own output, secrets masked. */
  readonly logTail: string;
  /** The whole output: path of the log file. */
  readonly logPath?: string | undefined;
  /** Where the user's text asks for the step: the file, the line from 1, and the lines around it. */
  readonly file?: string | undefined;
  readonly line?: number | undefined;
  readonly excerpt?: string | undefined;
  readonly imageId?: string | undefined;
  readonly layer?: number | undefined;
  /** Of a function that threw: the stack in the container, with files and lines of the user's as far as they are known. */
  readonly remoteStack?: string | undefined;
  /** Where what the step left is kept, for `tsbuild shell`: `failed:ID`. */
  readonly keptAs?: string | undefined;
}

/** A step ran and failed: the author of the step acts. */
export class StepError extends TsbuildError {
  override readonly exitStatus = 1;
  readonly argv: readonly string[];
  readonly reason: StepErrorDetails['reason'];
  readonly exitCode: number | undefined;
  readonly signal: string | undefined;
  readonly logTail: string;
  readonly logPath: string | undefined;
  readonly file: string | undefined;
  readonly line: number | undefined;
  readonly excerpt: string | undefined;
  readonly imageId: string | undefined;
  readonly layer: number | undefined;
  readonly remoteStack: string | undefined;
  readonly keptAs: string | undefined;

  constructor(message: string, details: StepErrorDetails) {
    super(message, details);
    this.argv = details.argv;
    this.reason = details.reason;
    this.exitCode = details.exitCode;
    this.signal = details.signal;
    this.logTail = details.logTail;
    this.logPath = details.logPath;
    this.file = details.file;
    this.line = details.line;
    this.excerpt = details.excerpt;
    this.imageId = details.imageId;
    this.layer = details.layer;
    this.remoteStack = details.remoteStack;
    this.keptAs = details.keptAs;
  }

  /** The command as the user wrote it, for display. */
  get command(): string {
    return this.argv.join(' ');
  }
}

export interface DefinitionErrorDetails extends ErrorDetails {
  /** What to call the text that is wrong: `Dockerfile`. Only where the definition is a text. */
  readonly file?: string | undefined;
  /** From 1. */
  readonly line?: number | undefined;
  /** From 1. */
  readonly column?: number | undefined;
  /** The lines around, numbered, with a caret under the place. */
  readonly excerpt?: string | undefined;
  /** The very characters that are wrong. */
  readonly culprit?: string | undefined;
}

/** The author of the definition acts. */
export class DefinitionError extends TsbuildError {
  override readonly exitStatus = 2;
  readonly file: string | undefined;
  readonly line: number | undefined;
  readonly column: number | undefined;
  readonly excerpt: string | undefined;
  readonly culprit: string | undefined;

  constructor(message: string, details: DefinitionErrorDetails) {
    super(message, details);
    this.file = details.file;
    this.line = details.line;
    this.column = details.column;
    this.excerpt = details.excerpt;
    this.culprit = details.culprit;
  }
}

/** The author of the command line acts. */
export class UsageError extends TsbuildError {
  override readonly exitStatus = 2;
}

export interface HostErrorDetails extends ErrorDetails {
  readonly syscall?: string | undefined;
  readonly errno?: string | undefined;
  readonly path?: string | undefined;
}

/** The owner of the machine acts: no user namespaces, disk full, no such GPU. */
export class HostError extends TsbuildError {
  override readonly exitStatus = 3;
  readonly syscall: string | undefined;
  readonly errno: string | undefined;
  readonly path: string | undefined;

  constructor(message: string, details: HostErrorDetails) {
    super(message, details);
    this.syscall = details.syscall;
    this.errno = details.errno;
    this.path = details.path;
  }
}

export interface RemoteErrorDetails extends ErrorDetails {
  /** What to call the text that asks for it, such as `Dockerfile`. Only where the definition is a text. */
  readonly file?: string | undefined;
  /** From 1. */
  readonly line?: number | undefined;
  /** The lines around, numbered. */
  readonly excerpt?: string | undefined;
  readonly method?: string | undefined;
  /** Without its query string: signed URLs are credentials. */
  readonly url?: string | undefined;
  readonly status?: number | undefined;
  /** Codes of the registry's error body (distribution-spec, "Error Codes"). */
  readonly ociCodes?: readonly string[] | undefined;
  readonly attempts?: number | undefined;
  readonly retryable?: boolean | undefined;
}

/** The owner of the registry or of the network acts. */
export class RemoteError extends TsbuildError {
  override readonly exitStatus = 4;
  readonly file: string | undefined;
  readonly line: number | undefined;
  readonly excerpt: string | undefined;
  readonly method: string | undefined;
  readonly url: string | undefined;
  readonly status: number | undefined;
  readonly ociCodes: readonly string[];
  readonly attempts: number;
  readonly retryable: boolean;

  constructor(message: string, details: RemoteErrorDetails) {
    super(message, details);
    this.file = details.file;
    this.line = details.line;
    this.excerpt = details.excerpt;
    this.method = details.method;
    this.url = details.url;
    this.status = details.status;
    this.ociCodes = details.ociCodes ?? [];
    this.attempts = details.attempts ?? 1;
    this.retryable = details.retryable ?? false;
  }
}

export interface IntegrityErrorDetails extends ErrorDetails {
  readonly expected?: string | undefined;
  readonly actual?: string | undefined;
  /** Where the bytes came from: a redacted URL or a path. */
  readonly source?: string | undefined;
}

/** Bytes are not what their digest or signature says. */
export class IntegrityError extends TsbuildError {
  override readonly exitStatus = 5;
  readonly expected: string | undefined;
  readonly actual: string | undefined;
  readonly source: string | undefined;

  constructor(message: string, details: IntegrityErrorDetails) {
    super(message, details);
    this.expected = details.expected;
    this.actual = details.actual;
    this.source = details.source;
  }
}

const BUG = ' (this is a bug in tsbuild)';

/** An invariant of ours broke. */
export class InternalError extends TsbuildError {
  override readonly exitStatus = 70;

  constructor(message: string, details: Partial<ErrorDetails> = {}) {
    // One that comes from the worker says it already.
    super(message.endsWith(BUG) ? message : `${message}${BUG}`, { code: 'E_INTERNAL', ...details });
  }
}
