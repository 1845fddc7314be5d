/** A case's files: a description that a folder in git can hold, made real with modes, times, links and attributes. */
import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  chownSync,
  closeSync,
  linkSync,
  lstatSync,
  lutimesSync,
  mkdirSync,
  openSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { createServer } from 'node:net';
import { dirname, join } from 'node:path';
import { crc32, gzipSync } from 'node:zlib';
import { type RawEntry, rawTar } from '../support/raw-tar.ts';

/** Of directories that say no other. An eighth of a second is exact in binary, so that nothing is lost on the way. */
const DEFAULT_MTIME_SECONDS = 1_420_070_400.125;
/** Files have later times than directories, by as much as this. */
const MTIME_RANGE_SECONDS = 10_000_000;

export interface Leaf {
  readonly text?: string;
  /** Bytes, in base 64. */
  readonly bytes?: string;
  /** Octal. @defaultValue 644, of directories 755 */
  readonly mode?: string;
  readonly owner?: readonly [number, number];
  readonly mtimeSeconds?: number;
  /** A symbolic link with this target. */
  readonly link?: string;
  /** Another name of this path, which stands before it. */
  readonly hardLink?: string;
  readonly special?: 'fifo' | 'socket';
  readonly xattrs?: Readonly<Record<string, string>>;
  /** Of a sparse file: its size; the text stands at its end. */
  readonly sparseBytes?: number;
  readonly archive?: Archive;
}

export interface Archive {
  readonly compression: 'none' | 'gzip' | 'bzip2' | 'xz' | 'zstd';
  readonly entries: readonly RawEntry[];
}

/** A path that ends with a slash is a directory; others are files, with their text alone where nothing else is to say. */
export type Tree = Readonly<Record<string, string | Leaf>>;

/**
 * Makes `tree` below `root`, which is made too; parents are made as needed.
 *
 * @param seed - Of the times of files. BuildKit takes a file of an earlier build's context for the same when path, size,
 *   mode and time are equal, so two trees with other content must not share them.
 */
export function makeTree(root: string, tree: Tree, seed: string): void {
  mkdirSync(root, { recursive: true, mode: 0o755 });
  const made = new Map<string, number>([[root, DEFAULT_MTIME_SECONDS]]);
  for (const [name, said] of Object.entries(tree)) {
    const leaf = typeof said === 'string' ? { text: said } : said;
    const path = join(root, name.replace(/\/$/, ''));
    for (let parent = dirname(path); !made.has(parent); parent = dirname(parent)) {
      made.set(parent, DEFAULT_MTIME_SECONDS);
    }
    mkdirSync(dirname(path), { recursive: true, mode: 0o755 });
    makeLeaf(root, path, name.endsWith('/'), leaf);
    made.set(
      path,
      leaf.mtimeSeconds ??
        DEFAULT_MTIME_SECONDS + (name.endsWith('/') ? 0 : crc32(`${seed} ${name}`) % MTIME_RANGE_SECONDS),
    );
  }
  // Children first: making a child changes the time of its parent.
  for (const [path, mtime] of [...made].sort(([a], [b]) => (a < b ? 1 : -1))) {
    lutimesSync(path, mtime, mtime);
  }
}

function makeLeaf(root: string, path: string, directory: boolean, leaf: Leaf): void {
  if (leaf.hardLink !== undefined) {
    linkSync(join(root, leaf.hardLink), path);
    return;
  }
  if (leaf.link !== undefined) {
    symlinkSync(leaf.link, path);
    return;
  }
  if (directory) {
    mkdirSync(path, { recursive: true });
  } else if (leaf.special === 'fifo') {
    execFileSync('mkfifo', [path]);
  } else if (leaf.special === 'socket') {
    makeSocket(path);
  } else if (leaf.sparseBytes !== undefined) {
    makeSparse(path, leaf.sparseBytes, leaf.text ?? '');
  } else {
    writeFileSync(path, contentOf(leaf));
  }
  if (leaf.owner !== undefined) {
    chownSync(path, ...leaf.owner);
  }
  chmodSync(path, Number.parseInt(leaf.mode ?? (directory ? '755' : '644'), 8));
  for (const [name, value] of Object.entries(leaf.xattrs ?? {})) {
    execFileSync('setfattr', ['-h', '-n', name, '-v', value, path]);
  }
}

/** What a file holds; also what a server of the case hands out. */
export function contentOf(leaf: Leaf): Buffer {
  if (leaf.archive !== undefined) {
    return compress(rawTar(leaf.archive.entries), leaf.archive.compression);
  }
  return leaf.bytes === undefined ? Buffer.from(leaf.text ?? '') : Buffer.from(leaf.bytes, 'base64');
}

function compress(tar: Buffer, compression: Archive['compression']): Buffer {
  switch (compression) {
    case 'none':
      return tar;
    case 'gzip':
      // Without compression it is the same with every zlib.
      return gzipSync(tar, { level: 0 });
    default:
      return execFileSync(compression, ['-c'], { input: tar });
  }
}

function makeSparse(path: string, size: number, text: string): void {
  writeFileSync(path, '');
  truncateSync(path, size);
  const fd = openSync(path, 'r+');
  writeSync(fd, text, size - Buffer.byteLength(text));
  closeSync(fd);
}

/** Its name stays behind only while the server lives, so the server is left to the end of the process. */
function makeSocket(path: string): void {
  execFileSync(process.execPath, [
    '-e',
    `require('node:net').createServer().listen(process.argv[1], () => process.exit())`,
    path,
  ]);
  if (!lstatSync(path, { throwIfNoEntry: false })?.isSocket()) {
    createServer().listen(path).unref();
  }
}
