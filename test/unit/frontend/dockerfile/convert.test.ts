/** Every folder of test/golden/dockerfile-graph is a case; `vitest run test/unit/frontend/dockerfile -u` writes what is expected. */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { renderError } from '../../../../src/cli/render-error.ts';
import { DefinitionError } from '../../../../src/errors.ts';
import { decodeGraph, encodeGraph } from '../../../../src/graph/encode.ts';
import { convertCase, type DockerfileCase } from '../../../support/dockerfile-request.ts';
import { graphText } from '../../../support/graph-text.ts';

const GOLDEN = join(import.meta.dirname, '../../../golden/dockerfile-graph');
const cases = readdirSync(GOLDEN).sort();

async function outcome(name: string): Promise<['expected.txt' | 'error.txt', string]> {
  const text = readFileSync(join(GOLDEN, name, 'Dockerfile'), 'utf8');
  const path = join(GOLDEN, name, 'case.json');
  const given = existsSync(path) ? (JSON.parse(readFileSync(path, 'utf8')) as DockerfileCase) : {};
  try {
    const graph = await convertCase(text, given);
    // Nothing may hide outside of the representation.
    expect(decodeGraph(encodeGraph([graph.tip.vertex]))[0]?.digest).toBe(graph.tip.vertex.digest);
    return ['expected.txt', graphText(graph)];
  } catch (error) {
    if (!(error instanceof DefinitionError)) {
      throw error;
    }
    return ['error.txt', renderError(error, { color: false })];
  }
}

describe('a Dockerfile as a graph', () => {
  test.each(cases)('%s', async (name) => {
    const [kind, said] = await outcome(name);
    const other = kind === 'expected.txt' ? 'error.txt' : 'expected.txt';
    expect(existsSync(join(GOLDEN, name, other)), said).toBe(false);
    await expect(said).toMatchFileSnapshot(join(GOLDEN, name, kind));
  });
});
