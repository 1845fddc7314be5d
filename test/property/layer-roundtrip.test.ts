/** Writing a layer and unpacking it is the identity. */
import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  lchownSync,
  linkSync,
  lstatSync,
  lutimesSync,
  mkdirSync,
  mkdtempSync,
  type PathLike,
  readdirSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { native } from '../../src/native/addon.ts';

const ROUNDS = 40;

interface Common {
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly mtimeSeconds: number;
  readonly xattr: string | undefined;
}

type Node = { readonly name: Buffer } & (
  | ({ readonly kind: 'file'; readonly content: Buffer } & Common)
  | ({ readonly kind: 'directory'; readonly opaque: boolean; readonly children: readonly Node[] } & Common)
  | { readonly kind: 'symlink'; readonly target: Buffer }
  | { readonly kind: 'hardLink' }
  | { readonly kind: 'whiteout' }
);

/** Any bytes but NUL and `/`; not `.`, `..` or a whiteout's prefix. */
const nameBytes = fc
  .uint8Array({ minLength: 1, maxLength: 120 })
  .map((bytes) => Buffer.from(bytes.map((byte) => (byte === 0 || byte === 0x2f ? 0x61 : byte))))
  .filter(
    (name) => !['.', '..'].includes(name.toString('latin1')) && !name.toString('latin1').startsWith('.wh.'),
  );

const shortName = fc.constantFrom('a', 'b', 'c', 'usr', 'lib').map((name) => Buffer.from(name));

const id = fc.oneof(
  fc.constant(0),
  fc.integer({ min: 0, max: 65_535 }),
  fc.integer({ min: 2_097_150, max: 2 ** 31 }),
);

const common = fc.record({
  mode: fc.integer({ min: 0, max: 0o7777 }),
  uid: id,
  gid: id,
  mtimeSeconds: fc.integer({ min: -1_000_000, max: 4_000_000_000 }),
  xattr: fc.option(fc.stringMatching(/^[a-z]{1,20}$/), { nil: undefined }),
});

const { nodes } = fc.letrec<{ nodes: readonly Node[]; node: Node }>((tie) => ({
  nodes: fc.uniqueArray(tie('node'), {
    maxLength: 6,
    selector: (node) => node.name.toString('latin1'),
  }),
  node: fc.oneof(
    { depthSize: 'small', withCrossShrink: true },
    fc
      .record({
        name: fc.oneof(shortName, nameBytes),
        content: fc.oneof(
          fc.uint8Array({ maxLength: 1500 }).map((bytes) => Buffer.from(bytes)),
          fc.integer({ min: 1_048_570, max: 1_048_580 }).map((size) => Buffer.alloc(size, 'large ')),
        ),
        facts: common,
      })
      .map(({ name, content, facts }): Node => ({ kind: 'file', name, content, ...facts })),
    fc
      .record({
        name: fc.oneof(shortName, nameBytes),
        children: tie('nodes'),
        opaque: fc.boolean(),
        facts: common,
      })
      .map(
        ({ name, children, opaque, facts }): Node => ({
          kind: 'directory',
          name,
          children,
          opaque,
          ...facts,
        }),
      ),
    fc
      .record({ name: nameBytes, target: nameBytes })
      .map(({ name, target }): Node => ({ kind: 'symlink', name, target })),
    nameBytes.map((name): Node => ({ kind: 'hardLink', name })),
    shortName.map((name): Node => ({ kind: 'whiteout', name })),
  ),
}));

function within(parent: Buffer, name: Buffer): Buffer {
  return Buffer.concat([parent, Buffer.from('/'), name]);
}

