/** docs/performance.md: its tables, between marks, and its plots, from the newest runs that are kept in bench/results/. */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import {
  type Curve,
  comparisonTable,
  differencesText,
  growthPlot,
  ratioPlot,
  stagesTable,
} from './compare/page.ts';
import type { Results } from './compare/results.ts';
import type { MeasuredStage } from './micro/measured-stage.ts';

const ROOT = join(import.meta.dirname, '..');
const PAGE = 'docs/performance.md';

/** By curve: size and seconds. */
export type Growth = Readonly<Record<string, readonly (readonly [size: number, seconds: number])[]>>;

const GROWTH_PLOTS = [
  {
    name: 'files',
    title: 'Context of N files',
    unit: 'files',
    curves: ['COPY, first time', 'one file changed', 'unchanged'],
  },
  { name: 'steps', title: 'N steps', unit: 'steps', curves: ['RUN steps', 'RUN steps, unchanged'] },
  {
    name: 'layers',
    title: 'Layer of N megabytes, copied and exported',
    unit: 'MB',
    curves: ['COPY to zstd layout'],
  },
] as const;

/** Path in the repository to what belongs there. */
export function performanceDocuments(): ReadonlyMap<string, string> {
  const compared = newest<Results>('compare.json');
  const stages = newest<readonly MeasuredStage[]>('stages.json');
  const growth = newest<Growth>('growth.json');
  let page = readFileSync(join(ROOT, PAGE), 'utf8');
  const comparison = [
    comparedText(compared),
    comparisonTable(compared.content),
    differencesText(compared.content),
  ];
  page = between(page, 'comparison', comparison.filter((text) => text !== '').join('\n\n'));
  page = between(page, 'stages', stagesTable(stages.content));
  page = between(page, 'growth', growthTable(growth.content));
  return new Map([
    [PAGE, page],
    ['docs/performance/ratios.svg', ratioPlot(compared.content)],
    ...GROWTH_PLOTS.map(({ name, title, unit, curves }): [string, string] => [
      `docs/performance/growth-${name}.svg`,
      growthPlot(
        title,
        unit,
        curves.map((curve): Curve => ({ name: curve, points: pointsOf(growth.content, curve) })),
      ),
    ]),
  ]);
}

function pointsOf(growth: Growth, curve: string): Curve['points'] {
  const points = growth[curve];
  if (points === undefined) {
    throw new Error(`no run of '${curve}' is kept`);
  }
  return points;
}

/** The newest file of that name, whose directory begins with its day. */
function newest<T>(name: string): { readonly path: string; readonly content: T } {
  const results = join(ROOT, 'bench/results');
  const directory = readdirSync(results)
    .sort()
    .findLast((each) => existsSync(join(results, each, name)));
  if (directory === undefined) {
    throw new Error(`no ${name} in bench/results/`);
  }
  const path = `bench/results/${directory}/${name}`;
  return { path, content: JSON.parse(readFileSync(join(ROOT, path), 'utf8')) as T };
}

function comparedText({ path, content }: { readonly path: string; readonly content: Results }): string {
  const { date, machine, peers } = content;
  const versions = peers.map(({ name, version }) => `${name} ${version}`).join('; ');
  return `[${path}](../${path}), ${date.slice(0, 10)}: ${machine.cores} cores of ${machine.processor}, ${Math.round(machine.memoryBytes / 2 ** 30)} GiB, Linux ${machine.kernel}, Node ${machine.node}; stores on ${machine.filesystem}. ${versions}.`;
}

/** How much each curve grows where it is longest, as a power of the size: 1 is linear. */
function growthTable(growth: Growth): string {
  const rows = GROWTH_PLOTS.flatMap(({ unit, curves }) =>
    curves.map((curve) => {
      const points = pointsOf(growth, curve);
      const [[size = 1, seconds = 1] = [], [last = 1, most = 1] = []] = points.slice(-2);
      const power = Math.log(most / seconds) / Math.log(last / size);
      const times = points
        .map(([at, time]) => `${at.toLocaleString('en')}: ${time.toPrecision(3)} s`)
        .join('; ');
      return `| ${curve} | ${unit} | ${times} | ${power.toFixed(2)} |`;
    }),
  );
  return ['| what | of | times | power of the size, last two |', '|---|---|---|---|', ...rows].join('\n');
}

function between(page: string, name: string, content: string): string {
  const [begin, end] = [`<!-- ${name}: made by npm run generate -->`, `<!-- end of ${name} -->`];
  const [from, to] = [page.indexOf(begin), page.indexOf(end)];
  if (from < 0 || to < from) {
    throw new Error(`${PAGE} has no place for '${name}'`);
  }
  return `${page.slice(0, from + begin.length)}\n\n${content}\n\n${page.slice(to)}`;
}
