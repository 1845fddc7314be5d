/**
 * What a step says: secrets masked, cut into lines, shown as it comes, and complete in a log file.
 *
 * A line of the file is `TIME STREAM TEXT`, the time in milliseconds since the epoch. A stream named with `+`
 * (`stdout+`) says that the line goes on in the next record of that stream: lines of any length are kept, none in memory. The
 * stream `tsbuild` is what we say ourselves. Of a step that says too much the beginning and the end are kept.
 */
import { closeSync, mkdirSync, openSync, rmSync, writeSync } from 'node:fs';
import { dirname } from 'node:path';
import { SecretMask } from '../secret/mask.ts';

export type StreamName = 'stdout' | 'stderr';

/** A longer line is passed on in parts. */
const MAX_LINE_BYTES = 64 * 1024;
/** A prompt or a progress line without its end is shown after this. */
const PARTIAL_DELAY_MS = 100;
const TAIL_LINES = 50;
const TAIL_BYTES = 8 * 1024;
const FLUSH_BYTES = 64 * 1024;
/** What compiling a large program says is a tenth of it. */
const MAX_LOG_BYTES = 16 * 1024 * 1024;
/** How much of the end is kept of a log that is longer. */
const LOG_END_BYTES = 256 * 1024;

export interface StepOutputOptions {
  /** Made anew; a step that says nothing has none. Absent keeps no file. */
  readonly logPath?: string;
  /** Of the file, without its end. @defaultValue 16 MiB */
  readonly maxLogBytes?: number;
  readonly secrets: readonly (string | Uint8Array)[];
  readonly onText: (stream: StreamName, text: string, timeMs: number) => void;
}

interface StreamState {
  readonly mask: SecretMask;
  /** Since the last line feed, as bytes. */
  line: string;
  /** How much of `line` was shown already. */
  shown: number;
}

export class StepOutput {
  readonly #options: StepOutputOptions;
  readonly #streams: Record<StreamName, StreamState>;
  readonly #tail: string[] = [];
  #file: number | undefined;
  #written = 0;
  /** Records after those that the file takes, the oldest first. */
  readonly #end: Buffer[] = [];
  #endBytes = 0;
  #leftOutBytes = 0;
  #pending = '';
  #timer: NodeJS.Timeout | undefined;

  constructor(options: StepOutputOptions) {
    this.#options = options;
    const state = (): StreamState => ({ mask: new SecretMask(options.secrets), line: '', shown: 0 });
    this.#streams = { stdout: state(), stderr: state() };
    if (options.logPath !== undefined) {
      // An attempt that failed had the same name.
      rmSync(options.logPath, { force: true });
    }
  }

