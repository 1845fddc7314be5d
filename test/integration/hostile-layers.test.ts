/** Layers that a stranger made: whatever they say, nothing outside of their directory changes and the worker goes on. */
import { createHash } from 'node:crypto';
import { lstatSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync, zstdCompressSync } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Engine } from '../../src/engine.ts';
import { Image } from '../../src/frontend/fluent/image.ts';
import { busyboxPath } from '../support/busybox.ts';
import { type RawEntry, rawTar } from '../support/raw-tar.ts';
import { lacks } from '../support/requires.ts';

const OCI = 'application/vnd.oci.image';
const sha256 = (bytes: Buffer) => `sha256:${createHash('sha256').update(bytes).digest('hex')}`;

interface RawLayer {
  readonly blob: Buffer;
  readonly tar: Buffer;
  readonly type?: 'tar' | 'tar+gzip' | 'tar+zstd';
  readonly lies?: { readonly digest?: string; readonly size?: number; readonly diffId?: string };
}

const plain = (entries: readonly RawEntry[], end?: Buffer): RawLayer => {
  const tar = rawTar(entries, end);
  return { blob: tar, tar };
};

/** `$` in names and links stands for the directory that must not be reached. */
const SETS: Readonly<
  Record<string, { readonly layers: readonly (readonly RawEntry[])[]; readonly code?: string }>
> = {
  'a name with ..': { layers: [[{ name: '../../../../../../../../../..$/new' }]], code: 'E_BAD_ARCHIVE' },
  'a name with .. in the middle': { layers: [[{ name: 'a/../../../..$/new' }]], code: 'E_BAD_ARCHIVE' },
  'an absolute name': { layers: [[{ name: '$/new', content: 'x' }]] },
  'through a link of its own': {
    layers: [
      [
        { name: 'out', type: '2', link: '$' },
        { name: 'out/new', content: 'x' },
        { name: 'out/file', content: 'x' },
      ],
    ],
  },
  'through a link of a lower layer': {
    layers: [
      [{ name: 'out', type: '2', link: '$' }],
      [{ name: 'out/new', content: 'x' }, { name: 'out/.wh.file' }],
    ],
  },
  'through a relative link of a lower layer, to be moved': {
    layers: [
      [{ name: 'deep/er/out', type: '2', link: '../../../../../../../..$' }],
      [
        { name: 'deep/er/out/file', content: 'x' },
        { name: 'deep/er/out/sub/new', content: 'x' },
      ],
    ],
  },
  'an opaque marker through a link': {
    layers: [[{ name: 'out', type: '2', link: '$' }], [{ name: 'out/.wh..wh..opq' }]],
  },
  'a link that replaces a directory in use': {
    layers: [
      [
        { name: 'd', type: '5', mode: 0o755 },
        { name: 'd/a' },
        { name: 'd', type: '2', link: '$' },
        { name: 'd/file', content: 'x' },
      ],
    ],
  },
  'a hard link to the outside': {
    layers: [[{ name: 'h', type: '1', link: '../../../../../..$/file' }]],
    code: 'E_BAD_ARCHIVE',
  },
  'an absolute hard link': { layers: [[{ name: 'h', type: '1', link: '$/file' }]], code: 'E_BAD_ARCHIVE' },
  'a hard link through a link': {
    layers: [
      [
        { name: 'out', type: '2', link: '$' },
        { name: 'h', type: '1', link: 'out/file' },
      ],
    ],
    code: 'E_BAD_ARCHIVE',
  },
  'a hard link to a link, then written through': {
    layers: [
      [
        { name: 's', type: '2', link: '$/file' },
        { name: 'h', type: '1', link: 's' },
        { name: 'h', content: 'x' },
      ],
    ],
  },
  'a file over a link': {
    layers: [
      [
        { name: 's', type: '2', link: '$/file' },
        { name: 's', content: 'x' },
      ],
    ],
  },
  'whiteout of ..': { layers: [[{ name: '.wh...' }]], code: 'E_BAD_ARCHIVE' },
  'whiteout of .': { layers: [[{ name: 'd/.wh..' }]], code: 'E_BAD_ARCHIVE' },
  'whiteout of nothing': { layers: [[{ name: 'd/.wh.' }]], code: 'E_BAD_ARCHIVE' },
  'whiteout with a slash behind': { layers: [[{ name: 'd/.wh.x/y' }]], code: 'E_BAD_ARCHIVE' },
  'whiteout and entry of one name': {
    layers: [[{ name: 'd/x', content: 'old' }], [{ name: 'd/.wh.x' }, { name: 'd/x', content: 'new' }]],
  },
  'the root as a link': {
    layers: [
      [
        { name: './', type: '2', link: '$' },
        { name: 'file', content: 'x' },
      ],
    ],
    code: 'E_BAD_ARCHIVE',
  },
  'overlay attributes of its own': {
    layers: [
      [
        {
          name: 'd',
          type: '5',
          mode: 0o755,
          pax: {
            'SCHILY.xattr.trusted.overlay.redirect': '/../../../../$',
            'SCHILY.xattr.user.overlay.redirect': '/../../../../$',
            'SCHILY.xattr.trusted.overlay.opaque': 'y',
          },
        },
      ],
    ],
  },
  'a negative size': { layers: [[{ name: 'f', size: Buffer.alloc(12, 0xff) }]], code: 'E_BAD_ARCHIVE' },
  'a size that is not there': { layers: [[{ name: 'f', size: '77777777777\0' }]], code: 'E_ARCHIVE_LIMIT' },
  'a huge extension header': {
    layers: [[{ name: 'f', type: 'x', size: '77777777777\0' }]],
    code: 'E_ARCHIVE_LIMIT',
  },
  'a name of 5000 bytes': {
    layers: [[{ name: 'f', pax: { path: 'n/'.repeat(2500) } }]],
    code: 'E_ARCHIVE_LIMIT',
  },
  'one component of 4000 bytes': {
    layers: [[{ name: 'f', pax: { path: 'n'.repeat(4000) } }]],
    code: 'E_ARCHIVE_LIMIT',
  },
  'a hundred thousand directories within each other': {
    layers: [[{ name: 'f', type: '5', pax: { path: 'd/'.repeat(100_000) } }]],
    code: 'E_ARCHIVE_LIMIT',
  },
  'a name that is not UTF-8': {
    layers: [[{ name: Buffer.from([0x66, 0xff, 0xfe, 0x2f, 0x67]), content: 'x' }]],
  },
  'a huge sparse file': {
    layers: [
      [
        {
          name: 'f',
          pax: { 'GNU.sparse.major': '0', 'GNU.sparse.size': '9000000000000000', 'GNU.sparse.map': '0,0' },
        },
      ],
    ],
    code: 'E_ARCHIVE_LIMIT',
  },
  'an unknown owner': { layers: [[{ name: 'f', pax: { uid: '4294967295' } }]], code: '*' },
  'a device': { layers: [[{ name: 'disk', type: '4', mode: 0o666, device: [254, 0] }]] },
};

