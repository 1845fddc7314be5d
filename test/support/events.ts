/** A small build as events, for everything that draws them. */
import type { BuildEvent } from '../../src/solver/event.ts';
import { digestOf } from './fake-engine.ts';

export const BASE = digestOf('1');
export const APT = digestOf('2');
export const PIP = digestOf('3');
const START_MS = 1_000_000;

type Timed = BuildEvent extends infer E ? (E extends BuildEvent ? Omit<E, 'timeMs'> : never) : never;

export function at(sinceStartMs: number, event: Timed): BuildEvent {
  return { ...event, timeMs: START_MS + sinceStartMs } as BuildEvent;
}

export const startMs = START_MS;

export const smallPlan: BuildEvent = at(0, {
  kind: 'plan',
  vertices: [
    { digest: BASE, label: 'debianSlim 3.13', inputs: [], layer: 0, definition: '/w/image.ts::default' },
    { digest: APT, label: 'aptInstall git', inputs: [BASE], layer: 1, definition: '/w/image.ts::default' },
    { digest: PIP, label: 'pipInstall numpy', inputs: [APT], layer: 2, definition: '/w/image.ts::default' },
  ],
});

/** A cached base, a step with output and downloads, a step that fails. */
export const smallBuild: readonly BuildEvent[] = [
  smallPlan,
  at(2, { kind: 'vertex-finished', vertex: BASE, outcome: 'cached', durationMs: 0 }),
  at(5, { kind: 'vertex-started', vertex: APT }),
  at(218, { kind: 'log', vertex: APT, stream: 'stdout', text: 'Reading package lists...' }),
  at(400, {
    kind: 'progress',
    vertex: APT,
    id: 'libc',
    activity: 'download',
    subject: 'libc6_2.41_amd64.deb',
    doneBytes: 0,
    totalBytes: 3_000_000,
    state: 'running',
  }),
  at(1400, {
    kind: 'progress',
    vertex: APT,
    id: 'libc',
    activity: 'download',
    subject: 'libc6_2.41_amd64.deb',
    doneBytes: 1_500_000,
    totalBytes: 3_000_000,
    state: 'running',
  }),
];

export const smallBuildEnd: readonly BuildEvent[] = [
  at(2400, {
    kind: 'progress',
    vertex: APT,
    id: 'libc',
    activity: 'download',
    subject: 'libc6_2.41_amd64.deb',
    doneBytes: 3_000_000,
    totalBytes: 3_000_000,
    state: 'done',
  }),
  at(2500, { kind: 'log', vertex: APT, stream: 'stderr', text: 'W: \u001b[31mred\u001b[0m\u0007 bell' }),
  at(2600, { kind: 'vertex-finished', vertex: APT, outcome: 'done', durationMs: 2595 }),
  at(2601, { kind: 'vertex-started', vertex: PIP }),
  at(2700, { kind: 'warning', vertex: PIP, code: 'W_UNPINNED', message: "'numpy' has no version" }),
  at(3100, { kind: 'vertex-finished', vertex: PIP, outcome: 'failed', durationMs: 499 }),
];
