/** What a function's module may import from `tsbuild` in a container is what it may import here. */
import { expect, test } from 'vitest';
import * as api from '../../src/index.ts';
import * as recipe from '../../src/recipe.ts';

test('src/recipe.ts exports the values of src/index.ts', () => {
  expect(Object.keys(recipe).toSorted()).toEqual(Object.keys(api).toSorted());
});

test('there is no engine in it', async () => {
  expect(() => recipe.Engine.open()).toThrow('inside of a container');
});
