/** eStargz and zstd:chunked: the tables of contents are right, programs that know them use them, and others see plain layers. */
import { createCipheriv } from 'node:crypto';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type DockerRegistry, startDockerRegistry } from '../support/docker-registry.ts';
import {
  contentsOf,
  type LayerTable,
  readEstargz,
  readZstdChunked,
  reassemble,
  sha256,
  tarEntries,
  uncompressed,
} from '../support/layer-tables.ts';
import { readImage, validateLayout } from '../support/layout-validation.ts';
import { skopeoCopy, tool, umociUnpack } from '../support/other-tools.ts';
import { lacks } from '../support/requires.ts';
import { listTree } from '../support/tree-listing.ts';
import { SHELL_STAGE, Workbench } from '../support/workbench.ts';

const FORMATS = ['estargz', 'zstd:chunked'] as const;
type Format = (typeof FORMATS)[number];

/** `/data` of sizes around those where content is cut, and everything else that an entry can be. */
const DOCKERFILE = `${SHELL_STAGE}FROM sh
COPY data /data
RUN cd /data && ln 513 hard && ln -s ../data/1 soft && mkfifo pipe && chown 7:8 1 && chmod 4755 1 && mkdir -m 1777 open
RUN rm /data/512 && echo changed > /data/511
`;
const MIB = 1 << 20;
const SIZES = [0, 1, 511, 512, 513, 65_536, MIB, 4 * MIB + 1, 9 * MIB + 77];

let bench: Workbench;
let context: string;

beforeAll(async () => {
  bench = new Workbench();
  const noise = createCipheriv('aes-128-ctr', Buffer.alloc(16, 1), Buffer.alloc(16));
  // Half of each cannot be compressed.
  const content = (size: number) =>
    Buffer.concat([
      noise.update(Buffer.alloc(size >> 1)),
      Buffer.alloc(size - (size >> 1), `${size} bytes `),
    ]);
  context = bench.context('context', {
    Dockerfile: DOCKERFILE,
    ...Object.fromEntries(SIZES.map((size) => [`data/${size}`, content(size)])),
    'data/größe "mit" \\ und\u2028mehr': 'name',
  });
});
afterAll(() => bench[Symbol.dispose]());

async function build(...outputs: string[]): Promise<void> {
  const ran = await bench.build([...outputs.flatMap((output) => ['-o', output]), '-t', 'app:1', context]);
  expect(ran.status, ran.stderr).toBe(0);
}

/** Colons are not for paths that skopeo takes. */
const place = (format: Format, prefix = '') => bench.at(`${prefix}${format.replace(':', '-')}`);

function layersOf(layout: string) {
  const { manifest, config } = readImage(layout);
  return manifest.layers.map(({ digest, mediaType, annotations = {} }, index) => ({
    digest,
    mediaType,
    annotations,
    diffId: config.rootfs.diff_ids[index],
    blob: readFileSync(`${layout}/blobs/${digest.replace(':', '/')}`),
  }));
}

async function tableOf(
  format: Format,
  { blob, annotations }: ReturnType<typeof layersOf>[number],
): Promise<LayerTable> {
  return format === 'estargz' ? await readEstargz(blob, annotations) : readZstdChunked(blob, annotations);
}

const TYPES = {
  file: 'reg',
  link: 'hardlink',
  symlink: 'symlink',
  directory: 'dir',
  fifo: 'fifo',
} as Readonly<Record<string, string>>;

