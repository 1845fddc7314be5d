import { describe, expect, test } from 'vitest';
import { type CallingBack, Listeners } from '../../../src/engine/listeners.ts';
import { smallPlan } from '../../support/events.ts';

const boom = new Error('boom');
const explode = () => {
  throw boom;
};

describe('a listener that throws', () => {
  test('cancels its own operation and no other', async () => {
    const listeners = new Listeners(undefined);
    const seen: unknown[] = [];
    const other = listeners.during({}, async ({ signal }) => {
      await new Promise((resolve) => setTimeout(resolve, 10));
      return signal?.aborted;
    });
    const failing = listeners.during<CallingBack, void>(
      { logger: explode, onOutput: explode },
      async (options) => {
        options.logger?.(smallPlan);
        options.logger?.(smallPlan);
        options.onOutput?.('stdout', Buffer.from(''));
        seen.push(options.signal?.aborted, options.signal?.reason);
      },
    );
    await expect(failing).rejects.toBe(boom);
    expect(seen).toEqual([true, boom]);
    expect(await other).toBe(false);
  });

  test('of the engine cancels whatever is at work, and streams still get the event', async () => {
    const listeners = new Listeners(explode);
    const stream = listeners.stream({});
    const works = [1, 2].map(() =>
      listeners.during({}, async ({ signal }) => {
        await new Promise((resolve) => signal?.addEventListener('abort', resolve));
        signal?.throwIfAborted();
      }),
    );
    listeners.tell(smallPlan);
    for (const work of works) {
      await expect(work).rejects.toBe(boom);
    }
    expect(await stream.next()).toEqual({ done: false, value: smallPlan });
    // Nobody is there to be cancelled: then it is for whoever told it.
    expect(() => listeners.tell(smallPlan)).toThrow(boom);
  });

  test("the caller's own signal still counts", async () => {
    const abort = new AbortController();
    const work = new Listeners(undefined).during({ signal: abort.signal }, async ({ signal }) => {
      abort.abort(boom);
      signal?.throwIfAborted();
    });
    await expect(work).rejects.toBe(boom);
  });
});

test('streams end with the listeners, and stop hearing when they end', async () => {
  const listeners = new Listeners(undefined);
  const [left, kept] = [listeners.stream({}), listeners.stream({})];
  await left.return();
  listeners.tell(smallPlan);
  listeners.close();
  expect(await left.next()).toEqual({ done: true, value: undefined });
  expect(await kept.next()).toEqual({ done: false, value: smallPlan });
  expect(await kept.next()).toEqual({ done: true, value: undefined });
});
