/**
 * What an image in an OCI layout is, as text that can be compared: its root filesystem with all layers applied, its
 * config, its history. Reads the layout by itself, so that no builder's own reader hides what it wrote.
 */

import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { createReadStream, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { createGunzip } from 'node:zlib';
import tar from 'tar-stream';
import { BUSYBOX_SHA256 } from './bases.ts';

export interface FlatImage {
  /** Path → type, mode, owner and the rest, as one line. The root is left out: builders disagree whether a layer holds it. */
  readonly files: Readonly<Record<string, string>>;
  readonly config: Readonly<Record<string, unknown>>;
  /** `+` for a record with a layer, `-` without, then what made it. */
  readonly history: readonly string[];
  readonly layers: number;
}

interface Inode {
  readonly type: string;
  readonly mode: number;
  readonly owner: string;
  readonly time: string;
  readonly detail: string;
  readonly xattrs: readonly string[];
}

interface Entry {
  readonly path: string;
  /** Undefined for a hard link. */
  readonly inode: Inode | undefined;
  readonly target: string;
}

/** No case sets a time after 2025, so later ones are those of the build. */
const NOW_SECONDS = 1_735_689_600;
/** Shorter text is shown instead of its digest, so that a person can read a listing. */
const SHOWN_BYTES = 600;
const PAX_XATTR = 'SCHILY.xattr.';
/** Set where the host marks its own files, never by a build. */
const HOST_XATTRS = /^security\.(selinux|ima|evm)$/;

/**
 * The one image of `layout`; of several manifests the first that is of a platform.
 *
 * @param directoryTimes - Whether listings have them: BuildKit gives a copied directory the time of its source or of the
 *   build as chance has it.
 */
export async function flatten(layout: string, directoryTimes: boolean): Promise<FlatImage> {
  const blobPath = (digest: string) => join(layout, 'blobs', digest.replace(':', '/'));
  const json = (path: string) => JSON.parse(readFileSync(path, 'utf8'));
  let document = json(join(layout, 'index.json'));
  while (Array.isArray(document.manifests)) {
    document = json(blobPath(document.manifests[0].digest));
  }
  const config = json(blobPath(document.config.digest));
  const tree = new Map<string, Inode>();
  for (const layer of document.layers ?? []) {
    applyLayer(tree, await readLayer(blobPath(layer.digest), layer.mediaType));
  }
  const diffIds: readonly string[] = config.rootfs.diff_ids ?? [];
  if (diffIds.length !== (document.layers ?? []).length) {
    throw new Error('the config and the manifest disagree about the number of layers');
  }
  return {
    files: listing(tree, directoryTimes),
    config: flatConfig(config),
    history: (config.history ?? []).map(historyLine),
    layers: diffIds.length,
  };
}

async function readLayer(path: string, mediaType: string): Promise<readonly Entry[]> {
  const entries: Entry[] = [];
  const extract = tar.extract();
  extract.on('entry', (header, stream, next) => {
    readEntry(header, stream as AsyncIterable<Buffer>).then((entry) => {
      entries.push(entry);
      next();
    }, next);
  });
  if (mediaType.includes('zstd')) {
    // Node's own reader stops after the first of several frames.
    await pipeline(spawn('zstd', ['-dc', path], { stdio: ['ignore', 'pipe', 'inherit'] }).stdout, extract);
  } else if (mediaType.includes('gzip')) {
    await pipeline(createReadStream(path), createGunzip(), extract);
  } else {
    await pipeline(createReadStream(path), extract);
  }
  return entries;
}

async function readEntry(header: tar.Header, stream: AsyncIterable<Buffer>): Promise<Entry> {
  const hash = createHash('sha256');
  const chunks: Buffer[] = [];
  for await (const chunk of stream) {
    hash.update(chunk);
    if ((header.size ?? 0) <= SHOWN_BYTES) {
      chunks.push(chunk);
    }
  }
  const path = clean(header.name);
  if (header.type === 'link') {
    return { path, inode: undefined, target: clean(header.linkname ?? '') };
  }
  const pax = (header.pax ?? {}) as Readonly<Record<string, string>>;
  const seconds = Number(pax.mtime ?? (header.mtime?.getTime() ?? 0) / 1000);
  const inode: Inode = {
    type: header.type ?? 'file',
    // Buildah writes the type of the file here too.
    mode: (header.mode ?? 0) & 0o7777,
    owner: `${header.uid}:${header.gid}`,
    // BuildKit's layers have whole seconds.
    time: seconds >= NOW_SECONDS ? 'now' : String(Math.floor(seconds)),
    detail: detailOf(header, Buffer.concat(chunks), hash.digest('hex')),
    xattrs: Object.entries(pax)
      .filter(([key]) => key.startsWith(PAX_XATTR) && !HOST_XATTRS.test(key.slice(PAX_XATTR.length)))
      .map(([key, value]) => `${key.slice(PAX_XATTR.length)}=${JSON.stringify(value)}`)
      .sort(),
  };
  return { path, inode, target: '' };
}

function detailOf(header: tar.Header, text: Buffer, sha256: string): string {
  switch (header.type) {
    case 'symlink':
      return `-> ${header.linkname}`;
    case 'character-device':
    case 'block-device':
      return `device ${header.devmajor}:${header.devminor}`;
    case 'file':
      break;
    default:
      return '';
  }
  if (sha256 === BUSYBOX_SHA256) {
    return 'content busybox';
  }
  const shown = text.toString('utf8');
  return (header.size ?? 0) <= SHOWN_BYTES && Buffer.from(shown).equals(text)
    ? `content ${JSON.stringify(shown)}`
    : `size ${header.size} sha256 ${sha256}`;
}

function clean(name: string): string {
  const parts = name.split('/').filter((part) => part !== '' && part !== '.');
  return `/${parts.join('/')}`;
}

/** Source: OCI image-spec v1.1, `layer.md`. Whiteouts hide what is below, never what the same layer brings. */
function applyLayer(tree: Map<string, Inode>, entries: readonly Entry[]): void {
  for (const { path } of entries) {
    const at = path.lastIndexOf('/');
    const parent = path.slice(0, at);
    const name = path.slice(at + 1);
    if (name === '.wh..wh..opq') {
      removeBelow(tree, parent);
    } else if (name.startsWith('.wh.')) {
      const hidden = `${parent}/${name.slice('.wh.'.length)}`;
      tree.delete(hidden);
      removeBelow(tree, hidden);
    }
  }
  for (const { path, inode, target } of entries) {
    if (path === '/' || path.slice(path.lastIndexOf('/') + 1).startsWith('.wh.')) {
      continue;
    }
    const made = inode ?? tree.get(target);
    if (made === undefined) {
      throw new Error(`'${path}' is a hard link to '${target}', which is not there`);
    }
    if (made.type !== 'directory') {
      removeBelow(tree, path);
    }
    tree.set(path, made);
  }
}

function removeBelow(tree: Map<string, Inode>, path: string): void {
  for (const other of [...tree.keys()]) {
    if (other.startsWith(`${path}/`)) {
      tree.delete(other);
    }
  }
}

function listing(tree: ReadonlyMap<string, Inode>, directoryTimes: boolean): Record<string, string> {
  const names = new Map<Inode, string[]>();
  for (const path of [...tree.keys()].sort()) {
    const inode = tree.get(path) as Inode;
    names.set(inode, [...(names.get(inode) ?? []), path]);
  }
  return Object.fromEntries(
    [...tree.keys()].sort().map((path) => {
      const inode = tree.get(path) as Inode;
      const others = (names.get(inode) ?? []).filter((name) => name !== path);
      const words = [
        inode.type,
        inode.mode.toString(8).padStart(4, '0'),
        inode.owner,
        ...(inode.type === 'directory' && !directoryTimes ? [] : [`time ${inode.time}`]),
        inode.detail,
        ...inode.xattrs,
        ...(others.length === 0 ? [] : [`same file as ${others.join(' ')}`]),
      ];
      return [path, words.filter((word) => word !== '').join(' ')];
    }),
  );
}

/** Lists and maps that are empty are as good as absent: builders differ in which they write. */
function flatConfig(config: Readonly<Record<string, unknown>>): Record<string, unknown> {
  const { rootfs: _, history: __, config: inner, created, ...outer } = config;
  const members = Object.entries({
    ...outer,
    ...(typeof created === 'string' ? { created: flatTime(created) } : {}),
    ...(inner as object),
  });
  return Object.fromEntries(
    members.filter(([, value]) => !isEmpty(value)).sort(([a], [b]) => (a < b ? -1 : 1)),
  );
}

function flatTime(time: string): string {
  return Date.parse(time) / 1000 >= NOW_SECONDS ? 'now' : new Date(time).toISOString();
}

function isEmpty(value: unknown): boolean {
  return (
    value === undefined ||
    value === null ||
    value === '' ||
    value === false ||
    (typeof value === 'object' && Object.keys(value).length === 0)
  );
}

function historyLine(record: {
  readonly created_by?: string;
  readonly author?: string;
  readonly empty_layer?: boolean;
}): string {
  const author = record.author === undefined ? '' : ` (${record.author})`;
  return `${record.empty_layer === true ? '-' : '+'} ${record.created_by ?? ''}${author}`;
}
