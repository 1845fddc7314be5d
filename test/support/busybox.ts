/** Images that need no network: one static busybox as the shell. */
import { execFileSync } from 'node:child_process';
import { Image } from '../../src/frontend/fluent/image.ts';

/** Debian's `busybox-static`; its shell finds its own applets. */
export function busyboxPath(): string {
  return execFileSync('sh', ['-c', 'command -v busybox'], { encoding: 'utf8' }).trim();
}

/** An image whose `/bin/sh` is busybox. */
export function busyboxImage(): Image {
  return Image.fromScratch().addLocalFile(busyboxPath(), '/bin/sh', { copy: true }).env({ PATH: '/bin' });
}

/** The same as text of a definition file; `rest` goes on with the chain: `runCommands(…)`. */
export function busyboxDefinition(rest: string): string {
  return [
    "import { Image } from 'tsbuild';",
    'export default Image.fromScratch()',
    `  .addLocalFile(${JSON.stringify(busyboxPath())}, '/bin/sh', { copy: true })`,
    "  .env({ PATH: '/bin' })",
    `  .${rest};`,
    '',
  ].join('\n');
}
