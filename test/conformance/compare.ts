/**
 * Builds every case with two builders and lists where the images differ.
 *
 *   node test/conformance/compare.ts --left buildkit --right tsbuild [--show-decided] [PART OF A CASE'S NAME]...
 *   node test/conformance/compare.ts --left buildkit --right recorded --record
 *
 * A builder is `buildkit` (needs `buildctl` and BUILDKIT_HOST), `buildah`, `tsbuild`, or `recorded`: what `--record`
 * wrote of the left builder. A difference that no decision of the case covers makes the exit status 1.
 */
import { parseArgs } from 'node:util';
import { buildah } from './builders/buildah.ts';
import type { Builder } from './builders/builder.ts';
import { buildkit } from './builders/buildkit.ts';
import { tsbuild } from './builders/tsbuild.ts';
import { type Case, readCases } from './case.ts';
import { type Difference, differences, isDecided, type Result } from './differences.ts';
import { readRecord, writeRecord } from './record.ts';
import { makeSurroundings, type Surroundings } from './surroundings.ts';

const BUILDERS: Readonly<Record<string, () => Builder>> = { buildah, buildkit, tsbuild };

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    left: { type: 'string', default: 'recorded' },
    right: { type: 'string', default: 'tsbuild' },
    record: { type: 'boolean', default: false },
    'show-decided': { type: 'boolean', default: false },
    jobs: { type: 'string', default: '2' },
  },
});

interface Side {
  readonly name: string;
  readonly builder: Builder | undefined;
}

function sideOf(name: string): Side {
  const make = BUILDERS[name];
  if (make === undefined && name !== 'recorded') {
    throw new Error(`unknown builder '${name}': expected ${Object.keys(BUILDERS).join(', ')} or recorded`);
  }
  return { name, builder: make?.() };
}

async function resultOf(side: Side, item: Case, surroundings: Surroundings): Promise<Result> {
  return side.builder === undefined ? readRecord(item).result : await surroundings.build(side.builder, item);
}

interface Row {
  readonly name: string;
  readonly verdict: 'equal' | 'decided' | 'different' | 'broken' | 'not asked';
  readonly lines: readonly string[];
}

async function compareCase(item: Case, left: Side, right: Side, surroundings: Surroundings): Promise<Row> {
  const names = [left.name, right.name];
  const excuse = names.map((name) => item.notFor?.[name]).find((why) => why !== undefined);
  if (excuse !== undefined) {
    return { name: item.name, verdict: 'not asked', lines: [excuse] };
  }
  try {
    const leftResult = await resultOf(left, item, surroundings);
    if (values.record && left.builder !== undefined) {
      writeRecord(item, left.builder.version, leftResult);
    }
    const found = differences(leftResult, await resultOf(right, item, surroundings)).filter(
      ({ subject }) => ![left, right].some(({ builder }) => builder?.silentAbout?.test(subject)),
    );
    const open = found.filter((difference) => !isDecided(item, difference, names));
    const verdict = open.length > 0 ? 'different' : found.length > 0 ? 'decided' : 'equal';
    const shown = values['show-decided'] ? found : open;
    return { name: item.name, verdict, lines: shown.flatMap((one) => show(one, names)) };
  } catch (error) {
    return { name: item.name, verdict: 'broken', lines: String(error).trimEnd().split('\n').slice(-25) };
  }
}

function show({ subject, left, right }: Difference, [leftName = '', rightName = '']: string[]): string[] {
  const width = Math.max(leftName.length, rightName.length);
  return [subject, `  ${leftName.padEnd(width)}  ${left}`, `  ${rightName.padEnd(width)}  ${right}`];
}

const cases = readCases(positionals);
await using surroundings = await makeSurroundings(cases);
const left = sideOf(values.left);
const right = sideOf(values.right);
const rows: Row[] = [];
const waiting = [...cases];
await Promise.all(
  Array.from({ length: Number(values.jobs) }, async () => {
    for (let item = waiting.shift(); item !== undefined; item = waiting.shift()) {
      const row = await compareCase(item, left, right, surroundings);
      rows.push(row);
      console.log(`${row.verdict.padEnd(10)} ${row.name}`);
      for (const line of row.lines) {
        console.log(`           ${line}`);
      }
    }
  }),
);
await left.builder?.[Symbol.asyncDispose]();
await right.builder?.[Symbol.asyncDispose]();
const counts = new Map<string, number>();
for (const { verdict } of rows) {
  counts.set(verdict, (counts.get(verdict) ?? 0) + 1);
}
console.log([...counts].map(([verdict, count]) => `${count} ${verdict}`).join(', '));
process.exitCode = rows.some(({ verdict }) => verdict === 'different' || verdict === 'broken') ? 1 : 0;
