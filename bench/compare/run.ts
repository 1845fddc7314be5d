/**
 * The same builds on tsbuild and its peers, in turn: `npm run bench`.
 *
 *   npm run bench -- [--rows ID,…] [--rounds N] [--scale full|small] [--results DIRECTORY] [--work DIRECTORY]
 *
 * Needs `npm run build`. BuildKit is measured where `buildctl` and `buildkitd` are on PATH (or in BUILDKIT_BIN) or BUILDKIT_HOST names
 * a daemon, buildah where it is on PATH (as root). Raw runs go to a file of JSON in the directory of results, row by row; rows that are named
 * take the place of theirs in the file of the day. `npm run generate` makes docs/performance.md of the newest.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { availableParallelism, cpus, release, tmpdir, totalmem } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { startDockerRegistry } from '../../test/support/docker-registry.ts';
import { buildahPeer, findBuildah } from './buildah.ts';
import { buildkitPeer, findBuildkit } from './buildkit.ts';
import { differences } from './equal.ts';
import { type Ground, makeGround } from './ground.ts';
import type { Scale } from './inputs.ts';
import { Hung, peakMemory, timeCommand } from './measure.ts';
import type { Peer, PeerName } from './peer.ts';
import type { MeasuredRow, Results } from './results.ts';
import { ROWS, type Row, type Surroundings } from './rows.ts';
import { tsbuildPeer } from './tsbuild.ts';

/** Of one builder in one row; then it is given up there. */
const MOST_HANGS = 2;

const { values } = parseArgs({
  options: {
    rows: { type: 'string' },
    rounds: { type: 'string', default: '5' },
    scale: { type: 'string', default: 'full' },
    results: { type: 'string', default: join(import.meta.dirname, '../results') },
    work: { type: 'string', default: tmpdir() },
  },
});
const wanted = values.rows?.split(',');
const unknown = wanted?.find((id) => !ROWS.some((row) => row.id === id));
if (unknown !== undefined) {
  console.error(`no row '${unknown}'; there are ${ROWS.map(({ id }) => id).join(', ')}`);
  process.exit(2);
}
const scale = values.scale as Scale;
const rounds = Number(values.rounds);
const work = mkdtempSync(join(values.work, 'tsbuild-bench-'));
const cleanUps: (() => unknown)[] = [() => rmSync(work, { recursive: true, force: true })];

try {
  const registry = await startDockerRegistry();
  cleanUps.push(() => registry[Symbol.asyncDispose]());
  const peers: Peer[] = [];
  const groundOf = (name: PeerName): Ground => {
    const ground = makeGround(work, name);
    cleanUps.push(() => ground[Symbol.dispose]());
    return ground;
  };
  const ownGround = groundOf('tsbuild');
  peers.push(tsbuildPeer(ownGround, versionOf('git', ['describe', '--always', '--dirty'])));
  const buildkit = findBuildkit();
  if (buildkit === undefined) {
    console.error(
      'without BuildKit: buildctl and buildkitd are not on PATH (as root), and BUILDKIT_HOST names no daemon',
    );
  } else {
    const peer = await buildkitPeer(groundOf('buildkit'), buildkit);
    cleanUps.push(() => peer[Symbol.asyncDispose]());
    peers.push(peer);
  }
  const buildah = findBuildah();
  if (buildah === undefined) {
    console.error('without buildah: it is not on PATH (as root)');
  } else {
    peers.push(await buildahPeer(groundOf('buildah'), buildah));
  }
  const date = new Date().toISOString();
  const directory = join(values.results, `${date.slice(0, 10)}-${availableParallelism()}-cores`);
  mkdirSync(directory, { recursive: true });
  const file = join(directory, scale === 'full' ? 'compare.json' : `compare-${scale}.json`);
  const results = (rows: readonly MeasuredRow[]): Results => ({
    date,
    machine: {
      processor: cpus()[0]?.model ?? 'unknown',
      cores: availableParallelism(),
      memoryBytes: totalmem(),
      kernel: release(),
      node: process.version,
      filesystem: ownGround.filesystem,
    },
    scale,
    peers: peers.map(({ name, version }) => ({ name, version })),
    rows,
  });
  // Of the same day, and not measured this time.
  const kept = wanted === undefined ? [] : keptRows(file);
  const measured = new Map(kept.map((row) => [row.id, row]));
  for (const row of ROWS.filter(({ id }) => wanted?.includes(id) ?? true)) {
    measured.set(row.id, await measureRow(row, peers, registry.host));
    const all = ROWS.flatMap(({ id }) => measured.get(id) ?? []);
    writeFileSync(file, `${JSON.stringify(results(all), null, 1)}\n`);
  }
  console.log(`written to ${file}`);
} finally {
  for (const cleanUp of cleanUps.reverse()) {
    await cleanUp();
  }
}

