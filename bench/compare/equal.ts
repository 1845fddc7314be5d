/** Whether builders that were asked for the same made the same: their images are written as layouts and compared file by file. */
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { flatten } from '../../test/conformance/flatten.ts';
import { type Difference, MOST_UNEQUAL } from './results.ts';
import type { Row, Surroundings } from './rows.ts';

/** BuildKit and buildah leave the mountpoints of their sandboxes in the layer of the first step; there is none in ours. */
const MOUNTPOINTS: readonly string[] = ['/dev', '/proc', '/sys'];

type Files = Readonly<Record<string, string>>;

/** Of each builder but the first, whose image the others' are compared with. */
export async function differences(
  [first, ...others]: readonly Surroundings[],
  row: Row,
): Promise<Readonly<Record<string, readonly Difference[]>>> {
  const unequal: Record<string, readonly Difference[]> = {};
  for (const other of others) {
    // Where it cannot clamp times, ours are not clamped either.
    const clamp = other.peer.lacks(imageBuild(other, row, true)) === undefined;
    const ours = first === undefined ? {} : await imageFiles(first, row, clamp);
    const theirs = await imageFiles(other, row, clamp);
    unequal[other.peer.name] = [...new Set([...Object.keys(ours), ...Object.keys(theirs)])]
      .filter((path) => ours[path] !== theirs[path] && !MOUNTPOINTS.includes(path))
      .map((path) => ({ path, ours: ours[path] ?? 'not there', theirs: theirs[path] ?? 'not there' }))
      .slice(0, MOST_UNEQUAL);
  }
  return unequal;
}

async function imageFiles(at: Surroundings, row: Row, clamp: boolean): Promise<Files> {
  const build = imageBuild(at, row, clamp);
  rmSync(build.output.directory, { recursive: true, force: true });
  await at.build(build);
  return (await flatten(build.output.directory, false)).files;
}

function imageBuild(at: Surroundings, row: Row, clamp: boolean) {
  const directory = join(at.directory, 'equal');
  return { ...row.image(at), output: { kind: 'layout', directory, compression: 'zstd', clamp } } as const;
}
