/** Which text files of a layer hold the value of a secret. One file is open at a time, and a part of it in memory. */
import { constants, type Dirent } from 'node:fs';
import { type FileHandle, open, readdir } from 'node:fs/promises';

/** Shorter values are found by chance; what the mask passes over is passed over here. */
const SHORTEST_BYTES = 4;
const CHUNK_BYTES = 256 * 1024;
/** Of Linux, with the NUL at the end. A step can make directories that are deeper; nobody keeps a configuration there. */
const PATH_MAX = 4096;
/** How many files are named. */
const NAMED = 5;

export interface FilesWithValues {
  /** Paths in the image, the first ones. */
  readonly files: readonly string[];
  readonly count: number;
}

/** @throws `signal.reason` */
export async function filesWithValues(
  layerDir: string,
  values: readonly Buffer[],
  signal: AbortSignal,
): Promise<FilesWithValues> {
  const needles = needlesOf(values);
  const files: string[] = [];
  let count = 0;
  if (needles.length === 0) {
    return { files, count };
  }
  const chunk = Buffer.allocUnsafe(CHUNK_BYTES + (needles[0]?.length ?? 0));
  const root = Buffer.from(layerDir);
  const directories: Buffer[] = [root];
  for (let directory = directories.pop(); directory !== undefined; directory = directories.pop()) {
    signal.throwIfAborted();
    const entries: Dirent<Buffer>[] = await readdir(directory, { encoding: 'buffer', withFileTypes: true });
    for (const entry of entries) {
      const path = Buffer.concat([directory, Buffer.from('/'), entry.name]);
      if (path.length >= PATH_MAX) {
        continue;
      }
      if (entry.isDirectory()) {
        directories.push(path);
      } else if (entry.isFile() && (await holds(path, needles, chunk, signal))) {
        count += 1;
        if (files.length < NAMED) {
          files.push(path.subarray(root.length).toString('utf8'));
        }
      }
    }
  }
  return { files: files.sort(), count };
}

/** Longest first. A value ends up in files without the line feed at its end, as shells cut it. */
function needlesOf(values: readonly Buffer[]): Buffer[] {
  const texts = values.map((value) => value.toString('latin1').replace(/[\r\n]+$/, ''));
  return [...new Set(texts)]
    .filter((text) => text.length >= SHORTEST_BYTES)
    .sort((left, right) => right.length - left.length)
    .map((text) => Buffer.from(text, 'latin1'));
}

async function holds(
  path: Buffer,
  needles: readonly Buffer[],
  chunk: Buffer,
  signal: AbortSignal,
): Promise<boolean> {
  const file = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW);
  try {
    return await search(file, needles, chunk, signal);
  } finally {
    await file.close();
  }
}

async function search(
  file: FileHandle,
  needles: readonly Buffer[],
  chunk: Buffer,
  signal: AbortSignal,
): Promise<boolean> {
  const longest = needles[0]?.length ?? 0;
  /** What may be the beginning of a value, at the front of `chunk`. */
  let kept = 0;
  for (let isFirst = true; ; isFirst = false) {
    signal.throwIfAborted();
    const { bytesRead } = await file.read(chunk, kept, CHUNK_BYTES, null);
    const seen = chunk.subarray(0, kept + bytesRead);
    // As git and grep tell text from other files.
    if (bytesRead === 0 || (isFirst && seen.subarray(0, 8000).includes(0))) {
      return false;
    }
    if (needles.some((needle) => seen.includes(needle))) {
      return true;
    }
    kept = Math.min(longest - 1, seen.length);
    chunk.copyWithin(0, seen.length - kept, seen.length);
  }
}
