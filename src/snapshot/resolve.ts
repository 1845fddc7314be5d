/** Paths of an image on the host: links are followed as the image's own processes would follow them. */
import { lstatSync, readlinkSync, type Stats } from 'node:fs';
import { posix } from 'node:path';
import { DefinitionError } from '../errors.ts';

/** The kernel's limit. */
const MAX_LINKS = 40;

export interface Resolved {
  /** Absolute path in the image without any link in it. */
  readonly path: string;
  /** What is there; absent where nothing is. */
  readonly stat: Stats | undefined;
  /** How many leading components of `path` exist. */
  readonly existing: number;
}

/**
 * Where a path of an image leads, every link resolved inside `root`, dangling ones too: what lies behind them counts as missing,
 * and so does what would lie below a file.
 * Only for trees that no process is changing meanwhile.
 */
export function resolveInTree(root: string, path: string): Resolved {
  const pending = posix.normalize(path).split('/').filter(Boolean).reverse();
  const done: string[] = [];
  let stat: Stats | undefined;
  let existing = 0;
  let links = 0;
  for (let name = pending.pop(); name !== undefined; name = pending.pop()) {
    if (name === '..') {
      done.pop();
      existing = Math.min(existing, done.length);
      continue;
    }
    if (existing < done.length) {
      done.push(name);
      continue;
    }
    const found = statOf(`${root}/${[...done, name].join('/')}`);
    if (found?.isSymbolicLink()) {
      links += 1;
      if (links > MAX_LINKS) {
        throw new DefinitionError(`too many levels of symbolic links at '${path}' in the image`, {
          code: 'E_MOUNT_TARGET',
        });
      }
      const target = readlinkSync(`${root}/${[...done, name].join('/')}`);
      if (target.startsWith('/')) {
        done.length = 0;
        existing = 0;
      }
      pending.push(
        ...target
          .split('/')
          .filter((part) => part !== '' && part !== '.')
          .reverse(),
      );
      continue;
    }
    done.push(name);
    if (found !== undefined) {
      stat = found;
      existing = done.length;
    }
  }
  const exists = existing === done.length;
  if (exists && (stat === undefined || done.length === 0 || links > 0 || path.includes('..'))) {
    stat = statOf(`${root}/${done.join('/')}`);
  }
  return { path: `/${done.join('/')}`, stat: exists ? stat : undefined, existing };
}

function statOf(path: string): Stats | undefined {
  try {
    return lstatSync(path, { throwIfNoEntry: false });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOTDIR') {
      return undefined;
    }
    throw error;
  }
}
