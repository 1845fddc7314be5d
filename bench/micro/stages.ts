/**
 * Each stage of the native helper alone, in turn with what bounds it on this machine: `node bench/micro/stages.ts [--rounds N]
 * [--scale full|small] [--results DIRECTORY] [--work DIRECTORY]`.
 *
 * A limit is a well-known program that does the same or less with the same bytes: `tar`, `zstd -b`, `openssl speed`, `cp -a`, `find`.
 */
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { native } from '../../src/native/addon.ts';
import { makeGround } from '../compare/ground.ts';
import { Content, writeTree } from '../compare/inputs.ts';
import { median } from '../compare/results.ts';
import type { MeasuredStage } from './measured-stage.ts';

interface Stage {
  readonly name: string;
  /** What the work is measured in. */
  readonly amount: number;
  readonly unit: 'MB' | 'files';
  readonly run: () => Promise<unknown>;
  /** Gives seconds. */
  readonly limit: { readonly name: string; readonly run: () => number };
}

const { values } = parseArgs({
  options: {
    // What they make is not deleted, and the ground has room for so many.
    rounds: { type: 'string', default: '3' },
    scale: { type: 'string', default: 'full' },
    results: { type: 'string', default: join(import.meta.dirname, '../results') },
    work: { type: 'string', default: tmpdir() },
  },
});
const [files, treeBytes, bigBytes] = values.scale === 'full' ? [20_000, 240e6, 760e6] : [1000, 12e6, 38e6];
const cores = availableParallelism();
const work = mkdtempSync(join(values.work, 'tsbuild-stages-'));
const ground = makeGround(work, 'stages');
const at = (name: string) => join(ground.directory, name);
const tree = at('tree');

try {
  writeTree(tree, files, treeBytes, 5);
  mkdirSync(join(tree, 'big'));
  for (let index = 0; index < 4; index += 1) {
    writeFileSync(join(tree, `big/${index}`), new Content(index + 1).bytes(bigBytes / 4));
  }
  const layer = { root: tree, lowers: [] };
  const tar = await native().writeLayer({ ...layer, output: at('plain.tar'), compression: 'none', level: 0 });
  await native().writeLayer({ ...layer, output: at('blob.zst'), compression: 'zstd', level: 3 });
  await native().writeLayer({ ...layer, output: at('blob.gz'), compression: 'gzip', level: 6 });
  const megabytes = tar.uncompressedSizeBytes / 1e6;
  const paths = (await native().scanTree(tree))
    .filter(({ kind }) => kind === 'file')
    .map(({ path }) => Buffer.concat([Buffer.from(`${tree}/`), path]));
  const measured: MeasuredStage[] = [];
  const stages: readonly Stage[] = [
    {
      name: 'context scan',
      amount: paths.length,
      unit: 'files',
      run: () => native().scanTree(tree),
      limit: {
        name: 'find -printf',
        run: () => shell(`find ${tree} -printf '%i %s %T@ %C@ %p\\n' > /dev/null`),
      },
    },
    {
      name: 'hash of files',
      amount: megabytes,
      unit: 'MB',
      run: () => native().hashFiles(paths),
      limit: { name: `openssl speed sha256, ${cores} cores`, run: () => opensslSeconds(megabytes) },
    },
    {
      name: 'walk, tar, two digests',
      amount: megabytes,
      unit: 'MB',
      run: () => native().writeLayer({ ...layer, output: at('out'), compression: 'none', level: 0 }),
      limit: { name: 'tar', run: () => shell(`tar -C ${tree} -cf ${at('out2')} .`) },
    },
    {
      name: 'the same with zstd 3',
      amount: megabytes,
      unit: 'MB',
      run: () => native().writeLayer({ ...layer, output: at('out'), compression: 'zstd', level: 3 }),
      limit: { name: `zstd -b3 -T${cores}`, run: () => zstdSeconds(megabytes) },
    },
    {
      name: 'the same with gzip 6',
      amount: megabytes,
      unit: 'MB',
      run: () => native().writeLayer({ ...layer, output: at('out'), compression: 'gzip', level: 6 }),
      limit: {
        name: `gzip -6, ${cores} at a time`,
        run: () =>
          shell(
            `split -n ${cores} ${at('plain.tar')} ${at('part-')}; for part in ${at('part-')}*; do gzip -6 -c $part > /dev/null & done; wait; rm ${at('part-')}*`,
          ),
      },
    },
    {
      name: 'unpack of zstd',
      amount: megabytes,
      unit: 'MB',
      run: () => unpack('blob.zst'),
      limit: { name: 'zstd -dc | tar -x', run: () => unpackWith(`zstd -dc ${at('blob.zst')}`) },
    },
    {
      name: 'unpack of gzip',
      amount: megabytes,
      unit: 'MB',
      run: () => unpack('blob.gz'),
      limit: { name: 'gzip -dc | tar -x', run: () => unpackWith(`gzip -dc ${at('blob.gz')}`) },
    },
    {
      name: 'diff of a tree with itself',
      amount: paths.length,
      unit: 'files',
      run: async () => {
        const upper = fresh('upper');
        await native().diffTree({ lowers: [tree], changed: tree, upper, overlayXattrs: 'trusted' });
      },
      limit: {
        name: 'find -printf',
        run: () => shell(`find ${tree} -printf '%i %s %T@ %C@ %p\\n' > /dev/null`),
      },
    },
    {
      name: 'copy of a tree',
      amount: megabytes,
      unit: 'MB',
      run: () => native().flattenLayers({ lowers: [tree], target: fresh('copy') }),
      limit: { name: 'cp -a', run: () => shell(`cp -a ${tree}/. ${fresh('copy2')}`) },
    },
  ];
  for (const { name, amount, unit, run, limit } of stages) {
    const seconds: number[] = [];
    const limitSeconds: number[] = [];
    for (let round = 0; round < Number(values.rounds); round += 1) {
      seconds.push(await timed(run));
      limitSeconds.push(limit.run());
    }
    measured.push({ name, unit, amount, seconds, limit: limit.name, limitSeconds });
    console.error(
      `${name}: ${(amount / median(seconds)).toFixed(0)} ${unit}/s; ${limit.name}: ${(amount / median(limitSeconds)).toFixed(0)} ${unit}/s`,
    );
  }
  const directory = join(values.results, `${new Date().toISOString().slice(0, 10)}-${cores}-cores`);
  mkdirSync(directory, { recursive: true });
  writeFileSync(join(directory, 'stages.json'), `${JSON.stringify(measured, null, 1)}\n`);
} finally {
  ground[Symbol.dispose]();
  rmSync(work, { recursive: true, force: true });
}

