/** Entries of a copy as one buffer: Node-API takes microseconds for each property of an object, and there may be many thousand objects. */
import { pathBytes } from '../base/path-bytes.ts';
import type { CopyBelow, CopyEntry } from './addon.ts';

/**
 * 13 fields for each entry, each followed by a NUL, which no path holds: kind, source, destination, link, mode, uid, gid, mtimeNs, flags (`f`ollow,
 * `x`attrs, `k`eepsExisting), the three of `expect`, tree. 8 for what is below a directory of an index: kind, below, destination, modes, uid, gid, mtimeNs, tree.
 * What is absent is empty. Read by `native/crates/binding/src/copy_entries.rs`.
 */
export function encodeCopyEntries(entries: readonly (CopyEntry | CopyBelow)[]): Buffer {
  const pieces: Buffer[] = [];
  let text = '';
  const put = (path: Buffer | string) => {
    if (typeof path === 'string' && path.isWellFormed()) {
      text += `${path}\0`;
    } else {
      pieces.push(Buffer.from(text), typeof path === 'string' ? pathBytes(path) : path);
      text = '\0';
    }
  };
  for (const entry of entries) {
    if (entry.kind === 'below') {
      const { kind, below, destination, modes, uid, gid, mtimeNs, tree } = entry;
      text += `${kind}\0`;
      put(below);
      put(destination);
      text += `${modes.flat().join(' ')}\0${uid}\0${gid}\0${mtimeNs ?? ''}\0${tree ?? ''}\0`;
      continue;
    }
    const { kind, source, destination, link, mode, uid, gid, mtimeNs, expect, tree, ...flags } = entry;
    text += `${kind}\0`;
    put(source);
    put(destination);
    put(link ?? '');
    const letters = `${flags.follow ? 'f' : ''}${flags.xattrs ? 'x' : ''}${flags.keepsExisting ? 'k' : ''}`;
    text += `${mode ?? ''}\0${uid ?? ''}\0${gid ?? ''}\0${mtimeNs ?? ''}\0${letters}\0`;
    text += expect === undefined ? '\0\0\0' : `${expect.sizeBytes}\0${expect.mtimeNs}\0${expect.ctimeNs}\0`;
    text += `${tree ?? ''}\0`;
  }
  pieces.push(Buffer.from(text));
  return Buffer.concat(pieces);
}
