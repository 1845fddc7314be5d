/**
 * Assembles a Debian base as root with plain chroot and times every part, to be compared with mmdebstrap:
 *
 *     node bench/build/debian-base.ts SUITE ROOT [--cache DIR] [--packages a,b] [--mirror URL] [--snapshot STAMP]
 *
 * ROOT must not exist. With a filled cache directory only the release file is fetched.
 */
import { parseArgs } from 'node:util';
import { createArchiveFetch } from '../../src/debian/fetch.ts';
import { downloadPackages, resolveDebian } from '../../src/debian/resolve.ts';
import { assembleDebian } from '../../test/support/assemble-debian.ts';

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    cache: { type: 'string', default: '/tmp/tsbuild-debian-cache' },
    packages: { type: 'string', default: '' },
    mirror: { type: 'string' },
    snapshot: { type: 'string' },
  },
});
const [suite, root] = positionals;
if (suite === undefined || root === undefined) {
  throw new Error('usage: debian-base.ts SUITE ROOT [--cache DIR] [--packages a,b]');
}
let last = performance.now();
const lap = (what: string) => {
  const now = performance.now();
  console.log(`${what.padEnd(28)} ${((now - last) / 1000).toFixed(2)} s`);
  last = now;
};

const begin = performance.now();
const fetch = createArchiveFetch();
const architecture = process.arch === 'arm64' ? 'arm64' : 'amd64';
const directory = values.cache;
const options = {
  suite,
  architecture,
  packages: values.packages.split(',').filter((name) => name !== ''),
  ...(values.mirror === undefined ? {} : { mirror: values.mirror }),
  ...(values.snapshot === undefined ? {} : { snapshot: values.snapshot }),
};
const plan = await resolveDebian(options, { fetch, directory });
lap('resolve');
await downloadPackages(plan, { fetch, directory });
await fetch.close();
lap(`download ${plan.packages.length} packages`);
await assembleDebian(plan, {
  root,
  directory,
  onStep(what, output) {
    if (process.env.VERBOSE === '1') {
      console.log(output);
    }
    lap(what);
  },
});
console.log(`total                        ${((performance.now() - begin) / 1000).toFixed(2)} s`, plan.digest);
