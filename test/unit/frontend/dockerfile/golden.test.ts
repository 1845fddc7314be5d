/** Every folder of test/golden/dockerfile is a case; `vitest run test/unit/frontend/dockerfile -u` writes what is expected. */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { renderError } from '../../../../src/cli/render-error.ts';
import { DefinitionError } from '../../../../src/errors.ts';
import { parseDockerfile } from '../../../../src/frontend/dockerfile/parse.ts';
import { printDockerfile } from '../../../../src/frontend/dockerfile/print.ts';
import { goldenJson, meaning } from '../../../support/dockerfile-meaning.ts';

const GOLDEN = join(import.meta.dirname, '../../../golden/dockerfile');
const cases = readdirSync(GOLDEN, { recursive: true, encoding: 'utf8' })
  .filter((name) => name.endsWith('/Dockerfile'))
  .map(dirname)
  .sort();

test('every rule has cases', () => {
  expect(cases.length).toBeGreaterThan(120);
});

describe('a golden file', () => {
  test.each(cases)('%s', async (name) => {
    const text = readFileSync(join(GOLDEN, name, 'Dockerfile'), 'utf8');
    const [kind, said] = outcome(text);
    const other = kind === 'expected.json' ? 'error.txt' : 'expected.json';
    // A file that is no longer right where it was wrong, or the other way round.
    expect(existsSync(join(GOLDEN, name, other)), said).toBe(false);
    await expect(said).toMatchFileSnapshot(join(GOLDEN, name, kind));
  });
});

describe('a golden file is itself again when it is printed and parsed', () => {
  const right = cases.filter((name) => existsSync(join(GOLDEN, name, 'expected.json')));
  test.each(right)('%s', (name) => {
    const dockerfile = parseDockerfile(readFileSync(join(GOLDEN, name, 'Dockerfile'), 'utf8'), { name });
    const printed = printDockerfile(dockerfile);
    const again = parseDockerfile(printed, { name: 'printed' });
    expect(meaning(again)).toEqual(meaning(dockerfile));
    expect(printDockerfile(again)).toBe(printed);
  });
});

function outcome(text: string): ['expected.json' | 'error.txt', string] {
  try {
    return ['expected.json', goldenJson(parseDockerfile(text, { name: 'Dockerfile' }))];
  } catch (error) {
    if (!(error instanceof DefinitionError)) {
      throw error;
    }
    return ['error.txt', renderError(error, { color: false })];
  }
}
