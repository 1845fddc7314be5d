import { execFileSync } from 'node:child_process';
import { expect, test } from 'vitest';
import { oneAfterTheOther } from '../../../bench/compare/buildah.ts';

test('commands one after the other take their words as they are', () => {
  const words = ['a b', "it's", '$HOME', '"', '', ...Array.from({ length: 9 }, (_, index) => `w${index}`)];
  const [program, ...args] = oneAfterTheOther([
    ['printf', '<%s>', ...words],
    ['printf', '[%s]', 'last'],
  ]);
  expect(execFileSync(program, args, { encoding: 'utf8' })).toBe(
    `${words.map((word) => `<${word}>`).join('')}[last]`,
  );
});

test('of commands one after the other, those behind one that fails do not run', () => {
  const [program, ...args] = oneAfterTheOther([['false'], ['echo', 'ran']]);
  expect(() => execFileSync(program, args)).toThrow(expect.objectContaining({ stdout: Buffer.alloc(0) }));
});
