/** An image with glibc's loader, ldconfig and programs of the test, from this machine's files: it needs no network. */
import { execFileSync } from 'node:child_process';
import { existsSync, realpathSync } from 'node:fs';
import { busyboxPath } from './busybox.ts';

/** Ubuntu's is a script that calls the program. */
const LDCONFIG = existsSync('/sbin/ldconfig.real') ? '/sbin/ldconfig.real' : '/sbin/ldconfig';

/**
 * As an expression of a definition file.
 *
 * @param programs - `/bin/NAME` in it → where they are.
 * @param lent - Libraries and programs that it does not have and whose own libraries it has.
 */
export function loaderExpression(
  programs: Readonly<Record<string, string>>,
  lent: readonly string[] = [],
): string {
  const libraries = new Set([...Object.values(programs), ...lent].flatMap(neededBy));
  const copies = [
    [busyboxPath(), '/bin/sh'],
    [LDCONFIG, '/sbin/ldconfig'],
    ...Object.entries(programs).map(([name, path]) => [path, `/bin/${name}`]),
    ...[...libraries].map((path) => [realpathSync(path), path]),
  ].map(([from, to]) => `.addLocalFile(${JSON.stringify(from)}, ${JSON.stringify(to)}, { copy: true })`);
  // As NVIDIA's own images have it: what lies there ends up in the loader's cache.
  const conf = '/usr/local/nvidia/lib\\n/usr/local/nvidia/lib64\\n';
  return `Image.fromScratch()${copies.join('')}.env({ PATH: '/bin:/sbin', LD_LIBRARY_PATH: '/usr/local/nvidia/lib:/usr/local/nvidia/lib64' }).runCommands("mkdir -p /etc /var/cache /usr/lib && printf '${conf}' > /etc/ld.so.conf && ldconfig")`;
}

function neededBy(path: string): readonly string[] {
  const listed = execFileSync('ldd', [path], { encoding: 'utf8' });
  const libraries = [...listed.matchAll(/(?:=> )?(\/\S+) \(/g)].map(([, library = '']) => library);
  // A driver's own libraries need one another; those are to be lent.
  return libraries.filter((library) => !/\/lib(?:cuda|nvidia)[^/]*$/.test(library));
}
