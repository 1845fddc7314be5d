/**
 * Where the loader finds libraries besides its own directories: `/etc/ld.so.cache`, as ldconfig of glibc writes it.
 *
 * Source: glibc, `dl-cache.h`: the format of 2.2 and later, alone or behind that of before.
 */

const OLD_MAGIC = 'ld.so-1.7.0';
const OLD_HEADER_BYTES = 16;
const OLD_ENTRY_BYTES = 12;
const MAGIC = 'glibc-ld.so.cache1.1';
const HEADER_BYTES = 48;
const ENTRY_BYTES = 24;
const ALIGNMENT = 8;

/** Paths of all libraries in it, in its order. Empty for what is no such cache. */
export function librariesInCache(cache: Buffer): readonly string[] {
  const start = startOf(cache);
  if (start === undefined || start + HEADER_BYTES > cache.length) {
    return [];
  }
  const count = cache.readUInt32LE(start + 20);
  const paths: string[] = [];
  for (let index = 0; index < count; index += 1) {
    const entry = start + HEADER_BYTES + index * ENTRY_BYTES;
    if (entry + ENTRY_BYTES > cache.length) {
      break;
    }
    // Offsets count from the header of this format.
    const from = start + cache.readUInt32LE(entry + 8);
    const end = cache.indexOf(0, from);
    if (from < cache.length && end > from) {
      paths.push(cache.toString('utf8', from, end));
    }
  }
  return paths;
}

function startOf(cache: Buffer): number | undefined {
  const begins = (magic: string, at: number) => cache.toString('latin1', at, at + magic.length) === magic;
  if (begins(MAGIC, 0)) {
    return 0;
  }
  if (!begins(OLD_MAGIC, 0) || cache.length < OLD_HEADER_BYTES) {
    return undefined;
  }
  const end = OLD_HEADER_BYTES + cache.readUInt32LE(12) * OLD_ENTRY_BYTES;
  const start = Math.ceil(end / ALIGNMENT) * ALIGNMENT;
  return begins(MAGIC, start) ? start : undefined;
}
