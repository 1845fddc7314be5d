/**
 * What it costs to record owners: the same `apt-get install` with subordinate ids and with one id, in turn.
 *
 *   runuser -u USER -- node bench/build/recorder.ts [ROUNDS]
 *
 * As a user with subordinate ids. A base of Debian bookworm is made once for each way, and the packages are downloaded into a
 * layer of it; what is measured is the step that unpacks and configures them, without network. Prints the times of both, on the
 * clock and of processors, and the ratios: on a busy machine the processors' is the one to look at.
 */

import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { assemblySteps } from '../../src/debian/assembly.ts';
import { createArchiveFetch } from '../../src/debian/fetch.ts';
import { downloadPackages, resolveDebian } from '../../src/debian/resolve.ts';
import type { LayerId } from '../../src/solver/op.ts';
import { startWorker } from '../../src/worker/client.ts';
import type { StepParams, Worker } from '../../src/worker/protocol.ts';
import { execAction } from '../../test/support/exec-action.ts';

const PACKAGES = 'at man-db ssl-cert postgresql-common systemd acl libcap2-bin';
const rounds = Number(process.argv[2] ?? 7);
const dir = mkdtempSync(join(process.env.TSBUILD_BENCH_DIR ?? tmpdir(), 'tsbuild-bench-'));
const signal = new AbortController().signal;
const architecture = process.arch === 'arm64' ? 'arm64' : 'amd64';

try {
  const directory = join(dir, 'packages');
  mkdirSync(directory);
  const fetch = createArchiveFetch();
  const plan = await resolveDebian({ suite: 'bookworm', architecture, packages: [] }, { fetch, directory });
  await downloadPackages(plan, { fetch, directory });
  await fetch.close();
  const packages = plan.packages.map(({ sha256 }) => ({ sha256, path: join(directory, sha256) }));

  const prepare = async (idMode: 'multi' | 'single') => {
    const storeDir = join(dir, idMode);
    const worker = await startWorker({
      storeDir,
      isolation: idMode === 'multi' ? 'subordinate-ids' : 'single-id',
      snapshotter: 'overlay',
      hostTrust: { proxies: {}, mirrors: {} },
      signal,
    });
    await worker.call(
      'assembleDebian',
      { layer: 'base' as LayerId, packages, steps: assemblySteps(plan), logPath: join(dir, `${idMode}.log`) },
      { signal },
    );
    const download = `apt-get update -qq && apt-get install -qq --no-install-recommends --download-only ${PACKAGES}`;
    await step(worker, 'downloaded', ['base'], download, 'host');
    return worker;
  };
  const [multi, single] = [await prepare('multi'), await prepare('single')];

  const install = `apt-get install -qq --no-install-recommends --no-download ${PACKAGES}`;
  const measure = async (worker: Worker, layer: string) => {
    const [before, processorsBefore] = [performance.now(), processorSeconds()];
    await step(worker, layer, ['base', 'downloaded'], install, 'none');
    const clock = (performance.now() - before) / 1000;
    const processors = processorSeconds() - processorsBefore;
    await worker.call('removeLayers', { layers: [layer as LayerId] }, { signal });
    return { clock, processors };
  };
  const times: { real: Measured; recorded: Measured }[] = [];
  for (let round = 0; round < rounds; round += 1) {
    const real = await measure(multi, `run-${round}`);
    const recorded = await measure(single, `run-${round}`);
    times.push({ real, recorded });
    console.log(line(real, recorded));
  }
  const median = (values: number[]) => values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? 0;
  const medians = (which: 'real' | 'recorded') => ({
    clock: median(times.map((it) => it[which].clock)),
    processors: median(times.map((it) => it[which].processors)),
  });
  console.log(`medians of ${rounds}: ${line(medians('real'), medians('recorded'))}`);
  for (const worker of [multi, single]) {
    // Files of subordinate ids are only the worker's to remove.
    await worker.call('removeLayers', { layers: ['base', 'downloaded'] as LayerId[] }, { signal });
    await worker.close();
  }
} finally {
  rmSync(dir, { recursive: true, force: true });
}

interface Measured {
  readonly clock: number;
  readonly processors: number;
}

function line(real: Measured, recorded: Measured): string {
  const times = ({ clock, processors }: Measured) =>
    `${clock.toFixed(2)} s (processors ${processors.toFixed(2)} s)`;
  const ratio = (which: keyof Measured) => (recorded[which] / real[which]).toFixed(3);
  return `${times(real)} with subordinate ids, ${times(recorded)} recorded: ${ratio('clock')} (processors ${ratio('processors')})`;
}

/** Of all that this process has started, and what has ended of it. */
function processorSeconds(pid = process.pid): number {
  const TICKS_PER_SECOND = 100;
  const children = readdirSync(`/proc/${pid}/task`).flatMap((task) =>
    readFileSync(`/proc/${pid}/task/${task}/children`, 'utf8').split(' ').filter(Boolean).map(Number),
  );
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8')
    .replace(/^.*\) /, '')
    .split(' ');
  // utime, stime and the same of children that were waited for: fields 14 to 17, counted from 1.
  const own = pid === process.pid ? 0 : fields.slice(11, 15).reduce((sum, ticks) => sum + Number(ticks), 0);
  return children.reduce((sum, child) => sum + processorSeconds(child), own / TICKS_PER_SECOND);
}

async function step(
  worker: Worker,
  layer: string,
  parents: readonly string[],
  script: string,
  network: 'host' | 'none',
): Promise<void> {
  const params: StepParams = {
    layer: layer as LayerId,
    parents: parents as LayerId[],
    actions: [
      execAction(['/bin/sh', '-ec', script], { env: [['DEBIAN_FRONTEND', 'noninteractive']], network }),
    ],
    inputs: [{ kind: 'none' }],
    secrets: {},
    logPath: join(dir, `${layer}.log`),
    lentEnv: {},
  };
  await worker.call('step', params, { signal });
}