/** Makes the tree; what it hides is made in `lower`, since a whiteout of nothing is not written. */
function make(
  upper: Buffer,
  lower: Buffer,
  list: readonly Node[],
  files: Buffer[],
  opaqueAbove: boolean,
  whiteout: string,
): void {
  mkdirSync(lower, { recursive: true });
  for (const node of list) {
    const [path, below] = [within(upper, node.name), within(lower, node.name)];
    switch (node.kind) {
      case 'file':
        writeFileSync(path, node.content);
        apply(path, node);
        files.push(path);
        break;
      case 'directory':
        mkdirSync(path);
        make(path, below, node.children, files, opaqueAbove || node.opaque, whiteout);
        // Nothing below an opaque directory shows, so a mark in it would say nothing and is not written.
        if (node.opaque && !opaqueAbove) {
          setXattr(path, 'user.overlay.opaque', 'y');
        }
        apply(path, node);
        break;
      case 'symlink':
        symlinkSync(node.target, path);
        lutimesSync(path, 1_000_000_000, 1_000_000_000);
        break;
      case 'hardLink': {
        const target = files.at(-1);
        if (target !== undefined) {
          linkSync(target, path);
        }
        break;
      }
      case 'whiteout':
        if (!opaqueAbove) {
          // As in an upper directory, where all whiteouts are one inode.
          linkSync(whiteout, path);
          writeFileSync(below, 'hidden');
        }
        break;
    }
  }
}

function apply(path: PathLike & Buffer, facts: Common): void {
  if (facts.xattr !== undefined) {
    setXattr(path, 'user.note', facts.xattr);
  }
  lchownSync(path, facts.uid, facts.gid);
  chmodSync(path, facts.mode);
  lutimesSync(path, facts.mtimeSeconds, facts.mtimeSeconds);
}

/** `setfattr` cannot be given every name, so the entry has another one meanwhile. */
function setXattr(path: Buffer, name: string, value: string): void {
  const meanwhile = mkdtempSync(join(tmpdir(), 'tsbuild-xattr-'));
  try {
    renameSync(path, join(meanwhile, 'entry'));
    execFileSync('setfattr', ['-n', name, '-v', value, join(meanwhile, 'entry')]);
    renameSync(join(meanwhile, 'entry'), path);
  } finally {
    rmSync(meanwhile, { recursive: true });
  }
}

/** Modification times by path, which the tree digest leaves out. */
function times(directory: Buffer, result = new Map<string, number>()): Map<string, number> {
  for (const name of readdirSync(directory, { encoding: 'buffer' })) {
    const path = within(directory, name);
    const stat = lstatSync(path);
    if (stat.isDirectory()) {
      times(path, result);
    }
    if (!stat.isCharacterDevice()) {
      result.set(path.toString('latin1').split('/').slice(4).join('/'), Math.floor(stat.mtimeMs / 1000));
    }
  }
  return result;
}

test.skipIf(process.getuid?.() !== 0)(
  'write then unpack is the identity (needs root for owners and whiteouts)',
  async () => {
    const addon = native();
    await fc.assert(
      fc.asyncProperty(nodes, fc.constantFrom('zstd', 'gzip', 'none'), async (tree, compression) => {
        const scratch = mkdtempSync(join(tmpdir(), 'tsbuild-property-'));
        try {
          const [root, lower, back] = ['root', 'lower', 'back'].map((name) => join(scratch, name)) as [
            string,
            string,
            string,
          ];
          for (const directory of [root, back]) {
            mkdirSync(directory, { mode: 0o755 });
          }
          const whiteout = join(scratch, 'whiteout');
          execFileSync('mknod', ['-m', '600', whiteout, 'c', '0', '0']);
          make(Buffer.from(root), Buffer.from(lower), tree, [], false, whiteout);
          const layer = await addon.writeLayer({
            root,
            lowers: [lower],
            output: join(scratch, 'blob'),
            compression,
            level: 1,
          });
          await addon.unpackLayer({
            blob: join(scratch, 'blob'),
            compression: 'auto',
            root: back,
            expectedDigest: layer.digest,
            expectedDiffId: layer.diffId,
            overlayXattrs: 'user',
            devices: 'create',
          });
          expect(await addon.treeDigest(back)).toBe(await addon.treeDigest(root));
          expect(times(Buffer.from(back))).toEqual(times(Buffer.from(root)));
        } finally {
          rmSync(scratch, { recursive: true, force: true });
        }
      }),
      { numRuns: ROUNDS },
    );
  },
  120_000,
);
