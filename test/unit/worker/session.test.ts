import { text } from 'node:stream/consumers';
import { expect, test } from 'vitest';
import type { WorkerEvent } from '../../../src/worker/protocol.ts';
import { Session } from '../../../src/worker/session.ts';

const base64 = (value: string) => Buffer.from(value).toString('base64');

test('what comes before the program waits for it; what comes after its end goes nowhere', async () => {
  const events: WorkerEvent[] = [];
  const session = new Session((event) => events.push(event));
  session.take({ kind: 'input', base64: base64('early') });
  session.take({ kind: 'resize', columns: 10, rows: 5 });
  expect(events).toEqual([]);
  const first = session.input({ columns: 80, rows: 24 });
  const sizes: unknown[] = [];
  first.onResize(({ columns, rows }) => sizes.push([columns, rows]));
  expect(sizes).toEqual([[10, 5]]);
  first.bytes.once('data', () => undefined);
  await expect.poll(() => events).toEqual([{ kind: 'input-taken' }]);
  session.take({ kind: 'input' });
  expect(await text(first.bytes)).toBe('');

  session.take({ kind: 'input', base64: base64('late') });
  session.take({ kind: 'answer', answer: { kind: 'end' } });
  session.take({ kind: 'input', base64: base64('for the next') });
  session.take({ kind: 'input' });
  expect(await text(session.input(undefined).bytes)).toBe('for the next');
});

test('an answer may come before it is asked for, and waiting for one ends with the request', async () => {
  const session = new Session(() => undefined);
  session.take({ kind: 'answer', answer: { kind: 'end' } });
  const stop = new AbortController();
  expect(await session.answer(stop.signal)).toEqual({ kind: 'end' });
  const waiting = session.answer(stop.signal);
  const reason = new Error('over');
  stop.abort(reason);
  await expect(waiting).rejects.toBe(reason);
});
