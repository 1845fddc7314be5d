/** Errors as people read them. Control characters of others are made harmless. */
import { DefinitionError, IntegrityError, RemoteError, StepError, TsbuildError } from '../errors.ts';
import { Interrupted, isSystemError } from './exit-status.ts';
import { definitionExcerpt } from './source-excerpt.ts';
import { neutraliseLines } from './terminal-text.ts';

/** More of a message than this helps nobody; registries have been seen to answer with whole web pages. */
const LONGEST_MESSAGE = 8000;

export interface ErrorStyle {
  readonly color: boolean;
}

/** Several lines, the last one ended. A step error ends with the step's own output. */
export function renderError(error: unknown, style: ErrorStyle): string {
  if (error instanceof Interrupted) {
    return `${error.message}\n`;
  }
  const lines: string[] = [];
  if (error instanceof TsbuildError) {
    lines.push(headline(error.message, style), ...facts(error));
    if (error.hint !== undefined) {
      lines.push(`${paint('hint:', 36, style)} ${bounded(error.hint)}`);
    }
    lines.push(`(${error.code})`);
    if (error.exitStatus === 70) {
      lines.push(bounded(error.stack ?? ''));
    }
    if (error instanceof StepError) {
      lines.push(...stepOutput(error));
    }
  } else if (isSystemError(error)) {
    lines.push(headline(error.message, style));
  } else {
    lines.push(
      headline('tsbuild failed in a way that it did not foresee (this is a bug in tsbuild)', style),
      bounded(error instanceof Error ? (error.stack ?? error.message) : String(error)),
    );
  }
  return `${lines.join('\n')}\n`;
}

function headline(message: string, style: ErrorStyle): string {
  return `${paint('error:', 31, style)} ${bounded(message)}`;
}

function facts(error: TsbuildError): string[] {
  if (error instanceof DefinitionError) {
    if (error.file !== undefined) {
      return dockerfileLines(error);
    }
    // A file that cannot be loaded has its place in the message; the stack only tells how we came to load it.
    const excerpt = error.code === 'E_DEFINITION_LOAD' ? undefined : definitionExcerpt(error);
    return excerpt === undefined ? [] : [bounded(excerpt)];
  }
  if (error instanceof StepError && error.excerpt !== undefined) {
    return dockerfileLines(error);
  }
  if (error instanceof RemoteError) {
    return [...(error.excerpt === undefined ? [] : dockerfileLines(error)), ...requestFacts(error)];
  }
  if (error instanceof IntegrityError && error.expected !== undefined) {
    const from = error.source === undefined ? [] : [`  from     ${error.source}`];
    return [`  expected ${error.expected}`, `  actual   ${error.actual ?? '?'}`, ...from].map(bounded);
  }
  return [];
}

function requestFacts(error: RemoteError): string[] {
  if (error.url === undefined) {
    return [];
  }
  const request = [error.method, error.url].filter((part) => part !== undefined).join(' ');
  const answer = error.status === undefined ? '' : `: ${error.status}`;
  const codes = error.ociCodes.length === 0 ? '' : ` ${error.ociCodes.join(', ')}`;
  const attempts = error.attempts > 1 ? ` (${error.attempts} attempts)` : '';
  return [bounded(`  ${request}${answer}${codes}${attempts}`)];
}

/** The place in a text that is no module, which brings its own lines. */
function dockerfileLines(error: DefinitionError | StepError | RemoteError): string[] {
  const column = error instanceof DefinitionError ? error.column : undefined;
  const place = [error.file, error.line, column].filter((part) => part !== undefined).join(':');
  const lines = error.excerpt === undefined ? [] : bounded(error.excerpt).split('\n');
  return [bounded(`  ${place}`), ...lines.map((line) => `  ${line}`)];
}

function stepOutput(error: StepError): string[] {
  const lines: string[] = [];
  if (error.keptAs !== undefined) {
    lines.push(`what the step left is kept: tsbuild shell ${error.keptAs}`);
  }
  if (error.logPath !== undefined) {
    lines.push(`the whole output is in ${error.logPath}`);
  }
  const tail = error.logTail.replace(/\n+$/, '');
  if (tail !== '') {
    // Marked line by line: what a step says must not pass for what we say of it.
    lines.push(
      '------',
      ...neutraliseLines(tail)
        .split('\n')
        .map((line) => `| ${line}`),
      '------',
    );
  }
  return lines;
}

function bounded(text: string): string {
  const cut = text.length > LONGEST_MESSAGE ? `${text.slice(0, LONGEST_MESSAGE)} …` : text;
  return neutraliseLines(cut);
}

function paint(text: string, color: number, style: ErrorStyle): string {
  return style.color ? `\x1b[1;${color}m${text}\x1b[0m` : text;
}