  write(stream: StreamName, chunk: Buffer): void {
    this.#take(stream, this.#streams[stream].mask.push(chunk.toString('latin1')));
    this.#flush();
    if (this.#timer === undefined && (this.#isPartial('stdout') || this.#isPartial('stderr'))) {
      this.#timer = setTimeout(() => {
        this.#timer = undefined;
        this.#showPartial('stdout');
        this.#showPartial('stderr');
      }, PARTIAL_DELAY_MS);
    }
  }

  /** One exec ends: what has no line feed is a line all the same. */
  endExec(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    for (const stream of ['stdout', 'stderr'] as const) {
      const state = this.#streams[stream];
      this.#take(stream, state.mask.end());
      if (state.line !== '') {
        this.#line(stream, state, false);
      }
    }
    this.#flush();
  }

  /** Something that the step did not say itself, for the file only. */
  note(text: string): void {
    const mask = new SecretMask(this.#options.secrets);
    // Before blanks become one: those of a value are a part of it.
    const masked = mask.push(Buffer.from(text, 'utf8').toString('latin1')) + mask.end();
    this.#record(`${Date.now()} tsbuild ${masked.replace(/[\t-\r ]+/g, ' ')}\n`);
    this.#flush();
  }

  close(): void {
    this.endExec();
    this.#writeEnd();
    if (this.#file !== undefined) {
      closeSync(this.#file);
      this.#file = undefined;
    }
  }

  /** The last lines, bounded. */
  tail(): string {
    const text = this.#tail.join('\n');
    return text.length > TAIL_BYTES ? text.slice(-TAIL_BYTES) : text;
  }

  #take(stream: StreamName, bytes: string): void {
    const state = this.#streams[stream];
    let from = 0;
    for (let at = bytes.indexOf('\n'); at >= 0; at = bytes.indexOf('\n', from)) {
      state.line += bytes.slice(from, at);
      from = at + 1;
      while (state.line.length > MAX_LINE_BYTES) {
        this.#cut(stream, state);
      }
      this.#line(stream, state, true);
    }
    state.line += bytes.slice(from);
    while (state.line.length > MAX_LINE_BYTES) {
      this.#cut(stream, state);
    }
  }

  #line(stream: StreamName, state: StreamState, ended: boolean): void {
    const line = ended && state.line.endsWith('\r') ? state.line.slice(0, -1) : state.line;
    const timeMs = Date.now();
    this.#record(`${timeMs} ${stream} ${line}\n`);
    this.#remember(line);
    if (state.shown === 0 || line.length > state.shown) {
      this.#options.onText(stream, textOf(line.slice(state.shown)), timeMs);
    }
    state.line = '';
    state.shown = 0;
  }

  #cut(stream: StreamName, state: StreamState): void {
    const end = characterEnd(state.line.slice(0, MAX_LINE_BYTES));
    const part = state.line.slice(0, end);
    const timeMs = Date.now();
    this.#record(`${timeMs} ${stream}+ ${part}\n`);
    this.#options.onText(stream, textOf(part.slice(state.shown)), timeMs);
    state.line = state.line.slice(end);
    state.shown = 0;
  }

  #isPartial(stream: StreamName): boolean {
    const state = this.#streams[stream];
    return state.line.length > state.shown;
  }

  #showPartial(stream: StreamName): void {
    const state = this.#streams[stream];
    const end = characterEnd(state.line);
    if (end > state.shown) {
      this.#options.onText(stream, textOf(state.line.slice(state.shown, end)), Date.now());
      state.shown = end;
    }
  }

  #remember(line: string): void {
    this.#tail.push(textOf(line.length > TAIL_BYTES ? line.slice(-TAIL_BYTES) : line));
    if (this.#tail.length > TAIL_LINES) {
      this.#tail.shift();
    }
  }

  #record(record: string): void {
    this.#pending += record;
    if (this.#pending.length > FLUSH_BYTES) {
      this.#flush();
    }
  }

  #flush(): void {
    const { logPath } = this.#options;
    if (this.#pending === '' || logPath === undefined) {
      this.#pending = '';
      return;
    }
    if (this.#file === undefined) {
      mkdirSync(dirname(logPath), { recursive: true });
      this.#file = openSync(logPath, 'w', 0o600);
    }
    const bytes = Buffer.from(this.#pending, 'latin1');
    this.#pending = '';
    const { maxLogBytes = MAX_LOG_BYTES } = this.#options;
    if (this.#written >= maxLogBytes) {
      this.#keepForEnd(bytes);
    } else {
      this.#append(bytes);
    }
  }

  #append(bytes: Buffer): void {
    if (this.#file === undefined) {
      return;
    }
    this.#written += bytes.length;
    for (let done = 0; done < bytes.length; ) {
      done += writeSync(this.#file, bytes, done);
    }
  }

  #keepForEnd(bytes: Buffer): void {
    this.#end.push(bytes);
    this.#endBytes += bytes.length;
    for (let first = this.#end[0]; first !== undefined && this.#endBytes > LOG_END_BYTES; ) {
      const over = this.#endBytes - LOG_END_BYTES;
      // Whole records only.
      const cut = first.indexOf('\n', Math.min(over, first.length) - 1) + 1 || first.length;
      this.#leftOutBytes += cut;
      this.#endBytes -= cut;
      if (cut === first.length) {
        this.#end.shift();
        first = this.#end[0];
      } else {
        first = first.subarray(cut);
        this.#end[0] = first;
      }
    }
  }

  #writeEnd(): void {
    if (this.#leftOutBytes > 0) {
      this.#append(
        Buffer.from(`${Date.now()} tsbuild ${this.#leftOutBytes} bytes of the log are left out here\n`),
      );
    }
    for (const bytes of this.#end.splice(0)) {
      this.#append(bytes);
    }
    this.#leftOutBytes = 0;
    this.#endBytes = 0;
  }
}

function textOf(bytes: string): string {
  return Buffer.from(bytes, 'latin1').toString('utf8');
}

/** Where the last whole UTF-8 character of the bytes ends; all of them if they are not UTF-8 anyway. */
function characterEnd(bytes: string): number {
  for (let back = 1; back <= Math.min(4, bytes.length); back += 1) {
    const byte = bytes.charCodeAt(bytes.length - back);
    if (byte < 0x80) {
      return bytes.length;
    }
    if (byte >= 0xc0) {
      const needed = byte >= 0xf0 ? 4 : byte >= 0xe0 ? 3 : 2;
      return needed > back ? bytes.length - back : bytes.length;
    }
  }
  return bytes.length;
}
