/**
 * One blob from a real registry over one connection and over several, in turn: through a proxy that holds each connection up, and without one.
 *
 *   node bench/micro/pull-ranges.ts [--rounds 5] [--megabytes 200] [--directory /dev/shm] [--connections 1,4]
 *
 * Needs `docker-registry`. Each pull is a process of its own with an empty store: its wall time and its processor time, median and spread, and the most
 * memory of them all. The proxy is a thread of this process.
 */
import { execFile } from 'node:child_process';
import { createCipheriv } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs, promisify } from 'node:util';
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads';
import { BlobStore } from '../../src/content/blob-store.ts';
import { describe } from '../../src/image/manifest.ts';
import type { Descriptor } from '../../src/oci/descriptor.ts';
import { OCI_LAYER } from '../../src/oci/media-type.ts';
import { parseReference } from '../../src/oci/reference.ts';
import { RegistryClient } from '../../src/transport/registry/client.ts';
import { startDockerRegistry } from '../../test/support/docker-registry.ts';
import { type SlowProxyOptions, startSlowProxy } from '../../test/support/slow-proxy.ts';

interface Pull {
  readonly host: string;
  readonly descriptor: Descriptor;
  readonly directory: string;
  readonly connections: number;
}

interface Times {
  readonly wallMs: number;
  readonly cpuMs: number;
  readonly peakKiB: number;
}

const WAYS: readonly { readonly name: string; readonly slow?: SlowProxyOptions }[] = [
  { name: '30 MB/s a connection', slow: { bytesPerSecond: 30e6 } },
  { name: '30 MB/s, round trips of 50 ms', slow: { bytesPerSecond: 30e6, roundTripMs: 50 } },
  { name: 'no limit' },
];

const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '5' },
    megabytes: { type: 'string', default: '200' },
    directory: { type: 'string', default: '/dev/shm' },
    connections: { type: 'string', default: '1,4' },
    pull: { type: 'string' },
  },
});

if (!isMainThread) {
  const { host, slow } = workerData as { readonly host: string; readonly slow: SlowProxyOptions };
  parentPort?.postMessage((await startSlowProxy(host, slow)).host);
} else if (values.pull !== undefined) {
  process.stdout.write(JSON.stringify(await pullOnce(JSON.parse(values.pull))));
} else {
  await compare();
}

async function pullOnce({ host, descriptor, directory, connections }: Pull): Promise<Times> {
  const store = mkdtempSync(join(directory, 'store-'));
  const client = new RegistryClient({ ranges: { connections } });
  try {
    const reference = parseReference(`${host}/bench`);
    await client.greet(reference);
    const usedUs = process.cpuUsage();
    const startMs = performance.now();
    await client.fetchBlob(reference, descriptor, new BlobStore(store));
    const wallMs = performance.now() - startMs;
    const { user, system } = process.cpuUsage(usedUs);
    return { wallMs, cpuMs: (user + system) / 1000, peakKiB: peakKiB() };
  } finally {
    await client.close();
    rmSync(store, { recursive: true, force: true });
  }
}

/** What `getrusage` says begins with the memory of whoever started the process. */
function peakKiB(): number {
  return Number(/^VmHWM:\s+(\d+) kB$/m.exec(readFileSync('/proc/self/status', 'utf8'))?.[1]);
}

async function compare(): Promise<void> {
  const directory = mkdtempSync(join(values.directory, 'tsbuild-bench-'));
  try {
    await using registry = await startDockerRegistry();
    const descriptor = await upload(registry.host, Number(values.megabytes) * 1e6);
    for (const { name, slow } of WAYS) {
      const proxy =
        slow && new Worker(import.meta.filename, { workerData: { host: registry.host, slow }, argv: [] });
      const host = proxy === undefined ? registry.host : ((await once(proxy, 'message'))[0] as string);
      const counts = values.connections.split(',').map(Number);
      const times = new Map<number, Times[]>(counts.map((count) => [count, []]));
      for (let round = 0; round < Number(values.rounds); round += 1) {
        for (const [connections, seen] of times) {
          const pull: Pull = { host, descriptor, directory, connections };
          const { stdout } = await promisify(execFile)(process.execPath, [
            import.meta.filename,
            '--pull',
            JSON.stringify(pull),
          ]);
          seen.push(JSON.parse(stdout));
        }
      }
      for (const [connections, seen] of times) {
        console.log(
          `${name.padEnd(30)} ${connections} connections: ${spread(seen.map(({ wallMs }) => wallMs))} s, processor ${spread(
            seen.map(({ cpuMs }) => cpuMs),
          )} s, ${(Math.max(...seen.map(({ peakKiB }) => peakKiB)) / 1024).toFixed(0)} MiB at most`,
        );
      }
      await proxy?.terminate();
    }
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

/** Noise, of which no reader can make less. */
async function upload(host: string, sizeBytes: number): Promise<Descriptor> {
  const bytes = createCipheriv('aes-128-ctr', Buffer.alloc(16, 7), Buffer.alloc(16)).update(
    Buffer.alloc(sizeBytes),
  );
  const descriptor = describe(bytes, OCI_LAYER);
  const begun = await fetch(`http://${host}/v2/bench/blobs/uploads/`, { method: 'POST' });
  const place = new URL(begun.headers.get('location') ?? '');
  place.searchParams.set('digest', descriptor.digest);
  const { status } = await fetch(place, {
    method: 'PUT',
    headers: { 'content-type': 'application/octet-stream' },
    body: bytes,
  });
  if (status !== 201) {
    throw new Error(`the registry answered ${status}`);
  }
  return descriptor;
}

function spread(timesMs: readonly number[]): string {
  const sorted = timesMs.toSorted((a, b) => a - b);
  const at = (index: number) => ((sorted.at(index) ?? Number.NaN) / 1000).toFixed(2);
  return `${at(Math.floor(sorted.length / 2))} (${at(0)} to ${at(-1)})`;
}
