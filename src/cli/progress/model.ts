/**
 * What the events add up to. A reducer: it reads no clock and writes nothing, so the drawing of a build can be tested
 * event by event. The renderers share it.
 */
import type { Digest } from '../../oci/digest.ts';
import type { Activity, BuildEvent, CacheMiss, EventVertex } from '../../solver/event.ts';

export type VertexState = 'waiting' | 'running' | 'cached' | 'content' | 'done' | 'failed' | 'cancelled';

export interface VertexProgress {
  /** From 1, in the order of the plan; `#3` in plain output. */
  readonly number: number;
  readonly vertex: EventVertex;
  state: VertexState;
  startedMs: number | undefined;
  durationMs: number | undefined;
  miss: CacheMiss | undefined;
  /** The newest lines of output, oldest first, as they came. */
  readonly tail: string[];
  readonly works: Map<string, WorkProgress>;
  /** When anything was last heard of it. */
  heardMs: number;
}

/** A download, an unpacking, … */
export interface WorkProgress {
  readonly id: string;
  readonly activity: Activity;
  subject: string;
  doneBytes: number;
  totalBytes: number | undefined;
  state: 'running' | 'done' | 'exists' | 'failed';
  readonly startedMs: number;
  updatedMs: number;
  /** Bytes at a few earlier times, oldest first, for the rate of the last seconds. */
  readonly samples: { readonly timeMs: number; readonly doneBytes: number }[];
}

export interface OutputDone {
  readonly type: string;
  readonly destination: string;
  readonly digest: Digest;
}

/** More lines than any terminal is high would never be seen. */
const TAIL_LINES = 50;
/** Nor would the rest of a line longer than any terminal is wide. */
const LONGEST_LINE = 2000;
/** The rate is that of the last five seconds: quick to follow, slow enough to read. */
const RATE_WINDOW_MS = 5000;
const SAMPLE_EVERY_MS = 250;

export class ProgressModel {
  /** In the order of the plan. */
  readonly vertices = new Map<Digest, VertexProgress>();
  /** Work of outputs, which belongs to no vertex. */
  readonly outputWorks = new Map<string, WorkProgress>();
  readonly outputs: OutputDone[] = [];
  startedMs: number | undefined;
  builtMs: number | undefined;
  /** Of the newest event. */
  lastMs: number | undefined;
  /** The highest layer of each definition. */
  readonly #lastLayers = new Map<string | undefined, number>();

  apply(event: BuildEvent): void {
    this.startedMs ??= event.timeMs;
    this.lastMs = event.timeMs;
    switch (event.kind) {
      case 'plan':
        for (const vertex of event.vertices) {
          this.#plan(vertex, event.timeMs);
        }
        return;
      case 'vertex-started': {
        const progress = this.#vertex(event.vertex, event.timeMs);
        progress.state = 'running';
        progress.startedMs = event.timeMs;
        return;
      }
      case 'vertex-finished': {
        const progress = this.#vertex(event.vertex, event.timeMs);
        progress.state = event.outcome;
        progress.durationMs = event.durationMs;
        progress.miss = event.miss;
        return;
      }
      case 'log': {
        const { tail } = this.#vertex(event.vertex, event.timeMs);
        tail.push(event.text.slice(0, LONGEST_LINE));
        if (tail.length > TAIL_LINES) {
          tail.shift();
        }
        return;
      }
      case 'progress': {
        const works =
          event.vertex === undefined ? this.outputWorks : this.#vertex(event.vertex, event.timeMs).works;
        applyWork(works, event);
        return;
      }
      case 'warning':
      case 'isolation':
        return;
      case 'built':
        this.builtMs = event.timeMs;
        return;
      case 'output':
        this.outputs.push(event);
        return;
      default:
        event satisfies never;
    }
  }

  /** How many vertices are finished, and of how many. */
  count(): { readonly finished: number; readonly total: number } {
    let finished = 0;
    for (const { state } of this.vertices.values()) {
      if (state !== 'waiting' && state !== 'running') {
        finished += 1;
      }
    }
    return { finished, total: this.vertices.size };
  }

