import { expect, test } from 'vitest';
import { comparisonTable, differencesText, ratioPlot } from '../../../bench/compare/page.ts';
import type { MeasuredRow, Results } from '../../../bench/compare/results.ts';

const ROW: MeasuredRow = {
  id: 'pull',
  title: 'pull',
  target: 3,
  seconds: { tsbuild: [1], buildkit: [2], buildah: [12] },
  bytesWritten: { tsbuild: [1e6], buildkit: [2e6], buildah: [3e6] },
  peakBytes: { tsbuild: 2 ** 20, buildkit: 2 ** 21, buildah: 3 * 2 ** 20 },
  lacking: {},
  hung: {},
  unequal: {
    buildkit: [],
    buildah: [
      { path: '/run', ours: 'not there', theirs: 'directory' },
      { path: '/etc', ours: 'not there', theirs: 'directory' },
    ],
  },
};

function results(peers: readonly string[], rows: readonly MeasuredRow[]): Results {
  return {
    date: '2026-01-01T00:00:00Z',
    machine: { processor: 'p', cores: 2, memoryBytes: 1, kernel: 'k', node: 'n', filesystem: 'f' },
    scale: 'full',
    peers: peers.map((name) => ({ name, version: '1' })),
    rows,
  };
}

const ALL = ['tsbuild', 'buildkit', 'buildah'];
/** Lines of the table as cells, without the empty ones outside. */
const cells = (of: Results) =>
  comparisonTable(of)
    .split('\n')
    .map((line) => line.split(' | ').map((cell) => cell.replace(/^\| | \|$/g, '')));

test('each builder has a column, a ratio, and a place in memory and bytes', () => {
  const [header, , line] = cells(results(ALL, [ROW]));
  expect(header).toEqual([
    'build',
    'tsbuild',
    'buildkit',
    'buildah',
    'ratio to buildkit',
    'ratio to buildah',
    'target',
    'peak memory',
    'written',
    'images',
  ]);
  expect(line?.slice(3, 9)).toEqual([
    '12.00 s (12.00 to 12.00)',
    '2.0',
    '12',
    'at least 3',
    '1 MiB / 2 MiB / 3 MiB',
    '1 MB / 2 MB / 3 MB',
  ]);
});

test('a builder that was not there has no column', () => {
  expect(cells(results(['tsbuild', 'buildah'], [ROW]))[0]).not.toContain('buildkit');
  expect(comparisonTable(results(['tsbuild', 'buildkit'], [ROW]))).not.toContain('buildah');
});

test('what a builder lacks is in its column', () => {
  const { buildah: _, ...seconds } = ROW.seconds;
  const [, , line] = cells(
    results(ALL, [{ ...ROW, seconds, lacking: { buildah: 'no estargz' }, unequal: {} }]),
  );
  expect(line?.[3]).toBe('no estargz');
  expect(line?.[5]).toBe('–');
  expect(line?.[9]).toBe('equal');
});

test('whose images differ, and where', () => {
  const all = results(ALL, [ROW]);
  expect(cells(all)[2]?.[9]).toBe('buildkit: equal; buildah: 2 paths differ');
  expect(differencesText(all)).toBe("Paths that differ in buildah's images: `/etc`, `/run`.");
  expect(differencesText(results(ALL, [{ ...ROW, unequal: {} }]))).toBe('');
});

test('as many as are kept are at least that many', () => {
  const [, , line] = cells(
    results(
      ['tsbuild', 'buildkit'],
      [
        {
          ...ROW,
          unequal: {
            buildkit: Array.from({ length: 20 }, (_, index) => ({
              path: `/${index}`,
              ours: 'file',
              theirs: 'not there',
            })),
          },
        },
      ],
    ),
  );
  expect(line?.at(-1)).toBe('buildkit: at least 20 paths differ');
});

test('the plot has one bar for each of the others, and the target is at that of BuildKit', () => {
  const count = (text: string, part: RegExp) => text.match(part)?.length;
  const both = ratioPlot(results(ALL, [ROW]));
  expect(count(both, /<rect x/g)).toBe(2);
  expect(count(both, /stroke="#b00"/g)).toBe(1);
  expect(both).toContain("buildah's");
  const one = ratioPlot(
    results(['tsbuild', 'buildkit'], [{ ...ROW, seconds: { tsbuild: [1], buildkit: [2] } }]),
  );
  expect(count(one, /<rect x/g)).toBe(1);
  expect(one).not.toContain('buildah');
});
