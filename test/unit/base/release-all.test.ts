import { expect, test } from 'vitest';
import { releaseAll } from '../../../src/base/release-all.ts';

test('everything is released, the last first, also when some of it fails', async () => {
  const released: string[] = [];
  const of = (name: string, error?: Error) => async () => {
    await Promise.resolve();
    released.push(name);
    if (error !== undefined) {
      throw error;
    }
  };
  const releases = [of('a'), of('b', new Error('second')), of('c', new Error('first')), of('d')];
  await expect(releaseAll(releases)).rejects.toThrow('first');
  expect(released).toEqual(['d', 'c', 'b', 'a']);
  await expect(releaseAll([of('e')])).resolves.toBeUndefined();
});
