/** docs/performance.md and its plots, from raw runs. */
import type { MeasuredStage } from '../micro/measured-stage.ts';
import { type MeasuredRow, MOST_UNEQUAL, median, type Results } from './results.ts';

const OTHERS = ['buildkit', 'buildah'] as const;

type Other = (typeof OTHERS)[number];

function othersOf({ peers }: Results): readonly Other[] {
  return OTHERS.filter((name) => peers.some((peer) => peer.name === name));
}

/** The table of the page. */
export function comparisonTable(results: Results): string {
  const others = othersOf(results);
  const header = [
    'build',
    'tsbuild',
    ...others,
    ...others.map((name) => `ratio to ${name}`),
    'target',
    'peak memory',
    'written',
    'images',
  ];
  const lines = results.rows.map((row) => [
    row.title,
    spread(row.seconds.tsbuild),
    ...others.map((name) => row.lacking[name] ?? `${spread(row.seconds[name])}${hungText(row, name)}`),
    ...others.map((name) => ratioText(row, name)),
    targetText(row),
    ['tsbuild', ...others].map((name) => mebibytes(row.peakBytes[name])).join(' / '),
    ['tsbuild', ...others].map((name) => megabytes(row.bytesWritten[name])).join(' / '),
    imagesText(row, others),
  ]);
  return [header, header.map(() => '---'), ...lines].map((cells) => `| ${cells.join(' | ')} |`).join('\n');
}

/** What the table only counts, by builder; empty where there is nothing. */
export function differencesText(results: Results): string {
  return othersOf(results)
    .flatMap((name) => {
      const paths = new Set(
        results.rows.flatMap(({ unequal }) => unequal[name] ?? []).map(({ path }) => path),
      );
      const text = [...paths].sort().map((path) => `\`${path}\``);
      return paths.size === 0 ? [] : [`Paths that differ in ${name}'s images: ${text.join(', ')}.`];
    })
    .join('\n\n');
}

/** Rates, and how far each stage is from its limit: 1 is as fast. */
export function stagesTable(stages: readonly MeasuredStage[]): string {
  const rate = ({ amount, unit }: MeasuredStage, seconds: readonly number[]) =>
    `${Math.round(amount / median(seconds)).toLocaleString('en')} ${unit}/s`;
  const rows = stages.map((stage) => [
    stage.name,
    rate(stage, stage.seconds),
    stage.limit,
    rate(stage, stage.limitSeconds),
    (median(stage.limitSeconds) / median(stage.seconds)).toFixed(2),
  ]);
  const header = ['stage', 'tsbuild', 'limit', 'its rate', 'ours ÷ limit'];
  return [header, header.map(() => '---'), ...rows].map((cells) => `| ${cells.join(' | ')} |`).join('\n');
}

export function ratio(row: MeasuredRow, other: string): number | undefined {
  const [ours, theirs] = [row.seconds.tsbuild, row.seconds[other]];
  return ours === undefined || theirs === undefined ? undefined : median(theirs) / median(ours);
}

function ratioText(row: MeasuredRow, other: string): string {
  const value = ratio(row, other);
  return value === undefined ? '–' : value.toFixed(value < 10 ? 1 : 0);
}

function imagesText({ unequal, seconds }: MeasuredRow, others: readonly string[]): string {
  const compared = others.filter((name) => seconds[name] !== undefined);
  if (compared.length === 0) {
    return '–';
  }
  const texts = compared.map((name) => {
    const { length } = unequal[name] ?? [];
    const count = length < MOST_UNEQUAL ? String(length) : `at least ${length}`;
    return { name, text: length === 0 ? 'equal' : `${count} paths differ` };
  });
  return texts.every(({ text }) => text === 'equal')
    ? 'equal'
    : texts.map(({ name, text }) => `${name}: ${text}`).join('; ');
}

function hungText({ hung }: MeasuredRow, name: string): string {
  const times = hung[name];
  return times === undefined ? '' : `, and ${times} more that did not end`;
}

function targetText({ target, targetSeconds }: MeasuredRow): string {
  return [
    ...(target === undefined ? [] : [`at least ${target}`]),
    ...(targetSeconds === undefined ? [] : [`under ${targetSeconds} s`]),
  ].join(', ');
}

function spread(values: readonly number[] | undefined): string {
  if (values === undefined) {
    return '–';
  }
  const digits = median(values) < 1 ? 3 : 2;
  return `${median(values).toFixed(digits)} s (${Math.min(...values).toFixed(digits)} to ${Math.max(...values).toFixed(digits)})`;
}

function mebibytes(bytes: number | undefined): string {
  return bytes === undefined ? '–' : `${Math.round(bytes / 2 ** 20)} MiB`;
}

function megabytes(values: readonly number[] | undefined): string {
  return values === undefined ? '–' : `${(median(values) / 1e6).toFixed(0)} MB`;
}

const WIDTH = 860;
const LABEL_WIDTH = 330;
const BAR_HEIGHT = 12;
const ROW_HEIGHT = 24;
/** Of buildah's bar, which is below BuildKit's. */
const SECOND_HEIGHT = 9;
const TOP = 34;

