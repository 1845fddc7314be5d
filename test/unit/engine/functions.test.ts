import { join } from 'node:path';
import { expect, test } from 'vitest';
import { locateFailure } from '../../../src/engine/functions.ts';
import { StepError } from '../../../src/errors.ts';
import { temporaryTree } from '../../support/temporary-tree.ts';

test('the line that threw is shown as lines of a Dockerfile are: without logins and control characters', async () => {
  await using tree = await temporaryTree({
    'steps.mjs': 'before();\nget("https://user:password@host/\x1b[2J");\nafter();\n',
  });
  const file = join(tree.path, 'steps.mjs');
  const remoteStack = `Error: x\n    at fetchModel (${file}:2:1)`;
  const failed = new StepError('x', {
    code: 'E_BUILD_FAILED',
    argv: ['tsbuild-function', 'fetchModel'],
    reason: 'exit',
    logTail: '',
    remoteStack,
  });
  const { excerpt, line } = locateFailure(failed, { isSource: (path) => path === file });
  expect(line).toBe(2);
  expect(excerpt).toMatch(
    /^ {2}1 \| before\(\);\n> 2 \| get\("https:\/\/\S*host\/\ufffd\[2J"\);\n {2}3 \| after\(\);$/,
  );
  expect(excerpt).not.toContain('password');
  expect(locateFailure(failed, { isSource: () => false }).excerpt).toBeUndefined();
});
