/** The picture of a build at one instant, as lines that fit the terminal. Pure. */
import { formatDuration } from '../quantity.ts';
import { displayWidth, neutralise, truncate } from '../terminal-text.ts';
import type { ProgressModel, VertexProgress } from './model.ts';
import { finishedLines, runningLines } from './work-line.ts';

export interface FrameSize {
  readonly columns: number;
  /** Undefined: as many as there are. */
  readonly rows: number | undefined;
}

export interface FrameOptions {
  readonly size: FrameSize;
  readonly nowMs: number;
  readonly color: boolean;
  /** The last picture: nothing runs any more, and nothing is left out. */
  readonly final: boolean;
}

/** Lines of output shown below a running vertex when there is room. */
const TAIL_SHOWN = 6;
/** ` 12.3s`: what is left of the times stands in columns. */
const TIME_WIDTH = 7;

type Tone = 'plain' | 'cached' | 'failed' | 'faint' | 'done';

interface Line {
  readonly left: string;
  /** Given up first where there is little room. */
  readonly middle?: string;
  readonly right: string;
  readonly tone: Tone;
}

interface Block {
  readonly head: Line;
  readonly below: readonly Line[];
  readonly finished: boolean;
}

export function frame(model: ProgressModel, options: FrameOptions): string[] {
  const blocks = [...model.vertices.values()]
    .filter((progress) => progress.state !== 'waiting')
    .map((progress) => vertexBlock(model, progress, options));
  const outputs = outputBlock(model, options);
  if (outputs !== undefined) {
    blocks.push(outputs);
  }
  const lines = [header(model, options), ...choose(blocks, options.size.rows)];
  return lines.map((line) => layOut(line, options.size.columns, options.color));
}

function header(model: ProgressModel, options: FrameOptions): Line {
  const { finished, total } = model.count();
  const endMs = model.idle ? (model.lastMs ?? options.nowMs) : options.nowMs;
  const elapsedMs = endMs - (model.startedMs ?? endMs);
  const over = (options.final || model.idle) && finished === total;
  return {
    left: `[+] Building ${formatDuration(elapsedMs)} (${finished}/${total})${over ? ' FINISHED' : ''}`,
    right: '',
    tone: over ? 'done' : 'plain',
  };
}

function vertexBlock(model: ProgressModel, progress: VertexProgress, options: FrameOptions): Block {
  const title = neutralise(model.title(progress));
  const running = progress.state === 'running';
  const durationMs = running
    ? options.nowMs - (progress.startedMs ?? options.nowMs)
    : (progress.durationMs ?? 0);
  const head: Line = {
    left: ` => ${prefixOf(progress)}${title}`,
    right: formatDuration(durationMs),
    tone: toneOf(progress),
  };
  if (!running) {
    return { head, below: [], finished: true };
  }
  const work = runningLines(progress.works.values(), options.nowMs).map(
    (line): Line => ({
      left: ` => => ${line.text}`,
      middle: line.amounts,
      right: formatDuration(options.nowMs - line.startedMs),
      tone: 'plain',
    }),
  );
  const tail = progress.tail
    .slice(-TAIL_SHOWN)
    .map((text): Line => ({ left: ` => => # ${neutralise(text)}`, right: '', tone: 'faint' }));
  return { head, below: [...work, ...tail], finished: false };
}

function outputBlock(model: ProgressModel, options: FrameOptions): Block | undefined {
  if (model.outputs.length === 0 && model.outputWorks.size === 0) {
    return undefined;
  }
  const running = runningLines(model.outputWorks.values(), options.nowMs);
  const startedMs = Math.min(options.nowMs, ...[...model.outputWorks.values()].map((work) => work.startedMs));
  const below = [
    ...finishedLines(model.outputWorks.values()).map(
      (text): Line => ({
        left: ` => => ${text}`,
        right: '',
        tone: 'done',
      }),
    ),
    ...running.map(
      (line): Line => ({
        left: ` => => ${line.text}`,
        right: formatDuration(options.nowMs - line.startedMs),
        tone: 'plain',
      }),
    ),
    ...model.outputs.map(
      (output): Line => ({
        left: ` => => ${output.type} ${neutralise(output.destination)} ${output.digest}`,
        right: '',
        tone: 'done',
      }),
    ),
  ];
  return {
    head: {
      left: ' => exporting',
      right: running.length === 0 ? '' : formatDuration(options.nowMs - startedMs),
      tone: running.length === 0 ? 'done' : 'plain',
    },
    below,
    finished: false,
  };
}

/**
 * As many lines as there are rows below the header. What runs comes first; then what it says, newest last; then what
 * finished, newest last.
 */
function choose(blocks: readonly Block[], rows: number | undefined): Line[] {
  if (rows === undefined) {
    return blocks.flatMap((block) => [block.head, ...block.below]);
  }
  // The header, and the row on which the cursor rests.
  let room = Math.max(0, rows - 2);
  const running = blocks.filter((block) => !block.finished);
  const shownRunning = new Set(running.slice(0, room));
  room -= shownRunning.size;
  const below = new Map<Block, number>();
  for (let depth = 1; room > 0 && depth <= TAIL_SHOWN * 2; depth += 1) {
    for (const block of shownRunning) {
      if (room > 0 && block.below.length >= depth) {
        below.set(block, depth);
        room -= 1;
      }
    }
  }
  const finished = blocks.filter((block) => block.finished);
  const shownFinished = new Set(room > 0 ? finished.slice(-room) : []);
  const lines: Line[] = [];
  for (const block of blocks) {
    if (shownFinished.has(block)) {
      lines.push(block.head);
    } else if (shownRunning.has(block)) {
      const count = below.get(block) ?? 0;
      lines.push(block.head, ...(count === 0 ? [] : block.below.slice(-count)));
    }
  }
  return lines;
}

function prefixOf(progress: VertexProgress): string {
  switch (progress.state) {
    case 'cached':
    case 'content':
      return 'CACHED ';
    case 'failed':
      return 'ERROR ';
    case 'cancelled':
      return 'CANCELED ';
    default:
      return '';
  }
}

function toneOf(progress: VertexProgress): Tone {
  switch (progress.state) {
    case 'failed':
      return 'failed';
    case 'cached':
    case 'content':
      return 'cached';
    case 'done':
      return 'done';
    default:
      return 'plain';
  }
}

/** Less than this of what a line is about says nothing. */
const LEAST_LEFT = 14;

/** One column stays free: a terminal that wraps at the last cell would otherwise count one row more than we do. */
function layOut(line: Line, columns: number, color: boolean): string {
  const width = Math.max(1, columns - 1);
  const right = line.right === '' ? '' : ` ${line.right}`;
  const middle = line.middle === undefined || line.middle === '' ? '' : ` ${line.middle}`;
  // Where numbers would take the place of what they are about, the numbers go.
  const tail = [middle + right.padStart(middle === '' ? 0 : TIME_WIDTH), right, ''].find(
    (candidate) =>
      candidate === '' || width - displayWidth(candidate) >= Math.min(LEAST_LEFT, line.left.length),
  );
  const room = width - displayWidth(tail ?? '');
  const left = truncate(line.left, room);
  const text = tail === undefined || tail === '' ? left : `${pad(left, room)}${tail}`;
  return color ? paint(text, line.tone) : text;
}

function pad(text: string, width: number): string {
  return text + ' '.repeat(Math.max(0, width - displayWidth(text)));
}

function paint(text: string, tone: Tone): string {
  const code = { plain: '', cached: '36', failed: '31', faint: '2', done: '34' }[tone];
  return code === '' ? text : `\x1b[${code}m${text}\x1b[0m`;
}
