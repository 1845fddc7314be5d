/** One line about long work: `download libc6.deb  12.3MB / 45.1MB  3.2MB/s`. */
import { formatBytes } from '../quantity.ts';
import { neutralise } from '../terminal-text.ts';
import { rate, type WorkProgress } from './model.ts';

/** More lines than this about one vertex hide the others; the rest is summed up. */
export const MOST_WORK_LINES = 4;

export interface WorkLine {
  /** What is done to what. */
  readonly text: string;
  /** `12.3MB / 45.1MB 3.2MB/s`; empty while there is nothing to count. */
  readonly amounts: string;
  readonly startedMs: number;
  readonly state: WorkProgress['state'];
}

/** What is running, each on a line; when there is more than {@link MOST_WORK_LINES}, one line for each activity. */
export function runningLines(works: Iterable<WorkProgress>, nowMs: number): WorkLine[] {
  const all = [...works];
  const running = all.filter((work) => work.state === 'running');
  if (running.length <= MOST_WORK_LINES) {
    return running.map((work) => ({
      text: `${work.activity} ${neutralise(work.subject)}`.trimEnd(),
      amounts: amounts([work], nowMs),
      startedMs: work.startedMs,
      state: work.state,
    }));
  }
  const active = new Set(running.map((work) => work.activity));
  return groups(all.filter((work) => active.has(work.activity))).map(([activity, group]) => {
    const finished = group.filter((work) => work.state !== 'running').length;
    return {
      text: `${activity} ${finished}/${group.length}`,
      amounts: amounts(group, nowMs),
      startedMs: earliest(group),
      state: 'running',
    };
  });
}

/** What was done, one line for each activity, in the order in which they began. */
export function finishedLines(works: Iterable<WorkProgress>): string[] {
  const done = [...works].filter((work) => work.state === 'done' || work.state === 'exists');
  const lines: string[] = [];
  for (const [activity, group] of groups(done)) {
    const moved = group.filter((work) => work.state === 'done');
    const kept = group.length - moved.length;
    const [only] = moved;
    const parts: string[] = [];
    if (only !== undefined) {
      const bytes = moved.reduce((sum, work) => sum + work.doneBytes, 0);
      const seconds = (Math.max(...moved.map((work) => work.updatedMs)) - earliest(moved)) / 1000;
      const what = moved.length === 1 ? neutralise(only.subject) : `${moved.length} items`;
      const size = bytes === 0 ? '' : ` ${formatBytes(bytes)}`;
      const speed = bytes > 0 && seconds >= 0.1 ? ` at ${formatBytes(bytes / seconds)}/s` : '';
      parts.push(`${activity} ${what}${size} in ${seconds.toFixed(1)}s${speed}`);
    }
    if (kept > 0) {
      parts.push(
        `${kept === 1 ? neutralise(group.find(isKept)?.subject ?? '') : `${kept} items`} already there`,
      );
    }
    lines.push(only === undefined ? `${activity} ${parts.join('')}` : parts.join(', '));
  }
  return lines;
}

function isKept(work: WorkProgress): boolean {
  return work.state === 'exists';
}

function amounts(works: readonly WorkProgress[], nowMs: number): string {
  let done = 0;
  let total = 0;
  let totalKnown = true;
  let speed = 0;
  for (const work of works) {
    done += work.doneBytes;
    if (work.totalBytes === undefined) {
      totalKnown = false;
    } else {
      total += work.totalBytes;
    }
    if (work.state === 'running') {
      speed += rate(work, nowMs) ?? 0;
    }
  }
  if (done === 0 && (!totalKnown || total === 0)) {
    return '';
  }
  const size = totalKnown ? `${formatBytes(done)} / ${formatBytes(total)}` : formatBytes(done);
  return speed > 0 ? `${size} ${formatBytes(speed)}/s` : size;
}

function groups(works: readonly WorkProgress[]): [activity: string, works: WorkProgress[]][] {
  const byActivity = new Map<string, WorkProgress[]>();
  for (const work of works) {
    const group = byActivity.get(work.activity);
    if (group === undefined) {
      byActivity.set(work.activity, [work]);
    } else {
      group.push(work);
    }
  }
  return [...byActivity];
}

function earliest(works: readonly WorkProgress[]): number {
  return Math.min(...works.map((work) => work.startedMs));
}
