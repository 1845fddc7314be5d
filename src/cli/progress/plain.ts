/**
 * Lines for logs and pipes. Every line begins with the number of the vertex that it is about, as other builders do it:
 *
 *     #2 [2/5] aptInstall git
 *     #2 0.213 Reading package lists...
 *     #2 DONE 12.3s
 */
import type { BuildEvent } from '../../solver/event.ts';
import type { OutputStream } from '../context.ts';
import { formatDuration } from '../quantity.ts';
import { neutralise } from '../terminal-text.ts';
import { ProgressModel, type VertexProgress, type WorkProgress } from './model.ts';
import type { LineRenderer, Ticker } from './renderer.ts';
import { finishedLines, runningLines } from './work-line.ts';

/** Often enough to see life, seldom enough not to fill a log. */
const RATES_EVERY_MS = 3000;
/** A running vertex of which nothing was heard for so long says that it is still there. */
const QUIET_MS = 15_000;

export function plainProgress(stream: OutputStream, ticker: Ticker): LineRenderer {
  const plain = new PlainProgress(stream);
  const stop = ticker.every(RATES_EVERY_MS, () => plain.tick(ticker.now()));
  return {
    event: (event) => plain.event(event),
    notice: (text) => plain.notice(text),
    close: () => {
      stop();
      plain.close();
    },
  };
}

class PlainProgress {
  readonly #stream: OutputStream;
  readonly #model = new ProgressModel();
  /** Which vertices were introduced by their title. */
  readonly #introduced = new Set<VertexProgress>();
  /** When each vertex last had a line. */
  readonly #saidMs = new Map<VertexProgress, number>();
  #current: VertexProgress | 'outputs' | undefined;
  #wroteAnything = false;
  #closed = false;

  constructor(stream: OutputStream) {
    this.#stream = stream;
  }

  event(event: BuildEvent): void {
    if (this.#closed) {
      return;
    }
    this.#model.apply(event);
    switch (event.kind) {
      case 'vertex-started':
        this.#aboutVertex(event.vertex, event.timeMs, []);
        return;
      case 'log': {
        const progress = this.#model.get(event.vertex);
        const sinceMs = event.timeMs - (progress?.startedMs ?? event.timeMs);
        this.#aboutVertex(event.vertex, event.timeMs, [
          `${(Math.max(0, sinceMs) / 1000).toFixed(3)} ${neutralise(event.text)}`.trimEnd(),
        ]);
        return;
      }
      case 'vertex-finished': {
        const progress = this.#model.get(event.vertex);
        this.#aboutVertex(event.vertex, event.timeMs, [
          ...finishedLines(progress?.works.values() ?? []),
          ending(event),
        ]);
        return;
      }
      case 'warning': {
        const text = `WARNING: ${neutralise(event.message)} (${event.code})`;
        if (event.vertex === undefined) {
          this.#write([text]);
        } else {
          this.#aboutVertex(event.vertex, event.timeMs, [text]);
        }
        return;
      }
      case 'isolation':
        this.#write([`isolation ${event.isolation}: ${neutralise(event.message)}`]);
        return;
      case 'output':
        this.#aboutOutputs([
          ...finishedLines(this.#model.outputWorks.values()),
          `${event.type} ${neutralise(event.destination)} ${event.digest} DONE`,
        ]);
        // Said; what another output does at the same time goes on.
        for (const work of this.#model.outputWorks.values()) {
          if (work.state !== 'running') {
            this.#model.outputWorks.delete(work.id);
          }
        }
        return;
      case 'plan':
      case 'progress':
      case 'built':
        return;
      default:
        event satisfies never;
    }
  }

  tick(nowMs: number): void {
    for (const progress of this.#model.vertices.values()) {
      if (progress.state !== 'running') {
        continue;
      }
      const lines = this.#workLines(progress.works.values(), nowMs);
      if (lines.length > 0) {
        this.#about(progress, nowMs, lines);
      } else if (nowMs - (this.#saidMs.get(progress) ?? progress.heardMs) >= QUIET_MS) {
        const sinceMs = nowMs - (progress.startedMs ?? nowMs);
        this.#about(progress, nowMs, [`... still running after ${formatDuration(sinceMs)}`]);
      }
    }
    const lines = this.#workLines(this.#model.outputWorks.values(), nowMs);
    if (lines.length > 0) {
      this.#aboutOutputs(lines);
    }
  }

  notice(text: string): void {
    this.#write(text.split('\n'));
  }

  close(): void {
    this.#closed = true;
    if (this.#wroteAnything) {
      this.#stream.write('\n');
      this.#wroteAnything = false;
    }
  }

  #workLines(works: Iterable<WorkProgress>, nowMs: number): string[] {
    return runningLines(works, nowMs).map((line) =>
      [line.text, line.amounts, formatDuration(nowMs - line.startedMs)]
        .filter((part) => part !== '')
        .join(' '),
    );
  }

  #aboutVertex(digest: VertexProgress['vertex']['digest'], timeMs: number, lines: readonly string[]): void {
    const progress = this.#model.get(digest);
    if (progress !== undefined) {
      this.#about(progress, timeMs, lines);
    }
  }

  #about(progress: VertexProgress, timeMs: number, lines: readonly string[]): void {
    const isNew = !this.#introduced.has(progress);
    const said = isNew ? [neutralise(this.#model.title(progress)), ...lines] : lines;
    if (said.length === 0) {
      return;
    }
    this.#introduced.add(progress);
    this.#saidMs.set(progress, timeMs);
    this.#switchTo(progress);
    this.#write(said.map((line) => `#${progress.number} ${line}`));
  }

  /** Outputs have the number after the last vertex. */
  #aboutOutputs(lines: readonly string[]): void {
    const number = this.#model.vertices.size + 1;
    this.#switchTo('outputs');
    this.#write(lines.map((line) => `#${number} ${line}`));
  }

  /** An empty line where the talk turns to another vertex. */
  #switchTo(next: VertexProgress | 'outputs'): void {
    if (this.#current !== undefined && this.#current !== next) {
      this.#stream.write('\n');
    }
    this.#current = next;
  }

  #write(lines: readonly string[]): void {
    this.#wroteAnything = true;
    this.#stream.write(`${lines.join('\n')}\n`);
  }
}

function ending(event: Extract<BuildEvent, { readonly kind: 'vertex-finished' }>): string {
  switch (event.outcome) {
    case 'cached':
      return 'CACHED';
    case 'content':
      return 'CACHED (same content)';
    case 'done':
      return `DONE ${formatDuration(event.durationMs)}`;
    case 'failed':
      return `ERROR ${formatDuration(event.durationMs)}`;
    case 'cancelled':
      return `CANCELED ${formatDuration(event.durationMs)}`;
  }
}
