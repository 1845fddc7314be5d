import fc from 'fast-check';
import { expect, test } from 'vitest';
import { SecretMask } from '../../src/secret/mask.ts';

/** Few letters, so that values overlap, begin one another and repeat. */
const word = fc
  .array(fc.constantFrom('a', 'b', '\n', ' '), { minLength: 1, maxLength: 12 })
  .map((letters) => letters.join(''));

/** Text that holds secrets, next to one another and not, and where it is cut. */
const cases = fc.array(word, { minLength: 1, maxLength: 4 }).chain((secrets) =>
  fc.record({
    secrets: fc.constant(secrets),
    text: fc
      .array(fc.oneof(word, fc.constantFrom(...secrets)), { minLength: 1, maxLength: 8 })
      .map((parts) => parts.join('')),
    cuts: fc.array(fc.nat(60), { maxLength: 8 }),
  }),
);

function mask(secrets: readonly string[], text: string, cuts: readonly number[]): string {
  const masker = new SecretMask(secrets);
  const places = [...new Set([0, ...cuts, text.length])].filter((cut) => cut <= text.length);
  places.sort((left, right) => left - right);
  const shown = places.map((cut, index) => masker.push(text.slice(cut, places[index + 1] ?? text.length)));
  return shown.join('') + masker.end();
}

test('where the stream is cut changes nothing', () => {
  fc.assert(
    fc.property(cases, ({ secrets, text, cuts }) => {
      expect(mask(secrets, text, cuts)).toBe(mask(secrets, text, []));
    }),
    { numRuns: 2000 },
  );
});

test('no value of four bytes or more is shown; without one the text is as it was', () => {
  fc.assert(
    fc.property(cases, ({ secrets, text, cuts }) => {
      const shown = mask(secrets, text, cuts);
      const values = secrets.filter((secret) => secret.length >= 4);
      for (const value of values) {
        expect(shown).not.toContain(value);
      }
      if (values.length === 0) {
        expect(shown).toBe(text);
      }
    }),
    { numRuns: 2000 },
  );
});

test('only the beginning of a value is held back', () => {
  fc.assert(
    fc.property(cases, ({ secrets, text }) => {
      const masker = new SecretMask(secrets);
      const longest = Math.max(...secrets.map((secret) => secret.length));
      const held = mask(secrets, text, []).length - masker.push(text).length;
      expect(held).toBeLessThan(longest);
    }),
  );
});
