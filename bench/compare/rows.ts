/** What is measured, one builder like the other. The targets are those of docs/performance.md. */
import { execFileSync } from 'node:child_process';
import { appendFileSync, mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { BASE, Content, type Scale, writeContext, writeTree, YOUNG_MS } from './inputs.ts';
import type { Build, Compression, Output, Peer } from './peer.ts';

/** What a row works with; a builder has one of its own. */
export interface Surroundings {
  readonly peer: Peer;
  readonly scale: Scale;
  /** Empty at the start of the row; for contexts and outputs. */
  readonly directory: string;
  /** Of a registry without TLS on this machine. */
  readonly registry: string;
  /** Does it, untimed. */
  build(build: Build): Promise<void>;
}

export interface Row {
  readonly id: string;
  readonly title: string;
  /** BuildKit's time divided by ours; undefined where none is asked for. */
  readonly target?: number;
  /** Our own seconds, at most. */
  readonly targetSeconds?: number;
  /** Once for each builder, untimed. The store is empty before. */
  prepare(at: Surroundings): Promise<void>;
  /** Before each round, untimed; gives what is timed. */
  round(at: Surroundings, round: number): Promise<Build>;
  /** An image that every builder must have made alike. */
  image(at: Surroundings): Build;
}

const SIZES = {
  full: { files: 20_000, treeBytes: 240e6, layerMiB: 1000, steps: 20 },
  small: { files: 1000, treeBytes: 12e6, layerMiB: 50, steps: 5 },
} as const;

function context(at: Surroundings): string {
  return join(at.directory, 'context');
}

function output(at: Surroundings): string {
  const path = join(at.directory, 'output');
  rmSync(path, { recursive: true, force: true });
  return path;
}

/** Builds what nobody touches any more. */
async function settle(at: Surroundings): Promise<void> {
  await at.build({ context: context(at) });
  await delay(YOUNG_MS);
  await at.build({ context: context(at) });
}

/** The context with many files, copied by one instruction. */
const COPY_ALL = 'FROM scratch\nCOPY tree /srv/tree\n';

function writeTreeContext(at: Surroundings): void {
  const { files, treeBytes } = SIZES[at.scale];
  writeContext(context(at), COPY_ALL);
  writeTree(join(context(at), 'tree'), files, treeBytes, 7);
}

/** Another file in each round: the one in the middle first, then all over the tree. What is before it may cost less than what is behind. */
function editOne(at: Surroundings, round: number): void {
  const tree = join(context(at), 'tree');
  const paths = readdirSync(tree, { recursive: true, encoding: 'utf8' })
    .filter((path) => path.endsWith('.txt'))
    .sort();
  const place = (0.5 + round * GOLDEN_RATIO) % 1;
  appendFileSync(join(tree, paths[Math.floor(place * paths.length)] as string), `edited ${round}\n`);
}

/** Its multiples, without their whole parts, are spread evenly however many there are. */
const GOLDEN_RATIO = (Math.sqrt(5) - 1) / 2;

/**
 * A layer with big files and small ones, half of it noise, made by a step, so that no context takes part. The nonce is in it: it
 * is another layer in every round. Who builds `probe` has made the layer, and no blob of it.
 */
const BIG_LAYER = `${BASE}FROM base AS big
COPY seed small.tar /
ARG NONCE=0
ARG PIECES=25
RUN set -e; mkdir -p /data/small; echo $NONCE > /data/nonce; i=0; while [ $i -lt $PIECES ]; do \\
      dd if=/seed bs=1M skip=$i count=20 of=/data/big-$i 2>/dev/null; \\
      mkdir /data/small/$i; tar -xf /small.tar -C /data/small/$i; \\
      i=$((i + 1)); done
FROM scratch AS probe
COPY --from=big /data/nonce /
FROM big
`;
const PIECE_MIB = 40;
/** In each piece: 20 MiB. */
const SMALL_FILES = 320;

async function prepareLayer(at: Surroundings): Promise<void> {
  writeContext(context(at), BIG_LAYER);
  const content = new Content(11);
  const pieces = Array.from({ length: piecesOf(at) + 20 }, () => content.bytes(2 ** 20));
  writeFileSync(join(context(at), 'seed'), Buffer.concat(pieces));
  const small = join(at.directory, 'small');
  mkdirSync(small, { recursive: true });
  for (let index = 0; index < SMALL_FILES; index += 1) {
    writeFileSync(join(small, String(index)), content.bytes(64 * 1024));
  }
  // One that the busybox of every distribution unpacks; not all have a `split`.
  const same = ['--format=ustar', '--sort=name', '--mtime=@0', '--owner=0', '--group=0', '--numeric-owner'];
  execFileSync('tar', [...same, '-cf', join(context(at), 'small.tar'), '-C', small, '.']);
  await at.build(layerBuild(at, 'warm', NO_BLOB));
}

function piecesOf(at: Surroundings): number {
  return Math.ceil(SIZES[at.scale].layerMiB / PIECE_MIB);
}

function layerBuild(at: Surroundings, nonce: string, more: Pick<Build, 'output' | 'target'> = {}): Build {
  return {
    context: context(at),
    arguments: { NONCE: nonce, PIECES: String(piecesOf(at)) },
    ...more,
  };
}

const NO_BLOB = { target: 'probe' } as const;

function layerRow(
  id: string,
  title: string,
  target: number | undefined,
  compression: Compression,
  clamp = false,
): Row {
  return {
    id,
    title,
    ...(target === undefined ? {} : { target }),
    prepare: prepareLayer,
    async round(at, round) {
      const nonce = `${id} ${round}`;
      await at.build(layerBuild(at, nonce, NO_BLOB));
      return layerBuild(at, nonce, { output: { kind: 'layout', directory: output(at), compression, clamp } });
    },
    image: (at) => layerBuild(at, 'same'),
  };
}

/** Stages that have nothing to do with each other. */
const PARALLEL = `${BASE}ARG NONCE=0
${[1, 2, 3, 4].map((stage) => `FROM base AS s${stage}\nARG NONCE\nRUN sleep 2 && echo ${stage} > /${stage}\n`).join('')}FROM scratch
${[1, 2, 3, 4].map((stage) => `COPY --from=s${stage} /${stage} /\n`).join('')}`;

export const ROWS: readonly Row[] = [
  {
    id: 'noop-tiny',
    title: 'no-op, tiny context',
    target: 1,
    async prepare(at) {
      writeContext(context(at), `${BASE}RUN echo one > /one\nRUN echo two > /two\nCOPY Dockerfile /three\n`);
      await settle(at);
    },
    round: async (at) => ({ context: context(at) }),
    image: (at) => ({ context: context(at) }),
  },
  {
    id: 'noop-large',
    title: 'no-op, context of 20,000 files (240 MB)',
    target: 8,
    async prepare(at) {
      writeTreeContext(at);
      await settle(at);
    },
    round: async (at) => ({ context: context(at) }),
    image: (at) => ({ context: context(at) }),
  },
  {
    id: 'steps',
    title: '20 RUN steps, base cached',
    target: 6,
    async prepare(at) {
      const steps = Array.from(
        { length: SIZES[at.scale].steps },
        (_, index) => `RUN echo ${index} > /${index}\n`,
      );
      writeContext(context(at), `${BASE}ARG NONCE=0\n${steps.join('')}`);
      await at.build({ context: context(at), arguments: { NONCE: 'warm' } });
    },
    round: async (at, round) => ({ context: context(at), arguments: { NONCE: `steps ${round}` } }),
    image: (at) => ({ context: context(at), arguments: { NONCE: 'same' } }),
  },
  {
    id: 'parallel',
    title: '4 parallel stages of 2 s',
    target: 1.1,
    targetSeconds: 2.3,
    async prepare(at) {
      writeContext(context(at), PARALLEL);
      await at.build({ context: context(at), arguments: { NONCE: 'warm' } });
    },
    round: async (at, round) => ({ context: context(at), arguments: { NONCE: `parallel ${round}` } }),
    image: (at) => ({ context: context(at), arguments: { NONCE: 'same' } }),
  },
  {
    id: 'copy-first',
    title: 'COPY of that context, first time',
    target: 4,
    prepare: async (at) => writeTreeContext(at),
    async round(at) {
      await at.peer.reset();
      return { context: context(at) };
    },
    image: (at) => ({ context: context(at) }),
  },
  {
    id: 'copy-changed',
    title: 'one of its files changed, rebuild',
    target: 8,
    async prepare(at) {
      writeTreeContext(at);
      await at.build({ context: context(at) });
    },
    async round(at, round) {
      editOne(at, round);
      return { context: context(at) };
    },
    image: (at) => ({ context: context(at) }),
  },
  {
    id: 'changed-layout',
    title: 'the same, exported as zstd OCI layout',
    target: 10,
    async prepare(at) {
      writeTreeContext(at);
      await at.build({
        context: context(at),
        output: { kind: 'layout', directory: output(at), compression: 'zstd' },
      });
    },
    async round(at, round) {
      editOne(at, round);
      return {
        context: context(at),
        output: { kind: 'layout', directory: output(at), compression: 'zstd' },
      };
    },
    image: (at) => ({ context: context(at) }),
  },
  {
    id: 'changed-push',
    title: 'the same, pushed',
    target: 6,
    async prepare(at) {
      writeTreeContext(at);
      await at.build({ context: context(at), output: pushed(at, 'changed') });
    },
    async round(at, round) {
      editOne(at, round);
      return { context: context(at), output: pushed(at, 'changed') };
    },
    image: (at) => ({ context: context(at) }),
  },
  layerRow('layer-zstd', 'export of a 1 GB RUN layer, zstd', 3.5, 'zstd'),
  layerRow('layer-gzip', 'the same with gzip', 4, 'gzip'),
  layerRow('layer-clamped', 'the same with zstd and `rewrite-timestamp`', undefined, 'zstd', true),
  layerRow('layer-estargz', 'the same as estargz', undefined, 'estargz'),
  layerRow('layer-zstd-chunked', 'the same as zstd:chunked', undefined, 'zstd:chunked'),
  {
    id: 'pull',
    title: 'pull and unpack of that image (zstd)',
    target: 3,
    async prepare(at) {
      await prepareLayer(at);
      await at.build(layerBuild(at, 'pull', { output: pushed(at, 'layer') }));
      writeContext(
        join(at.directory, 'pulled'),
        `FROM ${at.registry}/${at.peer.name}/layer:bench\nRUN ["/bin/busybox", "true"]\n`,
      );
    },
    async round(at) {
      await at.peer.reset();
      return { context: join(at.directory, 'pulled') };
    },
    image: (at) => ({ context: join(at.directory, 'pulled') }),
  },
  {
    id: 'local-first',
    title: 'local export of 20,000 files, first',
    target: 3,
    async prepare(at) {
      writeTreeContext(at);
      await at.build({ context: context(at) });
    },
    // Each into a directory of its own: ext4 passes over inodes that were just freed, one by one.
    round: async (at, round) => ({
      context: context(at),
      output: { kind: 'local', directory: join(at.directory, `output-${round}`) },
    }),
    image: (at) => ({ context: context(at) }),
  },
  {
    id: 'local-unchanged',
    title: 'the same, unchanged',
    target: 20,
    async prepare(at) {
      writeTreeContext(at);
      await settle(at);
      await at.build({ context: context(at), output: { kind: 'local', directory: output(at) } });
    },
    round: async (at) => ({
      context: context(at),
      output: { kind: 'local', directory: join(at.directory, 'output') },
    }),
    image: (at) => ({ context: context(at) }),
  },
  {
    id: 'cache-export',
    title: 'cache export, registry, mode=max, nothing new',
    target: 10,
    async prepare(at) {
      await prepareLayer(at);
      await at.build(layerBuild(at, 'cache', { output: cached(at) }));
    },
    round: async (at) => layerBuild(at, 'cache', { output: cached(at) }),
    image: (at) => layerBuild(at, 'same'),
  },
];

function pushed(at: Surroundings, name: string): Output {
  return { kind: 'push', reference: `${at.registry}/${at.peer.name}/${name}:bench`, compression: 'zstd' };
}

function cached(at: Surroundings): Output {
  return { kind: 'cache', reference: `${at.registry}/${at.peer.name}/cache:bench` };
}
