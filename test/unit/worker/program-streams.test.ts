import { PassThrough, Readable } from 'node:stream';
import { expect, test } from 'vitest';
import { InputPump } from '../../../src/worker/program-streams.ts';
import type { SessionMessage } from '../../../src/worker/protocol.ts';

function started(streams: ConstructorParameters<typeof InputPump>[0]) {
  const sent: SessionMessage[] = [];
  const pump = new InputPump(streams);
  pump.start((message) => sent.push(message));
  return { pump, sent, taken: () => pump.hear({ kind: 'input-taken' }) };
}

const textOf = (messages: readonly SessionMessage[]) =>
  Buffer.concat(
    messages.flatMap((message) =>
      message.kind === 'input' && message.base64 !== undefined ? [Buffer.from(message.base64, 'base64')] : [],
    ),
  ).toString();

test('one piece is under way at a time, and the end comes last', () => {
  const text = 'x'.repeat(100_000);
  const { sent, taken } = started({ stdin: text });
  expect(sent).toHaveLength(1);
  taken();
  taken();
  expect(sent).toHaveLength(3);
  taken();
  expect(sent.at(-1)).toEqual({ kind: 'input' });
  expect(textOf(sent)).toBe(text);
});

test('a stream is read as far as the program reads, and can be read on afterwards', async () => {
  const stdin = new PassThrough();
  const { pump, sent, taken } = started({ stdin });
  stdin.write('one');
  await expect.poll(() => textOf(sent)).toBe('one');
  stdin.write('two');
  await new Promise(setImmediate);
  expect(textOf(sent)).toBe('one');
  taken();
  await expect.poll(() => textOf(sent)).toBe('onetwo');
  pump.stop();
  stdin.write('three');
  await new Promise(setImmediate);
  expect(String(stdin.read())).toBe('three');
  expect(textOf(sent)).toBe('onetwo');
  expect(stdin.listenerCount('data') + stdin.listenerCount('error')).toBe(0);
});

test('other sources are closed when the program ends', async () => {
  let closed = false;
  async function* source() {
    try {
      yield 'a';
      yield 'b';
    } finally {
      closed = true;
    }
  }
  const { pump, sent } = started({ stdin: source() });
  await expect.poll(() => textOf(sent)).toBe('a');
  pump.stop();
  await expect.poll(() => closed).toBe(true);
});

test('one that has ended already is an end', () => {
  const stdin = Readable.from([]);
  stdin.destroy();
  expect(started({ stdin }).sent).toEqual([{ kind: 'input' }]);
});
