// biome-ignore-all lint/suspicious/noTemplateCurlyInString: the builder expands them, not JavaScript.
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { DefinitionError } from '../../src/errors.ts';
import { parseDockerfile, parseInstructions } from '../../src/frontend/dockerfile/parse.ts';
import { printDockerfile } from '../../src/frontend/dockerfile/print.ts';
import { parseRunMount } from '../../src/frontend/dockerfile/run-mount.ts';
import { removePrefix, removeSuffix, replacePattern } from '../../src/frontend/dockerfile/shell-pattern.ts';
import { expandWord, expandWords } from '../../src/frontend/dockerfile/shell-words.ts';
import { meaning } from '../support/dockerfile-meaning.ts';

const GOLDEN = join(import.meta.dirname, '../golden/dockerfile');
const corpus = readdirSync(GOLDEN, { recursive: true, encoding: 'utf8' })
  .filter((name) => name.endsWith('/Dockerfile'))
  .map((name) => readFileSync(join(GOLDEN, name), 'utf8'))
  // The long ones are long, and nothing else.
  .filter((text) => text.length < 4000);

/** What has a meaning somewhere, and some that has none. */
const MARKS = [
  ...' \t\n\r\\`"\'$<>[]{}#=,:;-/*?+%@&|()~!^.0aAéπ🙂\u00a0\u0085\ufeff\0'.split(''),
  '<<EOF',
  '<<-EOF',
  'EOF\n',
  '\\\n',
  '`\n',
  '--',
  '--from=',
  '${',
  '${a:-',
  '$a',
  '["a", "b"]',
  '# escape=`\n',
  '# check=skip=all\n',
  'FROM a\n',
  'RUN ',
  'COPY ',
  'ENV ',
  'ARG ',
  'ONBUILD ',
  'HEALTHCHECK ',
  '\ud800',
];
const noise = fc.array(fc.constantFrom(...MARKS), { maxLength: 40 }).map((parts) => parts.join(''));

/** A text of the corpus with pieces cut out, doubled and put in. */
const mutated = fc
  .tuple(
    fc.constantFrom(...corpus),
    fc.array(fc.tuple(fc.nat(4000), fc.nat(30), fc.constantFrom('', ...MARKS)), {
      minLength: 1,
      maxLength: 6,
    }),
  )
  .map(([text, edits]) =>
    edits.reduce((all, [at, length, put]) => {
      const place = at % (all.length + 1);
      return all.slice(0, place) + put + all.slice(place + length);
    }, text),
  );

const wordOf = (unit: string) =>
  fc.string({ unit: fc.constantFrom(...Array.from(unit)), minLength: 1, maxLength: 6 });
const argument = fc.oneof(
  wordOf('ab/.-'),
  wordOf('ab"\'\\`$<{}[]#,=\u00a0é🙂'),
  fc.tuple(wordOf('ab'), wordOf('ab"\' \\')).map(([name, value]) => `${name}=${value}`),
  fc.constantFrom(
    '<<A',
    "<<'B c'",
    '<<-"C"',
    '3<<d.e',
    '<< F',
    '["a", "b c"]',
    '[]',
    'CMD',
    'NONE',
    'AS',
    '--',
    '1',
  ),
);
const keyword = fc.constantFrom(
  ...[
    'FROM',
    'ARG',
    'RUN',
    'COPY',
    'ADD',
    'ENV',
    'LABEL',
    'MAINTAINER',
    'WORKDIR',
    'USER',
    'CMD',
    'entrypoint',
  ],
  ...['HEALTHCHECK', 'EXPOSE', 'VOLUME', 'STOPSIGNAL', 'SHELL', 'ONBUILD', 'ONBUILD RUN', 'Onbuild Copy'],
);
const flag = fc.oneof(
  fc.constantFrom(
    '--link',
    '--parents=false',
    '--unpack=true',
    '--network=none',
    '--retries=3',
    '--interval=1m.5s',
  ),
  fc
    .tuple(fc.constantFrom('from', 'chown', 'exclude', 'mount', 'platform', 'device'), argument)
    .map(([name, value]) => `--${name}=${value}`),
);

