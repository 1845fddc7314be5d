/**
 * `type=local` of an image with 20,000 small files: into a new directory, again with nothing changed, with one file changed.
 *
 *     node bench/build/local-export.ts [RUNS]        needs busybox-static; each run has a directory of its own below TMPDIR
 */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Engine } from '../../src/engine.ts';
import { Image } from '../../src/frontend/fluent/image.ts';

const DIRECTORIES = 200;
const FILES_EACH = 100;
const runs = Number(process.argv[2] ?? 5);

const script = [
  `i=0; while [ $i -lt ${DIRECTORIES} ]; do mkdir -p /d/$i; j=0`,
  `while [ $j -lt ${FILES_EACH} ]; do echo "$i $j" > /d/$i/$j; j=$((j+1)); done; i=$((i+1)); done`,
].join('; ');
const image = Image.fromScratch()
  .addLocalFile('/usr/bin/busybox', '/bin/sh', { copy: true })
  .env({ PATH: '/bin' })
  .runCommands(script);

const work = mkdtempSync(join(tmpdir(), 'tsbuild-local-export-'));
const engine = await Engine.open({ storeDir: join(work, 'store') });
try {
  await engine.build([image]);
  const times: Record<'new' | 'unchanged' | 'one changed', number[]> = {
    new: [],
    unchanged: [],
    'one changed': [],
  };
  for (let run = 0; run < runs; run += 1) {
    const dest = join(work, `out${run}`);
    for (const kind of ['new', 'unchanged', 'one changed'] as const) {
      if (kind === 'one changed') {
        writeFileSync(join(dest, 'd/7/7'), 'other');
      }
      const start = performance.now();
      await engine.build([image], { outputs: [{ type: 'local', dest }] });
      times[kind].push(performance.now() - start);
    }
  }
  for (const [kind, all] of Object.entries(times)) {
    const sorted = all.toSorted((a, b) => a - b);
    const at = (part: number) => `${Math.round(sorted[Math.floor((sorted.length - 1) * part)] ?? 0)} ms`;
    console.log(`${kind}: median ${at(0.5)}, from ${at(0)} to ${at(1)}`);
  }
} finally {
  await engine.prune({ all: true });
  await engine.close();
  rmSync(work, { recursive: true, force: true });
}
