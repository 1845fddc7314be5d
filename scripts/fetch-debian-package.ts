/**
 * Downloads one package of Debian's archive, checked through the signed index, without its dependencies.
 *
 *     node scripts/fetch-debian-package.ts SUITE PACKAGE DIRECTORY
 *
 * Prints the version, the SHA-256 and the path of the file.
 */
import { createArchiveFetch } from '../src/debian/fetch.ts';
import { resolveDebian } from '../src/debian/resolve.ts';

const [suite, name, directory] = process.argv.slice(2);
if (suite === undefined || name === undefined || directory === undefined) {
  throw new Error('usage: fetch-debian-package.ts SUITE PACKAGE DIRECTORY');
}
const fetch = createArchiveFetch();
try {
  const plan = await resolveDebian({ suite, packages: [name], architecture: 'amd64' }, { fetch, directory });
  const found = plan.packages.find((one) => one.name === name);
  if (found === undefined) {
    throw new Error(`no package '${name}'`);
  }
  console.log(found.version, found.sha256, await fetch.file(found, directory));
} finally {
  await fetch.close();
}
