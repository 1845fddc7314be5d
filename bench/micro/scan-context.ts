/**
 * A context of 20,000 files beside an ignored `node_modules` of 40,000: scan, then selection of all of it with every hash known.
 *
 *   node bench/micro/scan-context.ts
 */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ScannedContext } from '../../src/local/scan-context.ts';
import { native } from '../../src/native/addon.ts';
import { MemoryStatCache } from '../../test/support/plain-scan.ts';

const DIRECTORIES = 200;
const ROUNDS = 20;
const IGNORE = '**/node_modules\n.git\n**/*.log\n*.md\n!README.md\ndist\n';
const ALL = [{ source: '.', select: { wildcards: true, parents: false, exclude: [] } }];

const directory = mkdtempSync(join(tmpdir(), 'tsbuild-bench-'));
try {
  fill('src', 100);
  fill('node_modules', 200);
  const tools = {
    native: native(),
    statCache: new MemoryStatCache(),
    // Long after the files were written, so that their hashes are remembered.
    now: () => BigInt(Date.now() + 3_600_000) * 1_000_000n,
  };
  const scans: number[] = [];
  const selections: number[] = [];
  for (let round = 0; round < ROUNDS; round += 1) {
    const started = performance.now();
    const ignore = { name: '.dockerignore', text: IGNORE };
    const context = await ScannedContext.scan({ name: 'context', directory, ignore }, tools);
    const scanned = performance.now();
    await context.files(ALL, tools);
    scans.push(scanned - started);
    selections.push(performance.now() - scanned);
  }
  console.log(`first scan ${ms(scans[0])}, median ${ms(median(scans))}`);
  console.log(`first selection, which hashes, ${ms(selections[0])}, median ${ms(median(selections))}`);
} finally {
  rmSync(directory, { recursive: true });
}

function fill(name: string, filesEach: number): void {
  for (let number = 0; number < DIRECTORIES; number += 1) {
    const at = join(directory, name, `d${number}`);
    mkdirSync(at, { recursive: true });
    for (let file = 0; file < filesEach; file += 1) {
      writeFileSync(join(at, `f${file}.ts`), `${number} ${file}`);
    }
  }
}

function median(values: readonly number[]): number | undefined {
  return values.toSorted((one, other) => one - other)[Math.floor(values.length / 2)];
}

function ms(value: number | undefined): string {
  return `${value?.toFixed(0)} ms`;
}
