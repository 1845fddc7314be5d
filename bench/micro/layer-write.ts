/**
 * Writing a layer of 1 GB against `tar | zstd -T0` on the same tree, in turn.
 *
 *     node bench/micro/layer-write.ts [--rounds 5] [--directory /dev/shm] [--megabytes 1024]
 *
 * The tree is seeded: half of it in a few big files, half in many small ones, some of it compressible and some not.
 * Prints the median and spread of the wall time, the ratio of the medians, peak memory and the sizes.
 */
import { spawnSync } from 'node:child_process';
import { createCipheriv } from 'node:crypto';
import { mkdirSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { availableParallelism, cpus } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';

const LEVEL = 3;

const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '5' },
    directory: { type: 'string', default: '/dev/shm' },
    megabytes: { type: 'string', default: '1024' },
    child: { type: 'string' },
  },
});

if (values.child !== undefined) {
  await writeOnce(values.child);
} else {
  compare();
}

/** In a process of its own, so that its peak memory is the writer's. */
async function writeOnce(root: string): Promise<void> {
  const { native } = await import('../../src/native/addon.ts');
  const addon = native();
  const idleKiB = process.resourceUsage().maxRSS;
  const start = process.hrtime.bigint();
  const layer = await addon.writeLayer({
    root,
    lowers: [],
    output: `${root}.blob`,
    compression: 'zstd',
    level: LEVEL,
  });
  const seconds = Number(process.hrtime.bigint() - start) / 1e9;
  const { maxRSS, userCPUTime, systemCPUTime } = process.resourceUsage();
  process.stdout.write(
    JSON.stringify({
      seconds,
      idleKiB,
      peakKiB: maxRSS,
      cpuSeconds: (userCPUTime + systemCPUTime) / 1e6,
      sizeBytes: layer.sizeBytes,
      tarBytes: layer.uncompressedSizeBytes,
      entries: layer.entryCount,
    }),
  );
}

function compare(): void {
  const scratch = mkdtempSync(join(values.directory, 'tsbuild-bench-'));
  try {
    const root = join(scratch, 'tree');
    makeTree(root, Number(values.megabytes) * 1e6);
    const ours: number[] = [];
    const theirs: number[] = [];
    let facts: Record<string, number> = {};
    for (let round = 0; round < Number(values.rounds); round += 1) {
      const child = spawnSync(process.execPath, [import.meta.filename, '--child', root], {
        encoding: 'utf8',
      });
      if (child.status !== 0) {
        throw new Error(child.stderr);
      }
      facts = JSON.parse(child.stdout);
      ours.push(facts.seconds ?? Number.NaN);
      const start = process.hrtime.bigint();
      const pipe = spawnSync(
        'bash',
        [
          '-c',
          `set -o pipefail; tar --sort=name --format=posix -C "$0" -c . | zstd -q -${LEVEL} -T0 -o "$1" -f`,
          root,
          `${root}.theirs`,
        ],
        { encoding: 'utf8' },
      );
      if (pipe.status !== 0) {
        throw new Error(pipe.stderr);
      }
      theirs.push(Number(process.hrtime.bigint() - start) / 1e9);
    }
    const mebibytes = (kib: number | undefined) => `${((kib ?? Number.NaN) / 1024).toFixed(0)} MiB`;
    const line = (name: string, times: number[], sizeBytes: number) =>
      `${name.padEnd(16)} median ${median(times).toFixed(3)} s (${Math.min(...times).toFixed(3)} to ${Math.max(...times).toFixed(3)}), ${(sizeBytes / 1e6).toFixed(1)} MB`;
    console.log(
      `${cpus()[0]?.model ?? 'unknown processor'}, ${availableParallelism()} cores, ${values.directory}`,
    );
    console.log(
      `${facts.entries} entries, ${((facts.tarBytes ?? 0) / 1e6).toFixed(0)} MB of tar, zstd level ${LEVEL}`,
    );
    console.log(line('writeLayer', ours, facts.sizeBytes ?? 0));
    console.log(line('tar | zstd -T0', theirs, statSync(`${root}.theirs`).size));
    console.log(`time ratio       ${(median(ours) / median(theirs)).toFixed(3)} (below 1: we are faster)`);
    console.log(`peak memory      ${mebibytes(facts.peakKiB)}, of which Node ${mebibytes(facts.idleKiB)}`);
    console.log(`processor time   ${facts.cpuSeconds} s`);
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
}

function median(times: readonly number[]): number {
  const sorted = times.toSorted((left, right) => left - right);
  return sorted[Math.floor(sorted.length / 2)] ?? Number.NaN;
}

function makeTree(root: string, totalBytes: number): void {
  let state = 0x2545f491;
  const random = (below: number) => {
    // xorshift32
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) % below;
  };
  // A key stream: seeded, and without repetitions that a larger window would find.
  const noise = createCipheriv('aes-128-ctr', Buffer.alloc(16, 7), Buffer.alloc(16));
  const words = Array.from({ length: 4096 }, () => random(0xffffffff).toString(36));
  let sentence = '';
  while (sentence.length < 8 << 20) {
    sentence += `${words[random(random(4096) + 1)]} `;
  }
  const text = Buffer.from(sentence);
  const content = (size: number, compressible: boolean) => {
    if (!compressible) {
      return noise.update(Buffer.alloc(size));
    }
    const pieces: Buffer[] = [];
    for (let left = size; left > 0; ) {
      const from = random(text.length - 1);
      const piece = text.subarray(from, from + Math.min(left, 64 * 1024));
      pieces.push(piece);
      left -= piece.length;
    }
    return Buffer.concat(pieces);
  };

  mkdirSync(join(root, 'big'), { recursive: true });
  const bigBytes = Math.floor(totalBytes / 10);
  for (let index = 0; index < 5; index += 1) {
    writeFileSync(join(root, `big/${index}.bin`), content(bigBytes, index % 2 === 0));
  }
  for (let written = 0, index = 0; written < totalBytes / 2; index += 1) {
    const directory = join(root, `small/${index % 100}/${Math.floor(index / 100) % 20}`);
    mkdirSync(directory, { recursive: true });
    // Most are a few KiB, some a few hundred.
    const size = random(10) === 0 ? random(400_000) : random(16_000);
    writeFileSync(join(directory, `${index}.txt`), content(size, random(4) !== 0));
    written += size;
  }
}
