/**
 * What it costs to record owners: the same `apt-get install` with subordinate ids and with one id, in turn.
 *
 *   runuser -u USER -- node bench/build/recorder.ts [ROUNDS]
 *
 * As a user with subordinate ids. A base of Debian bookworm is made once for each way, and the packages are downloaded into a
 * layer of it; what is measured is the step that unpacks and configures them, without network. Prints the times of both, and
 * the ratio of each pair.
 */
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { assemblySteps } from '../../src/debian/assembly.ts';
import { createArchiveFetch } from '../../src/debian/fetch.ts';
import { downloadPackages, resolveDebian } from '../../src/debian/resolve.ts';
import type { LayerId } from '../../src/solver/op.ts';
import { startWorker } from '../../src/worker/client.ts';
import type { StepParams, Worker } from '../../src/worker/protocol.ts';

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
      idMode,
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
    const before = performance.now();
    await step(worker, layer, ['base', 'downloaded'], install, 'none');
    const seconds = (performance.now() - before) / 1000;
    await worker.call('removeLayers', { layers: [layer as LayerId] }, { signal });
    return seconds;
  };
  const times: { real: number; recorded: number }[] = [];
  for (let round = 0; round < rounds; round += 1) {
    const real = await measure(multi, `run-${round}`);
    const recorded = await measure(single, `run-${round}`);
    times.push({ real, recorded });
    console.log(
      `${real.toFixed(2)} s with subordinate ids, ${recorded.toFixed(2)} s recorded: ${(recorded / real).toFixed(3)}`,
    );
  }
  const median = (values: number[]) => values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? 0;
  const [real, recorded] = [median(times.map((it) => it.real)), median(times.map((it) => it.recorded))];
  const ratio = median(times.map((it) => it.recorded / it.real));
  console.log(
    `medians: ${real.toFixed(2)} s and ${recorded.toFixed(2)} s; ratio ${ratio.toFixed(3)}, n=${rounds}`,
  );
  await Promise.all([multi.close(), single.close()]);
} finally {
  rmSync(dir, { recursive: true, force: true });
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
      {
        kind: 'exec',
        argv: ['/bin/sh', '-ec', script],
        env: [['DEBIAN_FRONTEND', 'noninteractive']],
        cwd: '/',
        user: '',
        network,
        mounts: [],
        secretEnv: [],
        lend: [],
      },
    ],
    inputs: [{ kind: 'none' }],
    secrets: {},
    logPath: join(dir, `${layer}.log`),
    lentEnv: {},
  };
  await worker.call('step', params, { signal });
}
