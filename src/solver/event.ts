/**
 * The only source of progress and logs: the command line draws them, the library hands them out.
 * A closed union. Times are milliseconds since the epoch, and come from the clock that the engine was given.
 */
import type { Isolation } from '../base/isolation.ts';
import type { Digest } from '../oci/digest.ts';

/** A place in a file that somebody wrote. */
export interface WarningSource {
  /** As messages show it. */
  readonly file: string;
  /** From 1. */
  readonly line?: number;
}

export type BuildEvent =
  /** The build's graph is known. Sent before any work. */
  | { readonly kind: 'plan'; readonly timeMs: number; readonly vertices: readonly EventVertex[] }
  | { readonly kind: 'vertex-started'; readonly timeMs: number; readonly vertex: Digest }
  | {
      readonly kind: 'vertex-finished';
      readonly timeMs: number;
      readonly vertex: Digest;
      /** `content`: found by the content of its inputs after the definition missed. */
      readonly outcome: 'cached' | 'content' | 'done' | 'failed' | 'cancelled';
      readonly durationMs: number;
      /** Why a result could not be reused. Only with `done` and `failed`. */
      readonly miss?: CacheMiss;
    }
  /** A line of a step's output, secrets masked. */
  | {
      readonly kind: 'log';
      readonly timeMs: number;
      readonly vertex: Digest;
      readonly stream: 'stdout' | 'stderr';
      readonly text: string;
    }
  /** Long work within a vertex or an output: a download, an unpacking, a compression, an upload. */
  | {
      readonly kind: 'progress';
      readonly timeMs: number;
      /** Whose work it is; absent for outputs. */
      readonly vertex?: Digest;
      /** Stable within the build, for example a blob's digest and what is done with it. */
      readonly id: string;
      readonly activity: Activity;
      /** What is worked on, short: `sha256:1a2b…`, `libc6_2.41_amd64.deb`. */
      readonly subject: string;
      readonly doneBytes: number;
      readonly totalBytes?: number;
      readonly state: 'running' | 'done' | 'exists' | 'failed';
    }
  | {
      readonly kind: 'warning';
      readonly timeMs: number;
      readonly vertex?: Digest;
      readonly code: string;
      readonly message: string;
      /** Where in a Dockerfile. */
      readonly source?: WarningSource;
    }
  /** Steps are about to run, kept apart so; what that cannot promise. Where it is weak, a warning comes in its place. */
  | {
      readonly kind: 'isolation';
      readonly timeMs: number;
      readonly isolation: Isolation;
      readonly message: string;
    }
  /** Everything is built; outputs may follow. */
  | { readonly kind: 'built'; readonly timeMs: number; readonly durationMs: number }
  | {
      readonly kind: 'output';
      readonly timeMs: number;
      readonly type: string;
      readonly destination: string;
      readonly digest: Digest;
    };

export type Activity =
  | 'resolve'
  | 'download'
  | 'verify'
  | 'unpack'
  | 'configure'
  | 'copy'
  | 'compress'
  | 'upload'
  | 'write'
  | 'wait';

export interface EventVertex {
  readonly digest: Digest;
  readonly label: string;
  readonly inputs: readonly Digest[];
  readonly layer?: number;
  readonly definition?: string;
}

export interface CacheMiss {
  /** `new`: never run. `forced`: asked for. `changed`: `differences` says what. `gone`: its result was removed. `input`: only an input differs. */
  readonly reason: 'new' | 'forced' | 'changed' | 'gone' | 'input';
  readonly differences: readonly FieldDifference[];
}

/** One field or one file that differs from the last time the same step ran. */
export interface FieldDifference {
  readonly field: string;
  readonly before?: string;
  readonly after?: string;
}

/** What code that works sends; the solver adds the time. */
export type EventDraft = BuildEvent extends infer E
  ? E extends BuildEvent
    ? Omit<E, 'timeMs'>
    : never
  : never;
export type Emit = (event: EventDraft) => void;
