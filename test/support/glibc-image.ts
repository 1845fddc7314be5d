/** An image that needs no network and runs this machine's Node: busybox, and the libraries that Node is linked to. */
import { execFileSync } from 'node:child_process';
import { realpathSync } from 'node:fs';
import type { Image } from '../../src/frontend/fluent/image.ts';
import { busyboxImage } from './busybox.ts';

export function glibcImage(): Image {
  return libraries().reduce(
    (image, path) => image.addLocalFile(realpathSync(path), path, { copy: true }),
    busyboxImage(),
  );
}

/** The same as text of a definition file, an expression. */
export function glibcExpression(busybox: string): string {
  const copies = libraries().map(
    (path) => `.addLocalFile(${JSON.stringify(realpathSync(path))}, ${JSON.stringify(path)}, { copy: true })`,
  );
  return `Image.fromScratch().addLocalFile(${JSON.stringify(busybox)}, '/bin/sh', { copy: true })${copies.join('')}.env({ PATH: '/bin' })`;
}

/** Paths that the loader looks for. */
function libraries(): string[] {
  const listed = execFileSync('ldd', [process.execPath], { encoding: 'utf8' });
  return [...listed.matchAll(/(?:=> )?(\/\S+) \(/g)].map(([, path = '']) => path);
}
