import { describe, expect, test } from 'vitest';
import { encodeFrame, FrameReader } from '../../../src/worker/framing.ts';
import { MAX_MESSAGE_BYTES } from '../../../src/worker/protocol.ts';

const MESSAGES = [{ kind: 'request', id: 1 }, {}, 'ü € 🦀', [1, [2]], null, { text: 'x'.repeat(5000) }];

/** Headers alone, for sizes that no test wants to allocate. */
function header(length: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(length);
  return bytes;
}

describe('frames', () => {
  test('several in one chunk come out in order', () => {
    expect(new FrameReader().push(Buffer.concat(MESSAGES.map(encodeFrame)))).toEqual(MESSAGES);
  });

  test('cut in two anywhere, characters and lengths included', () => {
    const bytes = Buffer.concat(MESSAGES.slice(0, 5).map(encodeFrame));
    for (let cut = 0; cut <= bytes.length; cut += 1) {
      const reader = new FrameReader();
      expect([...reader.push(bytes.subarray(0, cut)), ...reader.push(bytes.subarray(cut))]).toEqual(
        MESSAGES.slice(0, 5),
      );
    }
  });

  test('one byte at a time', () => {
    const reader = new FrameReader();
    const got = [...Buffer.concat(MESSAGES.map(encodeFrame))].flatMap((byte) => reader.push(Buffer.of(byte)));
    expect(got).toEqual(MESSAGES);
  });

  test('the length is that of the bytes, not of the characters', () => {
    expect(encodeFrame('ü').readUInt32BE(0)).toBe(4);
  });

  test('an announced length beyond the limit is refused before its bytes come', () => {
    expect(() => new FrameReader().push(header(MAX_MESSAGE_BYTES + 1))).toThrow(
      expect.objectContaining({ code: 'E_INTERNAL' }),
    );
    expect(() => new FrameReader().push(header(0xffffffff))).toThrow(/4294967295 bytes/);
    expect(new FrameReader().push(header(MAX_MESSAGE_BYTES))).toEqual([]);
  });

  test('nor is a longer one made', () => {
    expect(() => encodeFrame('x'.repeat(MAX_MESSAGE_BYTES - 1))).toThrow(
      expect.objectContaining({ code: 'E_INTERNAL' }),
    );
  });

  test('what is not JSON is our bug, and says so', () => {
    expect(() => new FrameReader().push(Buffer.concat([header(3), Buffer.from('{a}')]))).toThrow(
      expect.objectContaining({ code: 'E_INTERNAL' }),
    );
  });
});
