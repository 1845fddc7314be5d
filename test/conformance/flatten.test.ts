/** The reader that every comparison trusts, against umoci, and the bases that every case stands on. */
import { execFileSync } from 'node:child_process';
import { lstatSync, mkdtempSync, readdirSync, readlinkSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { umociUnpack } from '../support/other-tools.ts';
import { lacks } from '../support/requires.ts';
import { BASE_NAMES, type Base, makeBases } from './bases.ts';
import { flatten } from './flatten.ts';

describe.skipIf(lacks('root', 'busybox', 'umoci', 'getfattr'))('flatten', () => {
  let root: string;
  let bases: ReadonlyMap<string, Base>;

  beforeAll(() => {
    root = mkdtempSync(join(tmpdir(), 'tsbuild-flatten-'));
    bases = makeBases(join(root, 'bases'));
  });
  afterAll(() => rmSync(root, { recursive: true, force: true }));

  // umoci refuses an image without layers.
  test.for(BASE_NAMES.filter((name) => name !== 'base-empty'))('reads %s as umoci does', async (name) => {
    const { layout } = bases.get(name) as Base;
    const unpacked = umociUnpack(layout, 'latest', join(root, `${name}-bundle`));
    const { files } = await flatten(layout, true);
    expect(Object.fromEntries(Object.entries(files).map(([path, line]) => [path, inShort(line)]))).toEqual(
      listUnpacked(unpacked),
    );
  });
});

/** Type, mode, owner, time, link target: what `stat` also says; content and attributes come after it. */
function inShort(line: string): string {
  const [head = ''] = line.split(/ (?:content|size|same file|user\.)/);
  return line.includes('same file as') ? `${head} has other names` : head;
}

function listUnpacked(root: string): Record<string, string> {
  return Object.fromEntries(
    namesBelow(root, '').map((path) => {
      const stat = lstatSync(join(root, path));
      const type = stat.isDirectory() ? 'directory' : stat.isSymbolicLink() ? 'symlink' : 'file';
      const words = [
        type,
        (stat.mode & 0o7777).toString(8).padStart(4, '0'),
        `${stat.uid}:${stat.gid}`,
        `time ${Math.floor(stat.mtimeMs / 1000)}`,
        ...(type === 'symlink' ? [`-> ${readlinkSync(join(root, path))}`] : []),
        ...(type === 'file' && stat.nlink > 1 ? ['has other names'] : []),
      ];
      return [path, words.join(' ')];
    }),
  );
}

/** Node's own recursive listing goes through links to directories. */
function namesBelow(root: string, directory: string): string[] {
  return readdirSync(join(root, directory), { withFileTypes: true }).flatMap((entry) => {
    const path = `${directory}/${entry.name}`;
    return entry.isDirectory() ? [path, ...namesBelow(root, path)] : [path];
  });
}

test.skipIf(lacks('root', 'busybox', 'umoci', 'getfattr'))('content, names and attributes', async () => {
  const root = mkdtempSync(join(tmpdir(), 'tsbuild-flatten-'));
  try {
    const { layout } = makeBases(root).get('base-rich') as Base;
    const { files } = await flatten(layout, false);
    expect(files['/srv/attributes']).toBe('file 0644 0:0 time 1400000000 content "x" user.note="kept"');
    expect(files['/srv/one']).toContain('content "linked" same file as /srv/two');
    const unpacked = umociUnpack(layout, 'latest', join(root, 'bundle'));
    const attribute = execFileSync(
      'getfattr',
      ['--only-values', '-n', 'user.note', join(unpacked, 'srv/attributes')],
      { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] },
    );
    expect(attribute).toBe('kept');
  } finally {
    rmSync(root, { recursive: true, force: true });
  }
});
