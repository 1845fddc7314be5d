/** The page about the features of the Image API: its table, and for each row the tests that prove it. */
import { FEATURE_ROWS, featureTests, UNPROVEN } from './feature-rows.ts';

export function featureReference(): string {
  const tests = featureTests();
  const proof = (row: number) => {
    const paths = tests.get(row);
    return paths === undefined
      ? `not proven: ${UNPROVEN.get(row) ?? 'no test'}`
      : paths
          .map((path) => `[${path.replace(/^test\//, '').replace(/\.test\.ts$/, '')}](../../${path})`)
          .join(', ');
  };
  const rows = FEATURE_ROWS.map(({ number, feature, api, check }) =>
    [number, feature, api, check, proof(number)].map((cell) => String(cell).replaceAll('|', '\\|')),
  );
  const proven = FEATURE_ROWS.filter(({ number }) => tests.has(number)).length;
  return `${[
    '# Features of the Image API',
    'Made by `npm run generate` from `docs/reference/image-api-features.json` and the titles of the tests.',
    [
      'What users of the Python API know, how it is said [here](image-api.md), and what shows that it works: **P** in a plan, without network and without',
      'running anything; **B** in a real build; **R** in a container. The last column names the tests that check it.',
    ].join('\n'),
    [
      '| # | feature | here | check | proven by |',
      '|---|---|---|---|---|',
      ...rows.map((cells) => `| ${cells.join(' | ')} |`),
    ].join('\n'),
    `Proven: ${proven} of ${FEATURE_ROWS.length}.`,
  ].join('\n\n')}\n`;
}