async function timed(run: () => Promise<unknown>): Promise<number> {
  const start = performance.now();
  await run();
  return (performance.now() - start) / 1000;
}

function shell(script: string): number {
  const start = performance.now();
  const { status, stderr } = spawnSync('bash', ['-c', script], { encoding: 'utf8' });
  if (status !== 0) {
    throw new Error(`${script}: ${stderr}`);
  }
  return (performance.now() - start) / 1000;
}

/** What was made before is not deleted: that would slow what follows. */
function fresh(name: string): string {
  return mkdtempSync(at(`${name}-`));
}

async function unpack(blob: string): Promise<void> {
  await native().unpackLayer({
    blob: at(blob),
    compression: 'auto',
    root: fresh('unpacked'),
    overlayXattrs: 'trusted',
    devices: 'create',
  });
}

function unpackWith(reader: string): number {
  return shell(`${reader} | tar -C ${fresh('untarred')} -x`);
}

function opensslSeconds(megabytes: number): number {
  const { stdout } = spawnSync(
    'openssl',
    ['speed', '-mr', '-seconds', '1', '-bytes', '16384', '-multi', String(cores), '-evp', 'sha256'],
    { encoding: 'utf8' },
  );
  const bytesPerSecond = Number(/^\+F:\d+:[^:]+:([\d.]+)/m.exec(stdout)?.[1]);
  return (megabytes * 1e6) / bytesPerSecond;
}

function zstdSeconds(megabytes: number): number {
  const { stdout } = spawnSync('zstd', ['-b3', `-T${cores}`, '-i3', at('plain.tar')], { encoding: 'utf8' });
  // Each line overwrites the one before; the last that has both rates is the best of them.
  const rate = Number([...stdout.matchAll(/([\d.]+) MB\/s, +[\d.]+ MB\/s/g)].at(-1)?.[1]);
  return megabytes / rate;
}
