/** What limits of steps and containers do where control groups can be had. Prints JSON. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Engine, type EngineOptions } from '../../src/engine.ts';
import { StepError, TsbuildError } from '../../src/errors.ts';
import { findCgroupPlace } from '../../src/executor/cgroup-place.ts';
import type { BuildEvent } from '../../src/solver/event.ts';
import { busyboxImage } from './busybox.ts';

const [storeDir = ''] = process.argv.slice(2);
const events: BuildEvent[] = [];
const open = (options: EngineOptions = {}) =>
  Engine.open({
    storeDir,
    env: { PATH: process.env.PATH },
    hostCa: 'never',
    onEvent: (event) => events.push(event),
    ...options,
  });
const outcome = (work: Promise<unknown>) =>
  work.then(
    () => 'passed',
    (error) =>
      error instanceof TsbuildError
        ? {
            code: error.code,
            hint: error.hint,
            reason: error instanceof StepError ? error.reason : undefined,
          }
        : String(error),
  );
const membership = () => readFileSync('/proc/self/cgroup', 'utf8');
const before = membership();
const MIB = 1024 ** 2;

/** More than any limit here. */
const EAT = 'x=a; while :; do x=$x$x; done';
const FORK = 'i=0; while [ $i -lt 30 ]; do sleep 1 & i=$((i+1)); done; exit 3';
/** Version 2 shows a step its own group; with version 1 the machine's are there, with this one among them. */
const LIMITS = `
  cd /sys/fs/cgroup
  if [ -e cpu.max ]; then cat cpu.max memory.max pids.max; else
    cat cpu/tsbuild-step-*/cpu.cfs_quota_us $(find memory -name 'tsbuild-step-*' | head -1)/memory.limit_in_bytes pids/tsbuild-step-*/pids.max
  fi`;
const results: Record<string, unknown> = {};
const image = busyboxImage();
{
  await using engine = await open({ memoryBytes: 64 * MIB, cpus: 0.5, pidsLimit: 10 });
  const { stdout } = await engine.run(image, ['sh', '-c', LIMITS]);
  results.shown = String(stdout).trim().split('\n');
  // What the limits cost is lower for a step that says so itself.
  results.step = await outcome(engine.build([image.runCommands(EAT, { memory: 32 })]));
  results.container = await outcome(engine.run(image, ['sh', '-c', EAT], { memory: 16 }));
  results.processes = await outcome(engine.build([image.runCommands(FORK)]));
  // One that ends by itself, whatever it left behind, is none of these.
  results.daemon = await outcome(engine.build([image.runCommands('setsid sleep 60 & echo done')]));
}
{
  // Limits are in no key.
  const step = image.runCommands('echo once');
  await using limited = await open({ memoryBytes: 64 * MIB });
  const [first] = await limited.build([step]);
  await using other = await open({
    memoryBytes: 128 * MIB,
    pidsLimit: 100,
    stepTimeoutMs: 60_000,
    stepRetries: 1,
  });
  const [second] = await other.build([image.runCommands('echo once', { memory: 50, cpu: 1, retries: 2 })]);
  results.key = { same: first?.id === second?.id, cached: second?.layers.every(({ cached }) => cached) };
}
results.moved = membership() === before ? [] : [before, membership()];
const { place, restore } = findCgroupPlace();
restore();
results.left = Object.values(place.directories).flatMap((directory) =>
  readdirSync(directory)
    .filter((name) => name.startsWith('tsbuild-'))
    .map((name) => join(directory, name)),
);
results.version = place.version;
results.warnings = events.flatMap((event) =>
  event.kind === 'warning' && event.code !== 'W_ISOLATION_SINGLE_ID' ? [event.code] : [],
);
console.log(JSON.stringify(results));
