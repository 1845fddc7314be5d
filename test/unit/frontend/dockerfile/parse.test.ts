import { describe, expect, test } from 'vitest';
import { DefinitionError } from '../../../../src/errors.ts';
import { detectSyntax } from '../../../../src/frontend/dockerfile/directives.ts';
import { parseDuration } from '../../../../src/frontend/dockerfile/duration.ts';
import { parseHeredocWord } from '../../../../src/frontend/dockerfile/heredoc.ts';
import { parseDockerfile, parseInstructions } from '../../../../src/frontend/dockerfile/parse.ts';

const failure = (action: () => unknown): DefinitionError => {
  try {
    action();
  } catch (error) {
    if (error instanceof DefinitionError) {
      return error;
    }
    throw error;
  }
  throw new Error('no error');
};

describe('instructions without a FROM', () => {
  test('a trigger with a heredoc', () => {
    const { instructions } = parseInstructions('RUN <<-EOF\n\ta\nEOF', { name: 'ONBUILD' });
    expect(instructions).toMatchObject([
      { kind: 'run', heredocs: [{ content: 'a\n' }], location: { startLine: 1, endLine: 3 } },
    ]);
  });

  test('what ONBUILD keeps is what it was', () => {
    const inner = 'COPY --chown=1 <<A <<-"B" x /y/\n1\nA\n\t2\nB';
    const [kept] = parseInstructions(`ONBUILD ${inner}`, { name: 'x' }).instructions;
    expect(kept).toMatchObject({ kind: 'onbuild', expression: inner });
    const again = parseInstructions(inner, { name: 'x' }).instructions;
    expect(again).toMatchObject([{ kind: 'copy', sources: ['x'], heredocs: [{ name: 'A' }, { name: 'B' }] }]);
  });

  test('a list is put together, with lines counted over all', () => {
    const { instructions, lines } = parseInstructions(['ENV a=b', 'RUN x \\', '  y', 'USER u'], {
      name: 'x',
    });
    expect(instructions.map(({ kind, location }) => [kind, location.startLine, location.endLine])).toEqual([
      ['env', 1, 1],
      ['run', 2, 3],
      ['user', 4, 4],
    ]);
    expect(lines).toHaveLength(4);
  });

  test('none is no mistake', () => {
    expect(parseInstructions([], { name: 'x' }).instructions).toEqual([]);
    expect(parseInstructions('# comment', { name: 'x' }).instructions).toEqual([]);
  });

  test('the escape can be given', () => {
    const { instructions } = parseInstructions('RUN a `\n b', { name: 'x', escape: '`' });
    expect(instructions).toMatchObject([{ command: { text: 'a  b' } }]);
  });

  test('FROM is a mistake', () => {
    const error = failure(() => parseInstructions(['RUN a', 'FROM b'], { name: 'commands' }));
    expect(error).toMatchObject({ code: 'E_DOCKERFILE_INSTRUCTION', file: 'commands', line: 2, column: 1 });
  });
});

describe('the place of a mistake', () => {
  test('is the line of a long instruction that holds it', () => {
    const error = failure(() =>
      parseDockerfile('FROM a\nRUN --mount=target=/x \\\n  --netwrok=none \\\n  b\n', { name: 'D' }),
    );
    expect(error).toMatchObject({ file: 'D', line: 3, column: 3, culprit: '--netwrok' });
    expect(error.excerpt).toBe(
      ['  2 | RUN --mount=target=/x \\', '> 3 |   --netwrok=none \\', '    |   ^', '  4 |   b'].join('\n'),
    );
  });
});

test.each([
  ['# syntax=docker/dockerfile:1 --x=y\nFROM a', 'docker/dockerfile:1'],
  ['#!/usr/bin/env tsbuild\n# syntax=a\n', 'a'],
  ['\ufeff# check=skip=all\n#SYNTAX = a\n', 'a'],
  ['// syntax=a\n', 'a'],
  ['#!/x\n// check=x\n// syntax=a\n', 'a'],
  ['{"syntax": "a"}', 'a'],
  ['  {"syntax": 1}', undefined],
  ['{"syntax"', undefined],
  ['# hello\n# syntax=a', undefined],
  ['\n# syntax=a', undefined],
  ['FROM a', undefined],
  ['', undefined],
])('the frontend that %j asks for', (text, expected) => {
  expect(detectSyntax(text)).toBe(expected);
});

test.each([
  ['0', 0],
  ['-0', 0],
  ['0s', 0],
  ['1ns', 1],
  ['1us', 1e3],
  ['1µs', 1e3],
  ['1μs', 1e3],
  ['1ms', 1e6],
  ['1s', 1e9],
  ['1h2m3s', 3_723e9],
  ['1.5h', 5_400e9],
  ['.5s', 5e8],
  ['1.s', 1e9],
  ['+2s', 2e9],
  ['-1.5s', -15e8],
  ['0.0000000019s', 1],
  ['2562047h47m16.854775807s', 2 ** 63 - 1024],
  ['2562047h47m16.854775808s', undefined],
  [`${'9'.repeat(400)}s`, undefined],
  [`${'0'.repeat(400)}1s`, 1e9],
  ['', undefined],
  ['-', undefined],
  ['1', undefined],
  ['s', undefined],
  ['.s', undefined],
  ['1d', undefined],
  ['1s ', undefined],
  ['1 s', undefined],
  ['1S', undefined],
])('the duration %j', (text, expected) => {
  expect(parseDuration(text)).toBe(expected);
});

test.each([
  ['<<EOF', { name: 'EOF', expand: true, chomp: false, fileDescriptor: 0 }],
  ['12<<-"EOF"', { name: 'EOF', expand: false, chomp: true, fileDescriptor: 12 }],
  ['<< EOF', { name: 'EOF', expand: true, chomp: false, fileDescriptor: 0 }],
  ["<<E'O'F", { name: 'EOF', expand: false, chomp: false, fileDescriptor: 0 }],
  ["<<E\\'F", { name: "E'F", expand: true, chomp: false, fileDescriptor: 0 }],
  ["<<'E'\\'F", { name: "E'F", expand: false, chomp: false, fileDescriptor: 0 }],
  ["<<'a b'", { name: 'a b', expand: false, chomp: false, fileDescriptor: 0 }],
  ['<<${a:-b}', { name: '${a:-b}', expand: true, chomp: false, fileDescriptor: 0 }],
  ['EOF', undefined],
  ['<EOF', undefined],
  ['<<<EOF', undefined],
  ['<<', undefined],
  ['<<-', undefined],
  ["<<''", undefined],
  ['<<EOF sh', undefined],
  ["<<'EOF", undefined],
  ['x<<EOF', undefined],
  ['<<A<<B', undefined],
])('the word %j as the opening of a heredoc', (word, expected) => {
  expect(parseHeredocWord(word)).toEqual(expected);
});
