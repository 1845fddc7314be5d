import fc from 'fast-check';
import { expect, test } from 'vitest';
import { dockerignoreMatcher } from '../../src/patterns/dockerignore.ts';
import { gitignoreMatcher } from '../../src/patterns/gitignore.ts';
import { goComponent } from '../../src/patterns/go-match.ts';

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

test("a walk and Go's patterns cost no more", () => {
  fc.assert(
    fc.property(hostile, path, (pattern, name) => {
      const counters = [{ steps: 0 }, { steps: 0 }] as const;
      try {
        const component = goComponent(pattern.replaceAll('/', ''));
        if (component.kind === 'pattern') {
          component.matches(name, counters[0]);
        }
        dockerignoreMatcher([pattern]).descend(name, undefined, counters[1]);
      } catch (error) {
        expect((error as { code: string }).code).toBe('E_BAD_PATTERN');
      }
      for (const { steps } of counters) {
        expect(steps).toBeLessThanOrEqual((2 * pattern.length + 2) * name.length);
      }
    }),
    { numRuns: 500 },
  );
});

test('the pattern that stops backtracking matchers, as a source', () => {
  const counter = { steps: 0 };
  const component = goComponent(`${'*a'.repeat(40)}b`);
  expect(component.kind === 'pattern' && component.matches('a'.repeat(4000), counter)).toBe(false);
  expect(counter.steps).toBeLessThan(1_000_000);
});
