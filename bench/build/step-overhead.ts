/**
 * What a step costs when its command does nothing: 20 times `true` in a row on a cached base, no outputs.
 *
 *   node bench/build/step-overhead.ts [ROUNDS]
 *
 * Prints the median and the spread of the time from a step's start to its end, key look-up, mount, sandbox, commit and
 * record included; and the time of the whole build divided by its steps. The worker's part alone is measured by
 * bench/micro/step-overhead.ts.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Engine } from '../../src/engine.ts';
import { busyboxImage } from '../../test/support/busybox.ts';

const STEPS = 20;
const rounds = Number(process.argv[2] ?? 5);
const dir = mkdtempSync(join(process.env.TSBUILD_BENCH_DIR ?? tmpdir(), 'tsbuild-bench-'));

try {
  const perStep: number[] = [];
  const whole: number[] = [];
  await using engine = await Engine.open({
    storeDir: join(dir, 'store'),
    onEvent: (event) => {
      if (event.kind === 'vertex-finished' && event.outcome === 'done' && measuring) {
        perStep.push(event.durationMs);
      }
    },
  });
  let measuring = false;
  const base = busyboxImage().runCommands('true');
  await engine.run(base, ['/bin/sh', '-c', 'true'], {});
  measuring = true;
  for (let round = 0; round < rounds; round += 1) {
    let image = base;
    for (let step = 0; step < STEPS; step += 1) {
      image = image.runCommands(`true ${round}.${step}`);
    }
    const start = performance.now();
    await engine.exists(image, '/bin/sh');
    whole.push((performance.now() - start) / STEPS);
  }
  console.log(`a step: ${summary(perStep)}`);
  console.log(`the whole build per step: ${summary(whole)}`);
} finally {
  rmSync(dir, { recursive: true, force: true });
}

function summary(values: number[]): string {
  const sorted = values.toSorted((a, b) => a - b);
  const at = (share: number) => (sorted[Math.floor((sorted.length - 1) * share)] ?? Number.NaN).toFixed(1);
  return `median ${at(0.5)} ms, 5 % to 95 %: ${at(0.05)} to ${at(0.95)} ms, n=${sorted.length}`;
}
