/**
 * A plain implementation of what `scanInput` needs of the native addon, for tests that must run without a build of it.
 * The real one has to pass the same suite: `test/suite/scan-input-suite.ts`.
 */
import { createHash } from 'node:crypto';
import { lstat, readdir, readFile, readlink, stat } from 'node:fs/promises';
import type { ScanTools } from '../../src/local/scan-input.ts';
import type { StatCache, StatCacheEntry, StatFacts } from '../../src/local/stat-cache.ts';
import type { ScanEntry } from '../../src/native/addon.ts';

export class PlainCancelToken {
  cancelled = false;

  cancel(): void {
    this.cancelled = true;
  }
}

export const plainScan: ScanTools['native'] = {
  CancelToken: PlainCancelToken,

  async scanTree(root) {
    const found: ScanEntry[] = [];
    const walk = async (directory: string, prefix: Buffer): Promise<void> => {
      for (const name of await readdir(directory, { encoding: 'buffer' })) {
        const path = Buffer.concat([prefix, name]);
        const full = Buffer.concat([Buffer.from(`${root}/`), path]);
        const facts = await lstat(full, { bigint: true });
        const kind = facts.isDirectory()
          ? 'directory'
          : facts.isSymbolicLink()
            ? 'symlink'
            : facts.isFile()
              ? 'file'
              : facts.isFIFO()
                ? 'fifo'
                : 'socket';
        found.push({
          path,
          kind,
          mode: Number(facts.mode) & 0o7777,
          sizeBytes: Number(facts.size),
          dev: String(facts.dev),
          ino: String(facts.ino),
          mtimeNs: String(facts.mtimeNs),
          ctimeNs: String(facts.ctimeNs),
          ...(kind === 'symlink' ? { link: await readlink(full, { encoding: 'buffer' }) } : {}),
        });
        if (kind === 'directory') {
          await walk(full.toString(), Buffer.concat([path, Buffer.from('/')]));
        }
      }
    };
    await walk(root, Buffer.alloc(0));
    return found.sort((one, other) => Buffer.compare(one.path, other.path));
  },

  async hashFiles(paths) {
    return Promise.all(
      paths.map(async (path) => {
        const facts = await stat(path, { bigint: true });
        return {
          sha256: createHash('sha256')
            .update(await readFile(path))
            .digest('hex'),
          sizeBytes: Number(facts.size),
          mode: Number(facts.mode) & 0o7777,
          dev: String(facts.dev),
          ino: String(facts.ino),
          mtimeNs: String(facts.mtimeNs),
          ctimeNs: String(facts.ctimeNs),
        };
      }),
    );
  },
};

/** Remembers in memory, and counts what it was asked. */
export class MemoryStatCache implements StatCache {
  readonly #known = new Map<string, string>();
  hits = 0;
  stored = 0;

  lookup(facts: readonly StatFacts[]): readonly (string | undefined)[] {
    return facts.map((each) => {
      const sha256 = this.#known.get(keyOf(each));
      this.hits += sha256 === undefined ? 0 : 1;
      return sha256;
    });
  }

  store(entries: readonly StatCacheEntry[]): void {
    for (const { facts, sha256 } of entries) {
      this.#known.set(keyOf(facts), sha256);
      this.stored += 1;
    }
  }
}

function keyOf({ dev, ino, sizeBytes, mtimeNs, ctimeNs }: StatFacts): string {
  return [dev, ino, sizeBytes, mtimeNs, ctimeNs].join(' ');
}
