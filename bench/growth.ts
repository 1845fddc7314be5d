/**
 * How time grows with what there is to do: `node bench/growth.ts [--rounds N] [--results DIRECTORY] [--work DIRECTORY]`, after
 * `npm run build`. Whole processes on a fresh filesystem; each point is a median.
 */
import { appendFileSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { makeGround } from './compare/ground.ts';
import { BASE, Content, writeContext, writeTree, YOUNG_MS } from './compare/inputs.ts';
import { timeCommand } from './compare/measure.ts';
import type { Build } from './compare/peer.ts';
import { median } from './compare/results.ts';
import { tsbuildPeer } from './compare/tsbuild.ts';

const FILES = [1000, 10_000, 100_000];
const STEPS = [1, 10, 100];
const MEGABYTES = [10, 100, 1000, 4000];
const MEAN_FILE_BYTES = 2000;

const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '3' },
    results: { type: 'string', default: join(import.meta.dirname, 'results') },
    work: { type: 'string', default: tmpdir() },
  },
});
const rounds = Number(values.rounds);
const work = mkdtempSync(join(values.work, 'tsbuild-growth-'));
const ground = makeGround(work, 'tsbuild');
const peer = tsbuildPeer(ground, '');
const place = join(work, 'place');
const context = join(place, 'context');
const measured: Record<string, [size: number, seconds: number][]> = {};

try {
  for (const files of FILES) {
    await begin('FROM scratch\nCOPY tree /tree\n');
    writeTree(join(context, 'tree'), files, files * MEAN_FILE_BYTES, 3);
    await record('COPY, first time', files, async () => {
      await peer.reset();
      return { context };
    });
    // What was written this very moment is not remembered.
    await delay(YOUNG_MS);
    await time({ context });
    await record('unchanged', files, async () => ({ context }));
    await record('one file changed', files, async (round) => {
      appendFileSync(join(context, 'tree/0/7/701.txt'), `${round}\n`);
      return { context };
    });
  }
  for (const steps of STEPS) {
    await begin(
      `${BASE}ARG NONCE\n${Array.from({ length: steps }, (_, step) => `RUN echo ${step} > /${step}\n`).join('')}`,
    );
    await time({ context, arguments: { NONCE: 'warm' } });
    await record('RUN steps', steps, async (round) => ({ context, arguments: { NONCE: String(round) } }));
    await record('RUN steps, unchanged', steps, async () => ({ context, arguments: { NONCE: '0' } }));
  }
  for (const megabytes of MEGABYTES) {
    await begin('FROM scratch\nARG NONCE\nCOPY big /big/$NONCE\n');
    mkdirSync(join(context, 'big'));
    for (let index = 0; index * 10 < megabytes; index += 1) {
      writeFileSync(join(context, `big/${index}`), new Content(index + 1).bytes(10e6));
    }
    const output = { kind: 'layout', directory: join(place, 'output'), compression: 'zstd' } as const;
    await record('COPY to zstd layout', megabytes, async (round) => {
      rmSync(output.directory, { recursive: true, force: true });
      return { context, arguments: { NONCE: String(round) }, output };
    });
  }
  const directory = join(
    values.results,
    `${new Date().toISOString().slice(0, 10)}-${availableParallelism()}-cores`,
  );
  mkdirSync(directory, { recursive: true });
  writeFileSync(join(directory, 'growth.json'), `${JSON.stringify(measured, null, 1)}\n`);
} finally {
  ground[Symbol.dispose]();
  rmSync(work, { recursive: true, force: true });
}

async function begin(dockerfile: string): Promise<void> {
  rmSync(place, { recursive: true, force: true });
  await peer.reset();
  writeContext(context, dockerfile);
}

async function record(curve: string, size: number, round: (number: number) => Promise<Build>): Promise<void> {
  const times: number[] = [];
  for (let number = 0; number < rounds; number += 1) {
    times.push(await time(await round(number)));
  }
  measured[curve] = [...(measured[curve] ?? []), [size, median(times)]];
  console.error(`${curve}, ${size}: ${times.map((seconds) => seconds.toFixed(3)).join(' ')}`);
}

function time(build: Build): Promise<number> {
  return timeCommand(peer.command(build));
}
