import { describe, expect, test } from 'vitest';
import type { BuildEvent } from '../../../src/solver/event.ts';
import { EventStream } from '../../../src/solver/event-stream.ts';
import { BASE } from '../../support/events.ts';

const log = (text: string): BuildEvent => ({ kind: 'log', timeMs: 1, vertex: BASE, stream: 'stdout', text });
const started = (timeMs = 1): BuildEvent => ({ kind: 'vertex-started', timeMs, vertex: BASE });
const progress = (id: string, doneBytes: number, state: 'running' | 'done' = 'running'): BuildEvent => ({
  kind: 'progress',
  timeMs: 1,
  id,
  activity: 'download',
  subject: id,
  doneBytes,
  state,
});

async function read(stream: EventStream): Promise<BuildEvent[]> {
  const events: BuildEvent[] = [];
  for await (const event of stream) {
    events.push(event);
  }
  return events;
}

describe('EventStream', () => {
  test('gives what came before and after the reader, in order, until it ends', async () => {
    const stream = new EventStream();
    stream.push(log('one'));
    const reading = read(stream);
    stream.push(log('two'));
    await null;
    stream.push(log('three'));
    stream.end();
    stream.push(log('too late'));
    expect(await reading).toEqual(['one', 'two', 'three'].map(log));
    expect(await stream.next()).toEqual({ done: true, value: undefined });
  });

  test('answers readers that wait, and those that wait when it ends', async () => {
    const stream = new EventStream();
    const [first, second] = [stream.next(), stream.next()];
    stream.push(log('one'));
    stream.end();
    expect(await first).toEqual({ done: false, value: log('one') });
    expect(await second).toEqual({ done: true, value: undefined });
  });

  test('keeps the newest report of progress that nobody has read', async () => {
    const stream = new EventStream();
    for (let done = 0; done < 100; done += 1) {
      stream.push(progress('a', done));
      stream.push(progress('b', done));
    }
    stream.push(progress('a', 100, 'done'));
    stream.push(progress('a', 0));
    stream.end();
    expect(await read(stream)).toEqual([progress('b', 99), progress('a', 100, 'done'), progress('a', 0)]);
  });

  test('leaves out the oldest output beyond its limit, and says how much', async () => {
    const stream = new EventStream({ limit: 3 });
    stream.push(started(7));
    for (const text of ['1', '2', '3', '4']) {
      stream.push(log(text));
    }
    expect(await stream.next()).toMatchObject({
      value: {
        kind: 'warning',
        timeMs: 7,
        code: 'W_EVENTS_DROPPED',
        message: expect.stringMatching(/^2 events/),
      },
    });
    stream.end();
    expect(await read(stream)).toEqual([started(7), log('3'), log('4')]);
  });

  test('is bounded even where everything counts', async () => {
    const stream = new EventStream({ limit: 2 });
    for (let time = 0; time < 1000; time += 1) {
      stream.push(started(time));
    }
    stream.end();
    expect((await read(stream)).map(({ timeMs }) => timeMs)).toEqual([998, 998, 999]);
  });

  test('ends once when the reader leaves, and forgets what waits', async () => {
    let ends = 0;
    const stream = new EventStream({}, () => {
      ends += 1;
    });
    stream.push(log('one'));
    stream.push(log('two'));
    for await (const _ of stream) {
      break;
    }
    stream.push(log('three'));
    stream.end();
    expect(await read(stream)).toEqual([]);
    expect(ends).toBe(1);
  });

  test.each([0, -1, 1.5, Number.NaN])('refuses a limit of %s', (limit) => {
    expect(() => new EventStream({ limit })).toThrow(expect.objectContaining({ code: 'E_ARG_TYPE' }));
  });

  test('refuses an option that it does not have', () => {
    const options = { limt: 4 } as object;
    expect(() => new EventStream(options)).toThrow(expect.objectContaining({ code: 'E_UNKNOWN_OPTION' }));
  });
});
