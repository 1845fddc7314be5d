import fc from 'fast-check';
import { expect, test } from 'vitest';
import { encodeFrame, FrameReader } from '../../src/worker/framing.ts';

test('whatever the messages and however they are cut, they arrive', () => {
  fc.assert(
    fc.property(
      fc.array(fc.jsonValue(), { maxLength: 8 }),
      fc.array(fc.nat({ max: 64 })),
      (messages, sizes) => {
        const bytes = Buffer.concat(messages.map(encodeFrame));
        const reader = new FrameReader();
        const got: unknown[] = [];
        let at = 0;
        for (const size of sizes) {
          got.push(...reader.push(bytes.subarray(at, at + size)));
          at += size;
        }
        got.push(...reader.push(bytes.subarray(at)));
        // JSON knows no negative zero.
        expect(got).toEqual(JSON.parse(JSON.stringify(messages)));
      },
    ),
  );
});
