/** Whether builders that were asked for the same made the same: their images are written as layouts and compared file by file. */
import { join } from 'node:path';
import { flatten } from '../../test/conformance/flatten.ts';
import type { Row, Surroundings } from './rows.ts';

/** Of those, for a person to see where to look. */
const MOST_SHOWN = 20;

/** BuildKit leaves the mountpoints of its sandbox in the layer of the first step; there is none in ours. */
const MOUNTPOINTS: readonly string[] = ['/dev', '/proc', '/sys'];

/** Paths whose entry differs, with what each builder has there. */
export async function differences(places: readonly Surroundings[], row: Row): Promise<readonly string[]> {
  const images: Readonly<Record<string, string>>[] = [];
  for (const at of places) {
    const directory = join(at.directory, 'equal');
    await at.build({
      ...row.image(at),
      output: { kind: 'layout', directory, compression: 'zstd', clamp: true },
    });
    images.push((await flatten(directory, false)).files);
  }
  const [first = {}, ...others] = images;
  const unequal = others.flatMap((other) =>
    [...new Set([...Object.keys(first), ...Object.keys(other)])]
      .filter((path) => first[path] !== other[path] && !MOUNTPOINTS.includes(path))
      .map((path) => `${path}: ${first[path] ?? 'not there'} | ${other[path] ?? 'not there'}`),
  );
  return unequal.slice(0, MOST_SHOWN);
}
