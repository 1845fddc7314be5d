/** Warnings about lines of a Dockerfile: one line each, together, below the name of the file. */
import { relative } from 'node:path';
import type { BuildEvent } from '../solver/event.ts';
import { formatTable } from './table.ts';
import { neutralise } from './terminal-text.ts';

/** What does not fit on a screen is what `--check` is for. */
const MOST_LINES = 20;

interface Found {
  readonly line: number | undefined;
  readonly code: string;
  readonly message: string;
}

export class SourceWarnings {
  readonly #cwd: string;
  /** By file; several platforms and several images of one file say the same. */
  readonly #files = new Map<string, Map<string, Found>>();

  constructor(cwd: string) {
    this.#cwd = cwd;
  }

  /** @returns Whether the event is a warning that {@link text} shows. */
  take(event: BuildEvent): boolean {
    if (event.kind !== 'warning' || event.source === undefined) {
      return false;
    }
    const { code, message, source } = event;
    const { file, line } = source;
    const found = this.#files.get(file) ?? new Map<string, Found>();
    found.set(`${line} ${code} ${message}`, { line, code, message });
    this.#files.set(file, found);
    return true;
  }

  /** Empty when there are none. */
  text(): string {
    return [...this.#files].map(([file, found]) => this.#about(file, [...found.values()])).join('');
  }

  #about(file: string, found: readonly Found[]): string {
    const shown = found.slice(0, MOST_LINES);
    const more = found.length - shown.length;
    const table = formatTable(
      shown.map(({ line, code, message }) => [line === undefined ? '' : `line ${line}`, code, message]),
    );
    return [
      `${found.length} ${found.length === 1 ? 'warning' : 'warnings'} in ${neutralise(this.#shown(file))} (tsbuild build --check shows the lines):`,
      ...table
        .trimEnd()
        .split('\n')
        .map((row) => `  ${row}`),
      ...(more === 0 ? [] : [`  … and ${more} more`]),
      '',
    ].join('\n');
  }

  /** A path below the working directory is shorter without it. */
  #shown(file: string): string {
    const path = file.startsWith('/') ? relative(this.#cwd, file) : file;
    return path === '' || path.startsWith('..') ? file : path;
  }
}
