// biome-ignore-all lint/suspicious/noTemplateCurlyInString: the shell expands them, not JavaScript.
import { spawnSync } from 'node:child_process';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { quoteExpanding, quoteLiteral } from '../../src/frontend/fluent/quote.ts';

/** Everything that means something to a shell, and some that does not. NUL cannot be in an argument. */
const text = fc
  .array(
    fc.constantFrom(...'ab $`"\'\\!*?[]{}()<>|&;#~=%\n\t-é☺'.split(''), '${A}', '${NO', '$(x)', '\\${A}'),
    {
      maxLength: 12,
    },
  )
  .map((parts) => parts.join(''));

/** What a real shell makes of the words. */
function words(quoted: readonly string[]): string[] {
  const script = `printf '%s\\0' ${quoted.join(' ')}`;
  const result = spawnSync('sh', ['-c', script], { env: { A: 'va*lue $B "x"' }, encoding: 'utf8' });
  expect(result.stderr).toBe('');
  return result.stdout.split('\0').slice(0, -1);
}

test('a quoted word is itself again in a real shell', () => {
  fc.assert(
    fc.property(fc.array(text, { minLength: 1, maxLength: 40 }), (texts) => {
      expect(words(texts.map(quoteLiteral))).toEqual(texts);
    }),
    { numRuns: 40 },
  );
});

test('only ${NAME} is expanded, and its value stays one word', () => {
  fc.assert(
    fc.property(fc.array(text, { minLength: 1, maxLength: 40 }), (texts) => {
      const expected = texts.map((each) =>
        // Any other variable is unset.
        each.replace(/\$\{([A-Za-z_]\w*)\}/g, (_, name) => (name === 'A' ? 'va*lue $B "x"' : '')),
      );
      expect(words(texts.map(quoteExpanding))).toEqual(expected);
    }),
    { numRuns: 40 },
  );
});