/** Ratios to BuildKit as bars on a logarithmic scale, each with its target as a line across; where there is buildah, with a second bar. */
export function ratioPlot(results: Results): string {
  const second = othersOf(results).includes('buildah');
  const rows = results.rows.flatMap((row) => {
    const [value, below] = [ratio(row, 'buildkit'), ratio(row, 'buildah')];
    return value === undefined && below === undefined ? [] : [{ row, value, below }];
  });
  const values = rows.flatMap(({ value, below }) => [value, below].filter((each) => each !== undefined));
  const most = Math.max(2, ...values, ...rows.map(({ row }) => row.target ?? 0));
  const least = Math.min(0.5, ...values);
  const x = (value: number) =>
    LABEL_WIDTH + ((WIDTH - LABEL_WIDTH - 60) * Math.log(value / least)) / Math.log(most / least);
  const bar = (value: number, y: number, height: number, colour: string) => {
    const [from, to] = [Math.min(x(1), x(value)), Math.max(x(1), x(value))];
    return [
      `<rect x="${from.toFixed(1)}" y="${y}" width="${(to - from).toFixed(1)}" height="${height}" fill="${colour}"/>`,
      `<text x="${(to + 6).toFixed(1)}" y="${y + height - 2}"${height === BAR_HEIGHT ? '' : ' font-size="10"'}>${value.toFixed(value < 10 ? 1 : 0)}</text>`,
    ];
  };
  const rowHeight = ROW_HEIGHT + (second ? SECOND_HEIGHT : 0);
  const bars = rows.map(({ row, value, below }, index) => {
    const y = TOP + index * rowHeight;
    const target =
      row.target === undefined || value === undefined
        ? ''
        : `<line x1="${x(row.target).toFixed(1)}" x2="${x(row.target).toFixed(1)}" y1="${y - 2}" y2="${y + BAR_HEIGHT + 2}" stroke="#b00" stroke-width="2"/>`;
    return [
      `<text x="${LABEL_WIDTH - 8}" y="${y + 10}" text-anchor="end">${escapeXml(row.title)}</text>`,
      ...(value === undefined ? [] : bar(value, y, BAR_HEIGHT, value >= 1 ? '#3a7' : '#c84')),
      target,
      ...(below === undefined ? [] : bar(below, y + BAR_HEIGHT + 1, SECOND_HEIGHT, '#9bd')),
    ].join('\n');
  });
  const height = TOP + rows.length * rowHeight + 8;
  const legend = `BuildKit's time divided by tsbuild's (logarithmic); the red lines are targets${second ? "; in blue below it, buildah's" : ''}`;
  return svg(
    height,
    "BuildKit's time divided by tsbuild's",
    [
      `<text x="${second ? 8 : LABEL_WIDTH}" y="16">${legend}</text>`,
      `<line x1="${x(1).toFixed(1)}" x2="${x(1).toFixed(1)}" y1="${TOP - 6}" y2="${height - 4}" stroke="#555"/>`,
      ...bars,
    ].join('\n'),
  );
}

export interface Curve {
  readonly name: string;
  /** In the unit of the axis, and seconds. */
  readonly points: readonly (readonly [size: number, seconds: number])[];
}

const PLOT_HEIGHT = 300;

/** Both axes logarithmic, so that what is linear is a line of one in one; a dashed line shows that. */
export function growthPlot(title: string, unit: string, curves: readonly Curve[]): string {
  const all = curves.flatMap(({ points }) => points);
  const sizes = all.map(([size]) => size);
  const times = all.map(([, seconds]) => seconds);
  const [left, right, top, bottom] = [70, WIDTH - 170, 40, PLOT_HEIGHT - 40];
  const scale = (values: readonly number[], from: number, to: number) => {
    const [low, high] = [Math.log(Math.min(...values)), Math.log(Math.max(...values) * 1.0001)];
    return (value: number) => from + ((to - from) * (Math.log(value) - low)) / (high - low);
  };
  const x = scale(sizes, left, right);
  const y = scale(times, bottom, top);
  const lines = curves.map(({ name, points }, index) => {
    const colour = ['#37a', '#c84', '#3a7', '#a3a'][index % 4];
    const path = points.map(([size, seconds]) => `${x(size).toFixed(1)},${y(seconds).toFixed(1)}`).join(' ');
    const [lastSize, lastSeconds] = points.at(-1) ?? [1, 1];
    return [
      `<polyline points="${path}" fill="none" stroke="${colour}" stroke-width="2"/>`,
      ...points.map(
        ([size, seconds]) =>
          `<circle cx="${x(size).toFixed(1)}" cy="${y(seconds).toFixed(1)}" r="3" fill="${colour}"/><text x="${x(size).toFixed(1)}" y="${(y(seconds) - 7).toFixed(1)}" text-anchor="middle" font-size="10">${seconds.toPrecision(2)} s</text>`,
      ),
      `<text x="${(x(lastSize) + 8).toFixed(1)}" y="${(y(lastSeconds) + 4).toFixed(1)}" fill="${colour}">${escapeXml(name)}</text>`,
    ].join('\n');
  });
  const ticks = [...new Set(sizes)].map(
    (size) =>
      `<text x="${x(size).toFixed(1)}" y="${bottom + 18}" text-anchor="middle">${size.toLocaleString('en')}</text>`,
  );
  return svg(
    PLOT_HEIGHT,
    title,
    [
      `<text x="${left}" y="16">${escapeXml(title)}</text>`,
      `<text x="${right}" y="${bottom + 34}" text-anchor="end">${escapeXml(unit)}</text>`,
      `<polyline points="${left},${top} ${left},${bottom} ${right},${bottom}" fill="none" stroke="#555"/>`,
      ...ticks,
      ...lines,
    ].join('\n'),
  );
}

function svg(height: number, title: string, content: string): string {
  return `<svg xmlns="http://www.w3.org/2000/svg" width="${WIDTH}" height="${height}" viewBox="0 0 ${WIDTH} ${height}" font-family="sans-serif" font-size="12">
<title>${escapeXml(title)}</title>
<rect width="${WIDTH}" height="${height}" fill="#fff"/>
${content}
</svg>
`;
}

function escapeXml(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;');
}
