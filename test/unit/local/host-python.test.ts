import { join } from 'node:path';
import { expect, test } from 'vitest';
import { hostPythonSeries } from '../../../src/local/host-python.ts';
import { temporaryTree } from '../../support/temporary-tree.ts';

test.each([
  ['Python 3.11.7', '3.11'],
  ['Python 3.14.0rc2', '3.14'],
  ['Python 3.14.2 free-threading build', '3.14t'],
  ['Python 2.7.18', undefined],
  ['something else', undefined],
])('row 2: %j is the series %j', async (says, series) => {
  const program = { text: `#!/bin/sh\necho '${says}'\n`, mode: 0o755 };
  await using tree = await temporaryTree({ 'bin/python3': program });
  expect(await hostPythonSeries({ PATH: join(tree.path, 'bin') })).toBe(series);
});

test('no python3, or one that fails, is none', async () => {
  await using tree = await temporaryTree({
    empty: null,
    'bin/python3': { text: '#!/bin/sh\nexit 1\n', mode: 0o755 },
  });
  expect(await hostPythonSeries({ PATH: join(tree.path, 'empty') })).toBeUndefined();
  expect(await hostPythonSeries({ PATH: join(tree.path, 'bin') })).toBeUndefined();
});
