/** What is built: contexts and Dockerfiles, seeded, so that every run of the bench has the same. */
import { createCipheriv } from 'node:crypto';
import { chmodSync, copyFileSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

/** As much as fits the machine; `small` is for trying the bench itself. */
export type Scale = 'full' | 'small';

export const BUSYBOX = '/bin/busybox';

/** Half compressible text, half noise. */
export class Content {
  readonly #noise: ReturnType<typeof createCipheriv>;
  readonly #text: Buffer;
  #state: number;

  constructor(seed: number) {
    this.#state = seed;
    // A key stream: seeded, and without repetitions that a larger window would find.
    this.#noise = createCipheriv('aes-128-ctr', Buffer.alloc(16, seed), Buffer.alloc(16));
    const words = Array.from({ length: 4096 }, () => this.below(0xffffffff).toString(36));
    let sentence = '';
    while (sentence.length < 1 << 20) {
      sentence += `${words[this.below(this.below(4096) + 1)]} `;
    }
    this.#text = Buffer.from(sentence);
  }

  /** xorshift32 */
  below(limit: number): number {
    let state = this.#state;
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    this.#state = state;
    return (state >>> 0) % limit;
  }

  bytes(size: number): Buffer {
    const noise = this.#noise.update(Buffer.alloc(Math.floor(size / 2)));
    const pieces: Buffer[] = [noise];
    for (let left = size - noise.length; left > 0; ) {
      const from = this.below(this.#text.length - 1);
      const piece = this.#text.subarray(from, from + Math.min(left, 4096));
      pieces.push(piece);
      left -= piece.length;
    }
    return Buffer.concat(pieces);
  }
}

/** Files of a few hundred bytes to some tens of kilobytes in directories of 100. */
export function writeTree(directory: string, files: number, totalBytes: number, seed: number): void {
  const content = new Content(seed);
  const mean = totalBytes / files;
  for (let index = 0; index < files; index += 1) {
    const place = join(directory, String(Math.floor(index / 1000)), String(Math.floor(index / 100) % 10));
    if (index % 100 === 0) {
      mkdirSync(place, { recursive: true });
    }
    writeFileSync(
      join(place, `${index}.txt`),
      content.bytes(Math.floor((mean * (1 + content.below(1000))) / 500)),
    );
  }
}

/** A context with busybox in it, which is all the base that is needed. */
export function writeContext(directory: string, dockerfile: string): void {
  mkdirSync(directory, { recursive: true });
  copyFileSync(BUSYBOX, join(directory, 'busybox'));
  chmodSync(join(directory, 'busybox'), 0o755);
  writeFileSync(join(directory, 'Dockerfile'), dockerfile);
}

/** What was written this very moment may change without its times changing, so that nobody remembers what was in it. */
export const YOUNG_MS = 2500;

/** A stage with a shell and its tools, which needs no registry. */
export const BASE = `FROM scratch AS base
COPY busybox /bin/busybox
ENV PATH=/bin
RUN ["/bin/busybox", "--install", "-s", "/bin"]
`;