/** A file whose instructions look like some, with the bodies of all heredocs that a line may open. */
const likely = fc
  .array(
    fc.tuple(
      fc.constantFrom('', '# check=skip=A,B // why\n', '# a is that\n', '\n'),
      keyword,
      fc.array(flag, { maxLength: 2 }),
      fc.array(argument, { maxLength: 4 }),
      fc.constantFrom(' ', '  ', ' \\\n  ', '\t'),
    ),
    { minLength: 1, maxLength: 3 },
  )
  .map((lines) =>
    lines
      .map(([comment, name, flags, words, blank]) => {
        const line = [name, ...flags, ...words].join(blank);
        const names = [...line.matchAll(/<<-?\s*("C"|'B c'|A|d\.e|F)/g)].map(([, each = '']) =>
          each.replace(/['"]/g, ''),
        );
        return `${comment}${line}\n${names.map((each) => `\ttext of ${each} $a\n${each}\n`).join('')}`;
      })
      .join(''),
  );

/** Whether `action` fails, if it does, as the user's mistake. */
function accepts(action: () => unknown): boolean {
  try {
    action();
    return true;
  } catch (error) {
    if (error instanceof DefinitionError) {
      expect(error.message).not.toBe('');
      return false;
    }
    throw error;
  }
}

describe('whatever is written', () => {
  test('is parsed or is a mistake with a place', () => {
    fc.assert(
      fc.property(fc.oneof(noise, mutated, fc.string({ unit: 'binary' })), (text) => {
        try {
          parseDockerfile(text, { name: 'D' });
        } catch (error) {
          expect(error).toBeInstanceOf(DefinitionError);
          const { file, line, excerpt } = error as DefinitionError;
          expect(file).toBe('D');
          const lines = text.split('\n').length;
          expect(line === undefined || (line >= 1 && line <= lines && excerpt !== undefined)).toBe(true);
        }
      }),
      { numRuns: 2000 },
    );
  });

  test('survives printing, if it can be parsed', () => {
    let parsed = 0;
    fc.assert(
      fc.property(fc.oneof(mutated, likely, likely, noise), (text) => {
        const whole = `FROM a\n${text}`;
        if (accepts(() => parseDockerfile(whole, { name: 'D' }))) {
          parsed += 1;
          const dockerfile = parseDockerfile(whole, { name: 'D' });
          const printed = printDockerfile(dockerfile);
          const again = parseDockerfile(printed, { name: 'printed' });
          expect(meaning(again), printed).toEqual(meaning(dockerfile));
        }
      }),
      { numRuns: 2000 },
    );
    // Otherwise nothing was tested.
    expect(parsed).toBeGreaterThan(150);
  });

  test('is parsed as instructions or is a mistake', () => {
    fc.assert(
      fc.property(fc.array(fc.oneof(noise, mutated), { maxLength: 3 }), (texts) => {
        accepts(() => parseInstructions(texts, { name: 'x' }));
      }),
      { numRuns: 1000 },
    );
  });

  test('is expanded or is a mistake', () => {
    const environment = new Map([
      ['a', 'x y'],
      ['b', '*?\\'],
    ]);
    fc.assert(
      fc.property(noise, fc.constantFrom('\\' as const, '`' as const), (word, escapeCharacter) => {
        for (const heredoc of [false, true]) {
          for (const keepUnset of [false, true]) {
            const options = { escape: escapeCharacter, heredoc, keepUnset };
            const isRight = accepts(() => expandWord(word, environment, options));
            expect(accepts(() => expandWords(word, environment, options))).toBe(isRight);
          }
        }
      }),
      { numRuns: 2000 },
    );
  });

  test('is a mount or is a mistake', () => {
    const field = fc.oneof(
      noise,
      fc.constantFrom(
        'type=cache',
        'type=secret',
        'type=ssh',
        'type=tmpfs',
        'id=x',
        'target=/x',
        'mode=07',
        'size=1k',
      ),
    );
    fc.assert(
      fc.property(fc.array(field, { maxLength: 5 }), (fields) => {
        accepts(() => parseRunMount(fields.join(','), (text) => text));
      }),
      { numRuns: 2000 },
    );
  });
});

describe('words', () => {
  const plain = fc.string({ unit: fc.constantFrom(...'ab $"\'\\`{}<é🙂\n'.split('')) });

  test('single quotes keep everything', () => {
    fc.assert(
      fc.property(plain, (text) => {
        const quoted = text
          .split("'")
          .map((part) => `'${part}'`)
          .join("\\'");
        expect(expandWord(quoted, new Map()).text).toBe(text);
      }),
    );
  });

  test('an escape keeps any character, and splits nothing', () => {
    fc.assert(
      fc.property(plain, fc.constantFrom('\\' as const, '`' as const), (text, escapeCharacter) => {
        const escaped = Array.from(text, (character) => escapeCharacter + character).join('');
        const options = { escape: escapeCharacter };
        expect(expandWord(escaped, new Map(), options).text).toBe(text);
        expect(expandWords(escaped, new Map(), options).words).toEqual(text === '' ? [] : [text]);
      }),
    );
  });

  test('a value comes out as it went in, whatever it holds', () => {
    fc.assert(
      fc.property(plain, (value) => {
        const environment = new Map([['v', value]]);
        for (const word of ['$v', '${v}', '"$v"', '${v-x}', '${u-$v}', '${v#}', '${v%}', '${v/$u$u/}']) {
          expect(expandWord(word, environment).text, word).toBe(value);
        }
      }),
    );
  });
});

describe('patterns', () => {
  /** What a regular expression says; on short texts it may go back as it likes. */
  function expression(
    pattern: string,
    greedy: boolean,
    before: string,
    after: string,
    flags: string,
  ): RegExp {
    const body = pattern.replace(/[*?]|[^*?]/gsu, (character) =>
      character === '*'
        ? greedy
          ? '[^]*'
          : '[^]*?'
        : character === '?'
          ? '[^]'
          : character.replace(/[.+()[\]{}|^$\\/]/g, '\\$&'),
    );
    return new RegExp(`${before}${body}${after}`, `${flags}u`);
  }
  const pattern = fc.string({ unit: fc.constantFrom(...'ab*?'.split('')), maxLength: 6 });
  const value = fc.string({ unit: fc.constantFrom(...Array.from('ab🙂')), maxLength: 10 });

  test('match as regular expressions do', () => {
    fc.assert(
      fc.property(pattern, value, (glob, text) => {
        const replaced = (greedy: boolean) => text.replace(expression(glob, greedy, '^', '', ''), '');
        expect(removePrefix(text, glob, false)).toBe(replaced(false));
        expect(removePrefix(text, glob, true)).toBe(replaced(true));
        const first = text.replace(expression(glob, true, '', '', ''), '-');
        expect(replacePattern(text, glob, '-', false)).toBe(first);
        // The longest suffix is what the first place leaves from which the pattern goes to the end.
        expect(removeSuffix(text, glob, true)).toBe(text.replace(expression(glob, true, '', '$', ''), ''));
      }),
      { numRuns: 2000 },
    );
  });

  test('of a suffix are those of a prefix in a mirror', () => {
    const mirror = (text: string) => Array.from(text).reverse().join('');
    fc.assert(
      fc.property(pattern, value, fc.boolean(), (glob, text, longest) => {
        expect(mirror(removeSuffix(text, glob, longest))).toBe(
          removePrefix(mirror(text), mirror(glob), longest),
        );
      }),
    );
  });
});

describe('hostile texts take time in proportion to their size', () => {
  /** CPU time of the best of a few runs: what else the machine does is in the others. */
  function cost(action: () => unknown): number {
    let best = Number.POSITIVE_INFINITY;
    for (let run = 0; run < 3; run += 1) {
      const before = process.cpuUsage();
      accepts(action);
      const { user, system } = process.cpuUsage(before);
      best = Math.min(best, user + system);
    }
    return best;
  }
  const SIZE = 2000;
  const FACTOR = 8;
  const many = (count: number, text: (index: number) => string) =>
    Array.from({ length: count }, (_, index) => text(index)).join('');
  const parsed = (make: (size: number) => string) => (size: number) => {
    const text = make(size);
    return () => parseDockerfile(text, { name: 'D' });
  };
  const expanded =
    (make: (size: number) => string, values: (size: number) => [string, string][]) => (size: number) => {
      const [word, environment] = [make(size), new Map(values(size))];
      return () => expandWord(word, environment);
    };

  test.each<[string, (size: number) => () => unknown]>([
    ['comments', parsed((size) => `${many(size, () => '# x y\n')}FROM a\n`)],
    [
      'comments and names',
      parsed(
        (size) =>
          `${many(size, (index) => `# n${index} y\n`)}ARG ${many(size, (index) => `\\\nm${index} `)}\nFROM a`,
      ),
    ],
    ['continuations', parsed((size) => `FROM a\nRUN ${many(size, () => 'x \\\n')}`)],
    ['empty continuations', parsed((size) => `FROM a\nRUN x \\\n${many(size, () => '\n')}y`)],
    ['blanks', parsed((size) => `FROM a\n${many(size, () => 'RUN x             \\            \n')}`)],
    ['repeated flags', parsed((size) => `FROM a\nRUN ${many(size, () => '--mount=target=/x \\\n')}x`)],
    [
      'heredocs of one line',
      parsed((size) => `FROM a\nCOPY ${many(size, () => '<<A \\\n')} /x\n${many(size, () => 'A\n')}`),
    ],
    ['a heredoc that does not end', parsed((size) => `FROM a\nRUN <<A\n${many(size, () => '\t\tx A\n')}`)],
    ['heredocs that do not end', parsed((size) => `FROM a\n${many(size, () => 'RUN x\n')}RUN <<A`)],
    ['openings', parsed((size) => `FROM a\nRUN ${'<<'.repeat(size * 4)}`)],
    ['blanks behind an opening', parsed((size) => `FROM a\nRUN <<${' '.repeat(size * 8)}<`)],
    ['open quotes', parsed((size) => `FROM a\nENV a=${'"'.repeat(size * 8 + 1)}`)],
    ['open brackets', parsed((size) => `FROM a\nCMD ${'['.repeat(size * 8)}`)],
    [
      'digits of a duration',
      parsed((size) => `FROM a\nHEALTHCHECK --interval=${'1'.repeat(size * 8)}x CMD x`),
    ],
    ['triggers', parsed((size) => `FROM a\n${many(size, () => 'ONBUILD RUN <<A\nA\n')}`)],
    [
      'stars',
      expanded(
        () => '${v##*a*a*a*a*a*a*b}',
        (size) => [['v', 'a'.repeat(size * 16)]],
      ),
    ],
    [
      'many stars',
      expanded(
        (size) => `\${v%%${'*a'.repeat(size)}b}`,
        (size) => [['v', 'a'.repeat(size)]],
      ),
    ],
    [
      'replacements',
      expanded(
        () => '${v//a*b/x}',
        (size) => [['v', 'a'.repeat(size * 16)]],
      ),
    ],
    [
      'many replacements',
      expanded(
        () => '${v//?/xy}',
        (size) => [['v', 'a'.repeat(size * 16)]],
      ),
    ],
    [
      'dollars',
      expanded(
        (size) => '$'.repeat(size * 16),
        () => [],
      ),
    ],
    [
      'defaults',
      expanded(
        (size) => many(size, () => '${u:-${u:-x}}'),
        () => [],
      ),
    ],
    [
      'open braces',
      expanded(
        (size) => '${u:-'.repeat(size),
        () => [],
      ),
    ],
    [
      'quoted quotes',
      expanded(
        (size) => '"\'"\'"\''.repeat(size * 2),
        () => [],
      ),
    ],
  ])('%s', (_, make) => {
    const small = cost(make(SIZE));
    const large = cost(make(SIZE * FACTOR));
    // In proportion would be FACTOR times, with its square 64 times. Below a few milliseconds the clock says nothing.
    expect(large).toBeLessThan(Math.max(small, 2000) * FACTOR * 3);
  });

  test('a pattern that nearly matches everywhere is given up', () => {
    const values = new Map([['v', 'a'.repeat(100_000)]]);
    expect(() => expandWord(`\${v##*${'a'.repeat(50_000)}b}`, values)).toThrow(/takes too long/);
  });
});