describe.skipIf(lacks('bwrap', 'busybox', 'root')).each(['overlay', 'copy'])(
  'hostile layers on %s',
  (driver) => {
    let dir: string;
    let victim: string;
    let engine: Engine;
    let count = 0;
    const shell: RawLayer = plain([
      { name: 'bin', type: '5', mode: 0o755 },
      { name: 'bin/sh', mode: 0o755, content: readFileSync(busyboxPath()) },
    ]);

    beforeAll(async () => {
      dir = mkdtempSync(join(tmpdir(), 'tsbuild-hostile-'));
      victim = join(dir, 'v');
      mkdirSync(victim);
      writeFileSync(join(victim, 'file'), 'untouched');
      engine = await Engine.open({
        storeDir: join(dir, 'store'),
        env: { PATH: process.env.PATH, HOME: dir, TSBUILD_SNAPSHOT: driver },
      });
    });
    afterAll(async () => {
      await engine?.close();
      rmSync(dir, { recursive: true, force: true });
    });

    function layout(layers: readonly RawLayer[]): Image {
      count += 1;
      const path = join(dir, `layout-${count}`);
      mkdirSync(join(path, 'blobs/sha256'), { recursive: true });
      const put = (bytes: Buffer, mediaType: string) => {
        const digest = sha256(bytes);
        writeFileSync(join(path, 'blobs/sha256', digest.slice(7)), bytes);
        return { mediaType, digest, size: bytes.length };
      };
      const descriptors = layers.map(({ blob, type, lies }) => ({
        ...put(blob, `${OCI}.layer.v1.${type ?? 'tar'}`),
        ...(lies?.digest === undefined ? {} : { digest: lies.digest }),
        ...(lies?.size === undefined ? {} : { size: lies.size }),
      }));
      const config = {
        architecture: process.arch === 'arm64' ? 'arm64' : 'amd64',
        os: 'linux',
        config: { Env: ['PATH=/bin'] },
        rootfs: { type: 'layers', diff_ids: layers.map(({ tar, lies }) => lies?.diffId ?? sha256(tar)) },
      };
      const manifest = {
        schemaVersion: 2,
        mediaType: `${OCI}.manifest.v1+json`,
        config: put(Buffer.from(JSON.stringify(config)), `${OCI}.config.v1+json`),
        layers: descriptors,
      };
      const top = put(Buffer.from(JSON.stringify(manifest)), manifest.mediaType);
      writeFileSync(join(path, 'oci-layout'), '{"imageLayoutVersion":"1.0.0"}');
      writeFileSync(join(path, 'index.json'), JSON.stringify({ schemaVersion: 2, manifests: [top] }));
      return Image.fromOciLayout(path);
    }

    /** Runs something on the image, so that it is unpacked and mounted. */
    async function outcome(
      layers: readonly RawLayer[],
      script = 'ls -la /',
    ): Promise<{ code?: string; stdout?: string | Buffer }> {
      try {
        return await engine.run(layout([shell, ...layers]), ['/bin/sh', '-c', script], {});
      } catch (error) {
        return { code: (error as { code?: string }).code ?? String(error) };
      }
    }

    function expectNothingHappened(): void {
      expect(readdirSync(victim)).toEqual(['file']);
      expect(readFileSync(join(victim, 'file'), 'utf8')).toBe('untouched');
      expect(lstatSync(join(victim, 'file')).nlink).toBe(1);
      const left = readdirSync(join(dir, 'store/tmp')).filter(
        (name) => name.startsWith('worker-') && !name.endsWith('.lock'),
      );
      for (const worker of left) {
        expect(
          readdirSync(join(dir, 'store/tmp', worker)).filter(
            (name) => name !== 'memory' && name !== 'empty' && !name.endsWith('skeleton'),
          ),
        ).toEqual([]);
      }
    }

    test.each(Object.entries(SETS))('%s', async (_name, { layers, code }) => {
      const there = (text: string) => text.replaceAll('$', victim);
      const real = layers.map((entries) =>
        plain(
          entries.map((entry) => ({
            ...entry,
            name: typeof entry.name === 'string' ? there(entry.name) : entry.name,
            ...(entry.link === undefined ? {} : { link: there(entry.link) }),
          })),
        ),
      );
      const found = await outcome(real);
      if (code === '*') {
        expect(found.code).toMatch(/^E_/);
      } else {
        expect(found.code).toBe(code);
      }
      expectNothingHappened();
    });

    test('bombs are refused, in whatever they are packed', async () => {
      const tar = rawTar([{ name: 'zeros', content: Buffer.alloc(96 << 20) }]);
      for (const [type, blob] of [
        ['tar+gzip', gzipSync(tar)],
        ['tar+zstd', zstdCompressSync(tar)],
      ] as const) {
        expect(await outcome([{ blob, tar, type }])).toEqual({ code: 'E_ARCHIVE_LIMIT' });
      }
      expectNothingHappened();
    });

    test('what is not what its digest says is refused', async () => {
      const tar = rawTar([{ name: 'a', content: 'b' }]);
      const wrong = sha256(Buffer.from('something else'));
      expect(await outcome([{ blob: tar, tar, lies: { diffId: wrong } }])).toEqual({
        code: 'E_DIGEST_MISMATCH',
      });
      expect((await outcome([{ blob: tar, tar, lies: { digest: wrong } }])).code).toBe(
        'E_LOCAL_FILE_MISSING',
      );
      expect((await outcome([{ blob: tar, tar, lies: { size: tar.length - 1 } }])).code).toMatch(
        /^E_(DIGEST|SIZE)_MISMATCH$/,
      );
      expect(
        (await outcome([{ blob: tar, tar, lies: { digest: 'sha256:../../../../etc/passwd' } }])).code,
      ).toBe('E_BAD_MANIFEST');
      const packed = Buffer.concat([gzipSync(tar), Buffer.from('rubbish')]);
      expect((await outcome([{ blob: packed, tar, type: 'tar+gzip' }])).code).toBe('E_BAD_ARCHIVE');
      expectNothingHappened();
    });

    test('what lies behind the end counts for the digest and nothing else', async () => {
      const tail = Buffer.concat([Buffer.alloc(1024), rawTar([{ name: 'smuggled' }])]);
      const found = await outcome([plain([{ name: 'seen' }], tail)]);
      expect(found.stdout).toContain('seen');
      expect(found.stdout).not.toContain('smuggled');
    });

    test('a device of a base cannot be opened in a step, setuid means nothing', async () => {
      const found = await outcome(
        [
          plain([
            { name: 'zero', type: '3', mode: 0o666, device: [1, 5] },
            { name: 'suid', mode: 0o4755, content: readFileSync(busyboxPath()) },
          ]),
        ],
        'head -c 1 /zero || echo DENIED',
      );
      expect(found.stdout).toBe('DENIED\n');
    });

    test('the worker is still the same, and builds', async () => {
      expect((await outcome([plain([{ name: 'fine', content: 'yes' }])], 'cat /fine')).stdout).toBe('yes');
      expectNothingHappened();
    });
  },
);
