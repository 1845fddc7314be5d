import fc from 'fast-check';
import { expect, test } from 'vitest';
import { Image } from '../../src/frontend/fluent/image.ts';
import { graphOf, planOf } from '../support/image-surroundings.ts';

const base = Image.fromRegistry('base');
const name = fc.stringMatching(/^[a-zA-Z][a-z0-9.-]{0,8}(==[0-9.]{1,4})?$/);
const names = fc.uniqueArray(name, { minLength: 1, maxLength: 6 });

async function keys(image: Image) {
  const [plan, graph] = [await planOf(image), await graphOf(image)];
  return [plan.layers.at(-1)?.definitionHash, graph.tip.vertex.digest];
}

test('the order and grouping of requirements are in no key', async () => {
  await fc.assert(
    fc.asyncProperty(
      names.chain((list) =>
        fc.tuple(fc.constant(list), fc.shuffledSubarray(list, { minLength: list.length })),
      ),
      async ([list, shuffled]) => {
        expect(await keys(base.pipInstall(shuffled))).toEqual(await keys(base.pipInstall(...list)));
        expect(await keys(base.uvPipInstall(...shuffled))).toEqual(await keys(base.uvPipInstall(list)));
      },
    ),
    { numRuns: 50 },
  );
});

test('different command lists have different keys', async () => {
  const commands = fc.array(fc.stringMatching(/^[a-z"\\,[\] ;&]{0,6}x$/), { minLength: 1, maxLength: 3 });
  await fc.assert(
    fc.asyncProperty(commands, commands, async (one, other) => {
      fc.pre(JSON.stringify(one) !== JSON.stringify(other));
      const [first, second] = [await keys(base.runCommands(one)), await keys(base.runCommands(other))];
      expect(first[0]).not.toBe(second[0]);
      expect(first[1]).not.toBe(second[1]);
    }),
    { numRuns: 100 },
  );
});
