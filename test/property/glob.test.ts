import fc from 'fast-check';
import { expect, test } from 'vitest';
import { dockerignoreMatcher } from '../../src/patterns/dockerignore.ts';
import { gitignoreMatcher } from '../../src/patterns/gitignore.ts';

const hostile = fc
  .array(fc.constantFrom('*', '**', '**/', '/', 'a', '?', '[a]', '[^b]', '!'), {
    minLength: 1,
    maxLength: 60,
  })
  .map((parts) => parts.join(''));
const path = fc.array(fc.constantFrom('a', 'b', '/'), { maxLength: 300 }).map((parts) => parts.join(''));

test('matching costs at most pattern length times path length, for any pattern', () => {
  fc.assert(
    fc.property(hostile, path, (pattern, name) => {
      for (const make of [dockerignoreMatcher, gitignoreMatcher]) {
        const counter = { steps: 0 };
        try {
          const matcher = make([pattern]);
          (matcher.matches as (path: string, ...rest: unknown[]) => boolean)(
            name,
            ...(make === gitignoreMatcher ? [false, counter] : [counter]),
          );
        } catch (error) {
          expect((error as { code: string }).code).toBe('E_BAD_PATTERN');
        }
        // The directories token is two states, and gitignore puts one in front.
        expect(counter.steps).toBeLessThanOrEqual((2 * pattern.length + 2) * name.length);
      }
    }),
    { numRuns: 500 },
  );
});

test('the pattern that stops backtracking matchers', () => {
  const counter = { steps: 0 };
  expect(dockerignoreMatcher([`${'*a'.repeat(40)}b`]).matches('a'.repeat(4000), counter)).toBe(false);
  expect(counter.steps).toBeLessThan(1_000_000);
});
