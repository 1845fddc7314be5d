/** Independent readers of layers with a table of contents: eStargz and zstd:chunked. */
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { Readable } from 'node:stream';
import { gunzipSync, zstdDecompressSync } from 'node:zlib';
import tar from 'tar-stream';

export interface TableEntry {
  readonly type: string;
  readonly name: string;
  readonly linkName?: string;
  readonly mode?: number;
  readonly size?: number;
  readonly uid?: number;
  readonly gid?: number;
  readonly modtime?: string;
  readonly xattrs?: Readonly<Record<string, string>>;
  readonly digest?: string;
  readonly offset?: number;
  readonly endOffset?: number;
  readonly chunkOffset?: number;
  readonly chunkSize?: number;
  readonly chunkDigest?: string;
}

export interface LayerTable {
  readonly entries: readonly TableEntry[];
  /** Of zstd:chunked: the tar without contents, a line of JSON each. */
  readonly split: readonly SplitLine[];
}

export interface SplitLine {
  readonly type: number;
  readonly name?: string;
  readonly size?: number;
  readonly payload: string | null;
  readonly position: number;
}

type Annotations = Readonly<Record<string, string>>;

export function sha256(bytes: Uint8Array): string {
  return `sha256:${createHash('sha256').update(bytes).digest('hex')}`;
}

/** By the footer; what the annotations say must be the same. @throws when it is not. */
export async function readEstargz(blob: Buffer, annotations: Annotations): Promise<LayerTable> {
  const footer = blob.subarray(-51);
  const field = footer.subarray(12, 38).toString('latin1');
  equal([field.slice(0, 4), field.slice(20)], ['SG\u0016\u0000', 'STARGZ']);
  const member = gunzipSync(blob.subarray(Number.parseInt(field.slice(4, 20), 16), -51));
  const [table, ...more] = await tarEntries(member);
  equal(['stargz.index.json', 0], [table?.name, more.length]);
  const json = table?.content ?? Buffer.alloc(0);
  equal(sha256(json), annotations['containerd.io/snapshot/stargz/toc.digest']);
  equal(String(gunzipSync(blob).length), annotations['io.containers.estargz.uncompressed-size']);
  equal(gunzipSync(footer).length, 0);
  return { entries: parse(json), split: [] };
}

/** By the annotations; what the footer says must be the same. @throws when it is not. */
export function readZstdChunked(blob: Buffer, annotations: Annotations): LayerTable {
  const annotation = (name: string) => annotations[`io.github.containers.zstd-chunked.${name}`] ?? '';
  const numbers = (name: string) => annotation(name).split(':').map(Number);
  const [offset = 0, length = 0, size = 0, type] = numbers('manifest-position');
  const [splitOffset = 0, splitLength = 0, splitSize = 0] = numbers('tarsplit-position');
  const footer = blob.subarray(-64);
  equal('GNUlInUx', footer.subarray(56).toString());
  equal(
    [offset, length, size, type, splitOffset, splitLength, splitSize],
    Array.from({ length: 7 }, (_, index) => Number(footer.readBigUInt64LE(index * 8))),
  );
  const skipped = (from: number, count: number) => {
    equal([0x184d2a50, count], [blob.readUInt32LE(from - 8), blob.readUInt32LE(from - 4)]);
    return blob.subarray(from, from + count);
  };
  skipped(blob.length - 64, 64);
  const [compressed, split] = [skipped(offset, length), skipped(splitOffset, splitLength)];
  equal(sha256(compressed), annotation('manifest-checksum'));
  equal(sha256(split), annotation('tarsplit-checksum'));
  const json = zstdDecompressSync(compressed);
  equal(json.length, size);
  equal((JSON.parse(json.toString()) as { tarSplitDigest?: string }).tarSplitDigest, sha256(split));
  const lines = zstdDecompressSync(split);
  equal(lines.length, splitSize);
  return {
    entries: parse(json),
    split: lines
      .toString()
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line) as SplitLine),
  };
}

function parse(json: Buffer): readonly TableEntry[] {
  const { version, entries } = JSON.parse(json.toString()) as {
    readonly version: number;
    readonly entries: readonly TableEntry[];
  };
  equal(version, 1);
  return entries;
}

