/**
 * What `engine.build(image)` takes in a running process when nothing changed: a tiny context and a hundred steps.
 *
 *   node bench/micro/no-op.ts [ROUNDS]
 *
 * Runs the compiled package (`npm run build:ts`) with a store of its own. Milliseconds of wall and processor time for each call, the
 * median and the slowest and quickest tenth. Every call looks at the files again: the last line says what a changed file costs to notice.
 */
import { appendFileSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Engine, Image } from '../../dist/index.js';

const rounds = Number(process.argv[2] ?? 200);
const directory = mkdtempSync(join(tmpdir(), 'tsbuild-bench-'));

function quantiles(values: readonly number[]): string {
  const sorted = values.toSorted((one, other) => one - other);
  const at = (part: number) => (sorted[Math.floor((sorted.length - 1) * part)] ?? 0).toFixed(2).padStart(7);
  return `${at(0.5)} (${at(0.1)} to ${at(0.9)})`;
}

async function measure(name: string, build: () => Promise<unknown>): Promise<void> {
  const wall: number[] = [];
  const cpu: number[] = [];
  for (let round = 0; round < rounds; round += 1) {
    const usedUs = process.cpuUsage();
    const startMs = performance.now();
    await build();
    wall.push(performance.now() - startMs);
    const { user, system } = process.cpuUsage(usedUs);
    cpu.push((user + system) / 1000);
  }
  console.log(`${name.padEnd(34)} wall ${quantiles(wall)} ms, processor ${quantiles(cpu)} ms`);
}

try {
  const context = join(directory, 'context');
  mkdirSync(context);
  writeFileSync(join(context, 'file'), 'a file');
  writeFileSync(join(context, 'Dockerfile'), 'FROM scratch\nCOPY file /file\nENV A=b\n');
  const steps = Array.from({ length: 100 }, (_, index) => `COPY file /file-${index}\n`);
  writeFileSync(join(context, 'many'), `FROM scratch\n${steps.join('')}`);
  // Scans of younger files are not remembered.
  await sleep(2100);
  await using engine = await Engine.open({ storeDir: join(directory, 'store') });
  const tiny = Image.fromDockerfile(join(context, 'Dockerfile'), { contextDir: context });
  const many = Image.fromDockerfile(join(context, 'many'), { contextDir: context });
  await engine.build([tiny, many]);
  await measure('tiny context', () => engine.build([tiny]));
  await measure('tiny context, new definition', () =>
    engine.build([Image.fromDockerfile(join(context, 'Dockerfile'), { contextDir: context })]),
  );
  await measure('a hundred steps', () => engine.build([many]));
  appendFileSync(join(context, 'file'), ', changed');
  const startMs = performance.now();
  await engine.build([tiny]);
  console.log(`a changed file is built in ${(performance.now() - startMs).toFixed(1)} ms`);
} finally {
  rmSync(directory, { recursive: true, force: true });
}