async function measureRow(row: Row, peers: readonly Peer[], registry: string): Promise<MeasuredRow> {
  const places = new Map<Peer, Surroundings>();
  const lacking: Record<string, string> = {};
  const hung: Record<string, number> = {};
  for (const peer of peers) {
    const directory = join(work, `${row.id}-${peer.name}`);
    mkdirSync(directory);
    const at: Surroundings = {
      peer,
      scale,
      directory,
      registry,
      build: async (build) => {
        if ((await unlessHung(() => timeCommand(peer.command(build)))) === undefined) {
          await timeCommand(peer.command(build));
        }
      },
    };
    await peer.reset();
    try {
      await row.prepare(at);
      places.set(peer, at);
    } catch (error) {
      if (!(error instanceof Hung)) {
        throw error;
      }
      hung[peer.name] = MOST_HANGS;
    }
  }
  const seconds: Record<string, number[]> = {};
  const bytesWritten: Record<string, number[]> = {};
  const add = (to: Record<string, number[]>, { name }: Peer, value: number) => {
    to[name] = [...(to[name] ?? []), value];
  };
  for (let round = 0; round < rounds; round += 1) {
    // Who goes first changes.
    for (const peer of round % 2 === 0 ? peers : peers.toReversed()) {
      const at = places.get(peer);
      if (at === undefined || (hung[peer.name] ?? 0) >= MOST_HANGS) {
        continue;
      }
      const build = await row.round(at, round);
      const lack = peer.lacks(build);
      if (lack !== undefined) {
        lacking[peer.name] = lack;
        continue;
      }
      const before = peer.bytesWritten();
      const time = await unlessHung(() => timeCommand(peer.command(build)));
      if (time === undefined) {
        hung[peer.name] = (hung[peer.name] ?? 0) + 1;
        await peer.reset();
        await row.prepare(at);
        continue;
      }
      const after = peer.bytesWritten();
      add(seconds, peer, time);
      if (before !== undefined && after !== undefined) {
        add(bytesWritten, peer, after - before);
      }
    }
  }
  const peakBytes: Record<string, number> = {};
  for (const [peer, at] of places) {
    const build = await row.round(at, rounds);
    if (peer.lacks(build) === undefined && hung[peer.name] === undefined) {
      const bytes = await unlessHung(() => peakMemory(peer.command(build), peer.servers));
      if (bytes !== undefined) {
        peakBytes[peer.name] = bytes;
      }
    }
  }
  const unequal = await differences([...places.values()], row);
  for (const { directory } of places.values()) {
    rmSync(directory, { recursive: true, force: true });
  }
  const measured: MeasuredRow = {
    id: row.id,
    title: row.title,
    ...(row.target === undefined ? {} : { target: row.target }),
    ...(row.targetSeconds === undefined ? {} : { targetSeconds: row.targetSeconds }),
    seconds,
    bytesWritten,
    peakBytes,
    lacking,
    hung,
    unequal,
  };
  const lines = [
    `${row.id}: ${Object.entries(seconds)
      .map(([name, times]) => `${name} ${times.map((time) => time.toFixed(3)).join(' ')}`)
      .join('; ')}`,
    ...Object.entries(unequal).flatMap(([name, all]) =>
      all.slice(0, 5).map(({ path, ours, theirs }) => `  UNEQUAL in ${name}'s: ${path}: ${ours} | ${theirs}`),
    ),
  ];
  console.error(lines.join('\n'));
  return measured;
}

function keptRows(file: string): readonly MeasuredRow[] {
  return existsSync(file) ? (JSON.parse(readFileSync(file, 'utf8')) as Results).rows : [];
}

/** Undefined when it hung. */
async function unlessHung(measure: () => Promise<number>): Promise<number | undefined> {
  try {
    return await measure();
  } catch (error) {
    if (!(error instanceof Hung)) {
      throw error;
    }
    console.error(error.message);
    return undefined;
  }
}

function versionOf(program: string, args: readonly string[]): string {
  return spawnSync(program, args, { encoding: 'utf8', cwd: import.meta.dirname }).stdout.trim();
}