  /** Everything is built and nothing is written out: what goes on now, such as a container, is not our story. */
  get idle(): boolean {
    return (
      this.builtMs !== undefined && ![...this.outputWorks.values()].some((work) => work.state === 'running')
    );
  }

  get(digest: Digest): VertexProgress | undefined {
    return this.vertices.get(digest);
  }

  /** `[2/5] aptInstall git`; with several definitions, `[web 2/5] aptInstall git`. */
  title(of: VertexProgress): string {
    const { layer, definition, label } = of.vertex;
    // Steps of a Dockerfile count by themselves, stage by stage.
    if (layer === undefined || label.startsWith('[')) {
      return label;
    }
    const last = this.#lastLayers.get(definition) ?? layer;
    const name = this.#lastLayers.size > 1 && definition !== undefined ? `${shortName(definition)} ` : '';
    return `[${name}${layer + 1}/${last + 1}] ${label}`;
  }

  #plan(vertex: EventVertex, timeMs: number): void {
    const { layer, definition } = vertex;
    if (layer !== undefined) {
      this.#lastLayers.set(definition, Math.max(layer, this.#lastLayers.get(definition) ?? 0));
    }
    const known = this.vertices.get(vertex.digest);
    if (known === undefined) {
      this.vertices.set(vertex.digest, newVertex(this.vertices.size + 1, vertex, timeMs));
    } else if (known.state !== 'running') {
      // Another build in the same engine, after the first.
      this.vertices.set(vertex.digest, newVertex(known.number, vertex, timeMs));
    }
  }

  /** Events of a vertex that no plan named are drawn all the same: losing them would hide a bug and a log. */
  #vertex(digest: Digest, timeMs: number): VertexProgress {
    let progress = this.vertices.get(digest);
    if (progress === undefined) {
      const label = digest.slice(0, 'sha256:'.length + 12);
      progress = newVertex(this.vertices.size + 1, { digest, label, inputs: [] }, timeMs);
      this.vertices.set(digest, progress);
    }
    progress.heardMs = timeMs;
    return progress;
  }
}

/** Bytes per second over the last seconds; undefined while there is nothing to tell from. */
export function rate(work: WorkProgress, nowMs: number): number | undefined {
  const first = work.samples[0];
  if (first === undefined) {
    return undefined;
  }
  const endMs = work.state === 'running' ? nowMs : work.updatedMs;
  const elapsedMs = endMs - first.timeMs;
  return elapsedMs < SAMPLE_EVERY_MS ? undefined : ((work.doneBytes - first.doneBytes) * 1000) / elapsedMs;
}

function applyWork(
  works: Map<string, WorkProgress>,
  event: Extract<BuildEvent, { readonly kind: 'progress' }>,
): void {
  let work = works.get(event.id);
  if (work === undefined || (work.state !== 'running' && event.state === 'running')) {
    work = {
      id: event.id,
      activity: event.activity,
      subject: event.subject,
      doneBytes: 0,
      totalBytes: undefined,
      state: event.state,
      startedMs: event.timeMs,
      updatedMs: event.timeMs,
      samples: [],
    };
    works.set(event.id, work);
  }
  work.subject = event.subject;
  work.doneBytes = event.doneBytes;
  work.totalBytes = event.totalBytes;
  work.state = event.state;
  work.updatedMs = event.timeMs;
  const newest = work.samples.at(-1);
  if (newest === undefined || event.timeMs - newest.timeMs >= SAMPLE_EVERY_MS) {
    work.samples.push({ timeMs: event.timeMs, doneBytes: event.doneBytes });
    while (work.samples.length > 1 && event.timeMs - (work.samples[0]?.timeMs ?? 0) > RATE_WINDOW_MS) {
      work.samples.shift();
    }
  }
}

function newVertex(number: number, vertex: EventVertex, timeMs: number): VertexProgress {
  return {
    number,
    vertex,
    state: 'waiting',
    startedMs: undefined,
    durationMs: undefined,
    miss: undefined,
    tail: [],
    works: new Map(),
    heardMs: timeMs,
  };
}

/** The export of a definition, or its file's name for the default one. */
function shortName(definition: string): string {
  const [path = '', exportName = 'default'] = definition.split('::');
  return exportName === 'default' ? (path.split('/').at(-1) ?? path) : exportName;
}