describe.skipIf(lacks('root', 'bwrap', 'busybox', 'skopeo', 'umoci', 'getfattr'))(
  'layers with tables',
  () => {
    beforeAll(async () => {
      await build(
        `type=local,dest=${bench.at('tree')}`,
        `type=oci,tar=false,dest=${bench.at('plain')}`,
        ...FORMATS.map((format) => `type=oci,tar=false,dest=${place(format)},compression=${format}`),
      );
    });

    test.each(FORMATS)('%s: the table has what the tar has, and leads to every content', async (format) => {
      await validateLayout(place(format));
      const plain = layersOf(bench.at('plain'));
      const layers = layersOf(place(format));
      expect(layers).toHaveLength(4);
      for (const [index, layer] of layers.entries()) {
        const tar = uncompressed(layer.blob);
        expect(sha256(tar)).toBe(layer.diffId);
        const { entries, split } = await tableOf(format, layer);
        const listed = await tarEntries(tar);
        const contents = contentsOf(layer.blob, entries);
        const ofTar = listed.filter(({ name }) => name !== 'stargz.index.json');
        expect(
          entries
            .filter(({ type }) => type !== 'chunk')
            .map((entry) => ({ size: 0, uid: 0, gid: 0, ...entry })),
        ).toEqual(
          ofTar.map(({ name, header }) =>
            expect.objectContaining({
              name,
              type: TYPES[header.type ?? ''],
              ...(header.mode === 0 ? {} : { mode: header.mode }),
              size: header.size,
              uid: header.uid,
              gid: header.gid,
              modtime: header.mtime?.toISOString().replace('.000', ''),
              ...(header.linkname ? { linkName: header.linkname } : {}),
            }),
          ),
        );
        for (const { name, content, header } of ofTar) {
          if (header.type === 'file' && content.length > 0) {
            expect(contents.get(name)?.equals(content), name).toBe(true);
          }
        }
        if (format === 'zstd:chunked') {
          expect(layer.diffId).toBe(plain[index]?.diffId);
          expect(reassemble(split, contents).equals(tar)).toBe(true);
        } else {
          expect(listed[0]).toMatchObject({ name: '.no.prefetch.landmark', content: Buffer.of(15) });
          expect(listed.at(-1)?.name).toBe('stargz.index.json');
        }
      }
    });

    test('umoci unpacks estargz, and skopeo copies both', () => {
      const bundle = umociUnpack(bench.at('estargz'), 'app:1', bench.at('bundle'));
      const own = /^(\.no\.prefetch\.landmark|stargz\.index\.json) /;
      expect(listTree(bundle).filter((line) => !own.test(line))).toEqual(listTree(bench.at('tree')));
      for (const format of FORMATS) {
        skopeoCopy(`oci:${place(format)}:app:1`, `oci:${place(format, 'copied-')}:app:1`);
        expect(
          layersOf(place(format, 'copied-')).map(({ digest, annotations }) => ({ digest, annotations })),
        ).toEqual(layersOf(place(format)).map(({ digest, annotations }) => ({ digest, annotations })));
      }
    });

    test('what is unpacked from the store never has the files of estargz', async () => {
      await build(`type=local,dest=${bench.at('again')}`);
      expect(listTree(bench.at('again'))).toEqual(listTree(bench.at('tree')));
    });

    test('a base stays as it is, and keeps its table, unless it is forced', async () => {
      bench.write({ 'above/Dockerfile': 'FROM base\nCOPY one /one\n', 'above/one': 'one' });
      const above = async (name: string, base: string, output: string) => {
        const dest = bench.at(name);
        const ran = await bench.build([
          ...['-o', `type=oci,tar=false,dest=${dest},${output}`],
          ...['--build-context', `base=oci-layout://${bench.at(base)}:1`],
          bench.at('above'),
        ]);
        expect(ran.status, ran.stderr).toBe(0);
        return layersOf(dest);
      };
      const kept = await above('kept', 'plain', 'compression=estargz');
      expect(kept.slice(0, 4).map(({ digest }) => digest)).toEqual(
        layersOf(bench.at('plain')).map(({ digest }) => digest),
      );
      expect(
        (await readEstargz(kept[4]?.blob ?? Buffer.alloc(0), kept[4]?.annotations ?? {})).entries,
      ).toHaveLength(2);
      // The same bytes as when they are made from the layer itself.
      for (const format of FORMATS) {
        const forced = await above(
          `forced-${format}`,
          'plain',
          `compression=${format},force-compression=true`,
        );
        expect(forced.slice(0, 4).map(({ digest }) => digest)).toEqual(
          layersOf(place(format)).map(({ digest }) => digest),
        );
        const onTable = await above(`on-${format}`, format.replace(':', '-'), 'force-compression=false');
        expect(onTable.slice(0, 4).map(({ annotations }) => annotations)).toEqual(
          layersOf(place(format)).map(({ annotations }) => annotations),
        );
      }
      const twice = await above('twice', 'estargz', 'compression=estargz,force-compression=true');
      expect(twice.slice(0, 4).map(({ digest }) => digest)).toEqual(
        layersOf(bench.at('estargz')).map(({ digest }) => digest),
      );
    });

    describe.skipIf(lacks('docker-registry', 'podman'))('podman', () => {
      let registry: DockerRegistry;
      beforeAll(async () => {
        registry = await startDockerRegistry();
        await build(
          ...FORMATS.map(
            (format) =>
              `type=registry,name=${registry.host}/app:${format.replace(':', '-')},compression=${format}`,
          ),
        );
      });
      afterAll(() => registry[Symbol.asyncDispose]());

      /** @returns Which blobs it took in part, and the tree that it has then. */
      function pull(name: string): { readonly partial: readonly string[]; readonly tree: readonly string[] } {
        const place = bench.at(`podman-${name}`);
        mkdirSync(place);
        const config = `${place}/storage.conf`;
        writeFileSync(
          config,
          `[storage]\ndriver = "overlay"\ngraphroot = "${place}/root"\nrunroot = "${place}/run"
[storage.options]\npull_options = { enable_partial_images = "true", convert_images = "true" }\n`,
        );
        const image = `${registry.host}/app:${name}`;
        const podman = (args: string) =>
          tool('sh', ['-c', `CONTAINERS_STORAGE_CONF="$1" podman ${args} 2>&1`, 'sh', config, image]);
        const log = podman('--log-level=debug pull --tls-verify=false "$2"');
        try {
          const mounted = podman('image mount "$2"').trim();
          const partial = [...log.matchAll(/Retrieved partial blob (sha256:\w+)/g)].map(
            ([, digest = '']) => digest,
          );
          return { partial, tree: listTree(mounted) };
        } finally {
          podman('image umount --all');
          podman('rmi --all --force');
        }
      }

      /** What this podman keeps of a table, also of its own: it loses times, owners, pipes and names with quotes. */
      const comparable = (tree: readonly string[]) =>
        tree
          .filter((line) => !/^data\/(?:gr|pipe)/.test(line))
          .map((line) => line.replace(/ \d+:\d+ \d+ /, ' '));

      test.each(FORMATS)('takes only what it needs of %s, and has the same tree', (format) => {
        const name = format.replace(':', '-');
        if (format === 'zstd:chunked') {
          // Debian 12 has a podman that knows the annotations by the names that they had first.
          const [from, to] = [bench.at('as-pushed'), `docker://${registry.host}/app:${name}`];
          skopeoCopy(to, `dir:${from}`);
          const manifest = readFileSync(`${from}/manifest.json`, 'utf8');
          writeFileSync(
            `${from}/manifest.json`,
            manifest.replaceAll('io.github.containers.zstd', 'io.containers.zstd'),
          );
          skopeoCopy(`dir:${from}`, to);
        }
        const { partial, tree } = pull(name);
        expect(partial.toSorted()).toEqual(
          layersOf(place(format))
            .map(({ digest }) => digest)
            .toSorted(),
        );
        expect(comparable(tree)).toEqual(comparable(listTree(bench.at('tree'))));
      });
    });
  },
);
