import fc from 'fast-check';
import { expect, test } from 'vitest';
import { maskSecrets, SecretMask } from '../../src/secret/mask.ts';

/** Few different characters, so that values overlap each other and themselves. */
const letters = fc.string({ unit: fc.constantFrom('a', 'b', 'c'), maxLength: 40 });
const secret = fc.string({ unit: fc.constantFrom('a', 'b'), minLength: 4, maxLength: 8 });

test('no value is shown, however the bytes are cut', () => {
  fc.assert(
    fc.property(
      fc.array(fc.oneof(letters, secret)),
      fc.array(secret, { minLength: 1, maxLength: 3 }),
      fc.array(fc.nat({ max: 12 })),
      (parts, secrets, sizes) => {
        const text = [...parts, secrets[0] ?? ''].join('');
        const mask = new SecretMask(secrets);
        let shown = '';
        let at = 0;
        for (const size of sizes) {
          shown += mask.push(text.slice(at, at + size));
          at += size;
        }
        shown += mask.push(text.slice(at)) + mask.end();
        // What is shown holds none of them, and the cuts make no difference.
        expect(secrets.filter((value) => shown.includes(value))).toEqual([]);
        expect(shown).toBe(maskSecrets(text, secrets));
      },
    ),
    { numRuns: 500 },
  );
});

test('what holds no value stays as it is', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'binary' }), fc.array(secret), (text, secrets) => {
      fc.pre(!secrets.some((value) => text.includes(value)));
      expect(maskSecrets(text, secrets)).toBe(Buffer.from(text, 'utf8').toString('utf8'));
    }),
  );
});
