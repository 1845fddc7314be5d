/** Live lines on a terminal: the picture is drawn over the one before, several times a second. */
import type { BuildEvent } from '../../solver/event.ts';
import type { OutputStream } from '../context.ts';
import { displayWidth, neutralise } from '../terminal-text.ts';
import { type FrameSize, frame } from './frame.ts';
import { ProgressModel } from './model.ts';
import type { ProgressRenderer, Ticker } from './renderer.ts';

/** Ten pictures a second look alive and cost next to nothing. */
const REDRAW_MS = 100;
/** What a terminal that does not say its size is taken for. */
const DEFAULT_COLUMNS = 80;
const DEFAULT_ROWS = 24;

const ESC = '\x1b[';
const HIDE_CURSOR = `${ESC}?25l`;
const SHOW_CURSOR = `${ESC}?25h`;
/** Synchronized output: the terminal shows the picture as a whole. Terminals that do not know it ignore it. */
const BEGIN_PICTURE = `${ESC}?2026h`;
const END_PICTURE = `${ESC}?2026l`;
const ERASE_LINE_END = `${ESC}K`;
const ERASE_BELOW = `${ESC}J`;

export interface TtyOptions {
  readonly color: boolean;
}

export function ttyProgress(stream: OutputStream, ticker: Ticker, options: TtyOptions): ProgressRenderer {
  return new TtyProgress(stream, ticker, options);
}

class TtyProgress implements ProgressRenderer {
  readonly #stream: OutputStream;
  readonly #ticker: Ticker;
  readonly #options: TtyOptions;
  readonly #model = new ProgressModel();
  readonly #stopTicking: () => void;
  readonly #onResize = () => this.#draw();
  /** The widths of the lines that are on the screen, top first. */
  #drawn: readonly number[] = [];
  /** Printed above the next picture. */
  #pending: string[] = [];
  /** The picture that is on the screen, and for how many columns it was drawn. */
  #shown = '';
  #closed = false;
  #paused = false;

  constructor(stream: OutputStream, ticker: Ticker, options: TtyOptions) {
    this.#stream = stream;
    this.#ticker = ticker;
    this.#options = options;
    this.#stopTicking = ticker.every(REDRAW_MS, () => this.#draw());
    stream.on?.('resize', this.#onResize);
  }

  event(event: BuildEvent): void {
    this.#model.apply(event);
    if (event.kind === 'warning') {
      this.notice(`WARNING: ${event.message} (${event.code})`);
    }
  }

  notice(text: string): void {
    this.#pending.push(...text.split('\n').map(neutralise));
  }

  pause(): void {
    this.#draw();
    this.#paused = true;
    // The next picture goes below what is written meanwhile.
    this.#drawn = [];
    this.#shown = '';
  }

  resume(): void {
    this.#paused = false;
  }

  close(): void {
    if (this.#closed) {
      return;
    }
    this.#paused = false;
    this.#stopTicking();
    this.#stream.off?.('resize', this.#onResize);
    this.#paint({ columns: this.#size().columns, rows: undefined }, true);
    this.#closed = true;
  }

  #draw(): void {
    if (!this.#closed && !this.#paused) {
      this.#paint(this.#size(), false);
    }
  }

  #paint(size: FrameSize, final: boolean): void {
    const nothing = this.#model.startedMs === undefined;
    const lines = nothing
      ? []
      : frame(this.#model, { size, nowMs: this.#ticker.now(), color: this.#options.color, final });
    if (lines.length === 0 && this.#pending.length === 0) {
      return;
    }
    const picture = `${size.columns} ${lines.join('\n')}`;
    if (picture === this.#shown && this.#pending.length === 0 && !final) {
      return;
    }
    this.#shown = picture;
    const up = this.#rowsOnScreen(size.columns);
    const body = [...this.#pending, ...lines].map((line) => `${line}${ERASE_LINE_END}\n`).join('');
    const start = up === 0 ? '\r' : `\r${ESC}${up}A`;
    // Wrapping notices are why what lies below is erased rather than counted.
    this.#stream.write(
      `${BEGIN_PICTURE}${HIDE_CURSOR}${start}${this.#pending.length > 0 ? ERASE_BELOW : ''}${body}${ERASE_BELOW}${SHOW_CURSOR}${END_PICTURE}`,
    );
    this.#pending = [];
    this.#drawn = final ? [] : lines.map((line) => displayWidth(neutralise(line)));
  }

  /** After the terminal became narrower, lines of the last picture take several rows each. */
  #rowsOnScreen(columns: number): number {
    return this.#drawn.reduce((rows, width) => rows + Math.max(1, Math.ceil(width / columns)), 0);
  }

  #size(): { readonly columns: number; readonly rows: number } {
    return {
      columns: positive(this.#stream.columns) ?? DEFAULT_COLUMNS,
      rows: positive(this.#stream.rows) ?? DEFAULT_ROWS,
    };
  }
}

/** Serial consoles and some pseudo-terminals report a size of 0. */
function positive(number: number | undefined): number | undefined {
  return number !== undefined && number > 0 ? number : undefined;
}
