/** What the loader calls a library: DT_SONAME of its dynamic section. Source: System V ABI, "Dynamic Section". */
import { closeSync, openSync, readSync } from 'node:fs';

const MAGIC = 0x7f454c46;
const CLASS_64 = 2;
const LITTLE_ENDIAN = 1;
const HEADER_BYTES = 64;
const PT_LOAD = 1;
const PT_DYNAMIC = 2;
const DT_STRTAB = 5n;
const DT_SONAME = 14n;
/** Larger tables are not what they claim to be. */
const MAX_TABLE_BYTES = 1024 * 1024;
const MAX_NAME_BYTES = 256;

interface Segment {
  readonly type: number;
  readonly offset: number;
  readonly address: bigint;
  readonly fileBytes: number;
}

/** Undefined for what is no 64-bit little-endian library, or has no such name. */
export function sonameOf(path: string): string | undefined {
  const file = openSync(path, 'r');
  try {
    return readSoname((position, length) => readAt(file, position, length));
  } finally {
    closeSync(file);
  }
}

function readSoname(read: (position: number, length: number) => Buffer): string | undefined {
  const header = read(0, HEADER_BYTES);
  if (
    header.length < HEADER_BYTES ||
    header.readUInt32BE(0) !== MAGIC ||
    header[4] !== CLASS_64 ||
    header[5] !== LITTLE_ENDIAN
  ) {
    return undefined;
  }
  const entryBytes = header.readUInt16LE(54);
  const table = read(Number(header.readBigUInt64LE(32)), entryBytes * header.readUInt16LE(56));
  const segments: Segment[] = [];
  for (let at = 0; entryBytes >= 56 && at + entryBytes <= table.length; at += entryBytes) {
    segments.push({
      type: table.readUInt32LE(at),
      offset: Number(table.readBigUInt64LE(at + 8)),
      address: table.readBigUInt64LE(at + 16),
      fileBytes: Number(table.readBigUInt64LE(at + 32)),
    });
  }
  const dynamic = segments.find(({ type }) => type === PT_DYNAMIC);
  if (dynamic === undefined) {
    return undefined;
  }
  const entries = read(dynamic.offset, Math.min(dynamic.fileBytes, MAX_TABLE_BYTES));
  let strings: bigint | undefined;
  let name: bigint | undefined;
  for (let at = 0; at + 16 <= entries.length; at += 16) {
    const tag = entries.readBigInt64LE(at);
    const value = entries.readBigUInt64LE(at + 8);
    strings = tag === DT_STRTAB ? value : strings;
    name = tag === DT_SONAME ? value : name;
  }
  const home = segments.find(
    ({ type, address, fileBytes }) =>
      type === PT_LOAD &&
      strings !== undefined &&
      strings >= address &&
      strings < address + BigInt(fileBytes),
  );
  if (strings === undefined || name === undefined || home === undefined) {
    return undefined;
  }
  const place = home.offset + Number(strings - home.address + name);
  const bytes = read(place, MAX_NAME_BYTES);
  const end = bytes.indexOf(0);
  return end > 0 ? bytes.toString('utf8', 0, end) : undefined;
}

function readAt(file: number, position: number, length: number): Buffer {
  if (!Number.isSafeInteger(position) || length > MAX_TABLE_BYTES) {
    return Buffer.alloc(0);
  }
  const buffer = Buffer.alloc(length);
  return buffer.subarray(0, readSync(file, buffer, 0, length, position));
}
