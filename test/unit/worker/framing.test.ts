import fc from 'fast-check';
import { expect, test } from 'vitest';
import { InternalError } from '../../../src/errors.ts';
import { encodeFrame, FrameReader } from '../../../src/worker/framing.ts';
import { MAX_MESSAGE_BYTES } from '../../../src/worker/protocol.ts';

function header(length: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(length);
  return bytes;
}

test('a frame is the length in bytes and the JSON', () => {
  expect(encodeFrame({ a: '€' })).toEqual(Buffer.from('\0\0\0\x0b{"a":"€"}'));
});

test('what is written is read, wherever it is cut', () => {
  fc.assert(
    fc.property(
      fc.array(fc.jsonValue(), { maxLength: 8 }),
      fc.array(fc.nat(400), { maxLength: 30 }),
      (messages, cuts) => {
        const bytes = Buffer.concat(messages.map(encodeFrame));
        const places = [...new Set([0, ...cuts, bytes.length])].filter((cut) => cut <= bytes.length);
        places.sort((left, right) => left - right);
        const reader = new FrameReader();
        const read = places.flatMap((cut, index) => reader.push(bytes.subarray(cut, places[index + 1])));
        expect(read).toEqual(JSON.parse(JSON.stringify(messages)));
      },
    ),
    { numRuns: 500 },
  );
});

test('byte by byte, with empty chunks between', () => {
  const reader = new FrameReader();
  const messages = [{ id: 1 }, 'grüße', null, [1, 2]];
  const read = [...Buffer.concat(messages.map(encodeFrame))].flatMap((byte) => [
    ...reader.push(Buffer.alloc(0)),
    ...reader.push(Buffer.of(byte)),
  ]);
  expect(read).toEqual(messages);
});

test('a message comes as soon as its last byte is there', () => {
  const reader = new FrameReader();
  const frame = encodeFrame({ id: 7 });
  expect(reader.push(frame.subarray(0, -1))).toEqual([]);
  expect(reader.push(Buffer.concat([frame.subarray(-1), frame.subarray(0, 3)]))).toEqual([{ id: 7 }]);
  expect(reader.push(frame.subarray(3))).toEqual([{ id: 7 }]);
});

test('a large message in small chunks', () => {
  const message = { text: 'x'.repeat(5_000_000) };
  const bytes = encodeFrame(message);
  const reader = new FrameReader();
  const read: unknown[] = [];
  for (let at = 0; at < bytes.length; at += 1000) {
    read.push(...reader.push(bytes.subarray(at, at + 1000)));
  }
  expect(read).toEqual([message]);
});

test('a message that is too long is refused before it is read', () => {
  expect(() => new FrameReader().push(header(MAX_MESSAGE_BYTES + 1))).toThrow(InternalError);
  expect(() => new FrameReader().push(header(0xffffffff))).toThrow(InternalError);
  expect(new FrameReader().push(header(MAX_MESSAGE_BYTES))).toEqual([]);
  const late = new FrameReader();
  expect(() => late.push(Buffer.concat([encodeFrame('fine'), header(0xffffffff)]))).toThrow(InternalError);
});

test('a message that is too long is not written', () => {
  // Two bytes are the quotation marks.
  expect(encodeFrame('x'.repeat(MAX_MESSAGE_BYTES - 2))).toHaveLength(MAX_MESSAGE_BYTES + 4);
  expect(() => encodeFrame('x'.repeat(MAX_MESSAGE_BYTES - 1))).toThrow(InternalError);
  expect(() => encodeFrame('€'.repeat(MAX_MESSAGE_BYTES / 3))).toThrow(InternalError);
});

test.each([
  ['no JSON', Buffer.concat([header(5), Buffer.from('{"a":')])],
  ['nothing', header(0)],
  ['a program that prints', Buffer.from('\0\0\0\x05hello')],
])('%s is an error of ours', (_what, bytes) => {
  expect(() => new FrameReader().push(bytes)).toThrow(InternalError);
});

test('text that a program prints is taken for a length that cannot be', () => {
  expect(() => new FrameReader().push(Buffer.from('Segmentation fault\n'))).toThrow(InternalError);
});