/** Each file's content, from nothing but what its chunks say. @throws when a digest is not theirs. */
export function contentsOf(blob: Buffer, entries: readonly TableEntry[]): ReadonlyMap<string, Buffer> {
  const offsets = entries.flatMap(({ offset }) => (offset === undefined ? [] : [offset]));
  const contents = new Map<string, Buffer>();
  for (const [index, entry] of entries.entries()) {
    if (entry.type !== 'reg' || entry.size === undefined) {
      continue;
    }
    const rest = entries.slice(index + 1);
    const end = rest.findIndex(({ type }) => type !== 'chunk');
    const chunks = [entry, ...(end < 0 ? rest : rest.slice(0, end))];
    const pieces = chunks.map((chunk, number) => {
      const size = chunk.chunkSize ?? entry.size ?? 0;
      const piece = firstOf(blob, chunk.offset ?? 0, offsets).subarray(0, size);
      if (chunk.chunkDigest !== undefined) {
        equal(sha256(piece), chunk.chunkDigest);
      }
      equal(chunk.name, entry.name);
      equal(
        chunk.chunkOffset ?? 0,
        chunks.slice(0, number).reduce((sum, each) => sum + (each.chunkSize ?? 0), 0),
      );
      return piece;
    });
    const content = Buffer.concat(pieces);
    equal([content.length, sha256(content)], [entry.size, entry.digest]);
    contents.set(entry.name, content);
  }
  return contents;
}

/** The member or frame that begins at `offset`; what comes behind it must not be needed. */
function firstOf(blob: Buffer, offset: number, offsets: readonly number[]): Buffer {
  const next = Math.min(...offsets.filter((other) => other > offset), blob.length);
  const range = blob.subarray(offset, next);
  return range.readUInt32LE(0) === 0xfd2fb528 ? zstdDecompressSync(range) : gunzipSync(range);
}

export interface TarEntry {
  readonly name: string;
  readonly header: tar.Header;
  readonly content: Buffer;
}

export async function tarEntries(bytes: Buffer): Promise<readonly TarEntry[]> {
  const entries: TarEntry[] = [];
  for await (const entry of Readable.from([bytes]).pipe(tar.extract())) {
    const parts: Buffer[] = [];
    for await (const part of entry) {
      parts.push(part as Buffer);
    }
    entries.push({ name: entry.header.name, header: entry.header, content: Buffer.concat(parts) });
  }
  return entries;
}

/** The tar, put together from the segments and the files. @throws when a file's sum is not what is said of it. */
export function reassemble(split: readonly SplitLine[], contents: ReadonlyMap<string, Buffer>): Buffer {
  return Buffer.concat(
    split.map((line, index) => {
      equal(line.position, index);
      const payload = Buffer.from(line.payload ?? '', 'base64');
      if (line.type === 2) {
        return payload;
      }
      const content = contents.get(line.name ?? '') ?? Buffer.alloc(0);
      equal(content.length, line.size ?? 0);
      if (content.length > 0) {
        equal(payload.toString('hex'), crc64(content));
      }
      return content;
    }),
  );
}

/** CRC-64/GO-ISO, in halves of 32 bits. */
function crc64(bytes: Buffer): string {
  let [high, low] = [0xffffffff, 0xffffffff];
  for (const byte of bytes) {
    let [tableHigh, tableLow] = [0, (low ^ byte) & 0xff];
    for (let bit = 0; bit < 8; bit += 1) {
      const carry = tableLow & 1;
      tableLow = (tableLow >>> 1) | (tableHigh << 31);
      tableHigh = (tableHigh >>> 1) ^ (carry === 1 ? 0xd8000000 : 0);
    }
    low = ((low >>> 8) | (high << 24)) ^ tableLow;
    high = (high >>> 8) ^ tableHigh;
  }
  return [~high, ~low].map((half) => (half >>> 0).toString(16).padStart(8, '0')).join('');
}

/** The whole stream, as programs that know nothing of tables read it. */
export function uncompressed(blob: Buffer): Buffer {
  const [program, options] = blob[0] === 0x1f ? ['gzip', '-dc'] : ['zstd', '-dcq'];
  return execFileSync(program, [options], { input: blob, maxBuffer: 1 << 28 });
}

function equal(actual: unknown, expected: unknown): void {
  if (JSON.stringify(actual) !== JSON.stringify(expected)) {
    throw new Error(`expected ${JSON.stringify(expected)}, found ${JSON.stringify(actual)}`);
  }
}
