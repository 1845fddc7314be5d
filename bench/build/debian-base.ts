/**
 * Assembles a Debian base as root with plain chroot and times every part, to be compared with mmdebstrap:
 *
 *     node bench/build/debian-base.ts SUITE ROOT [--cache DIR] [--packages a,b] [--mirror URL] [--snapshot STAMP]
 *
 * ROOT must not exist. With a filled cache directory only the release file is fetched.
 */
import { spawnSync } from 'node:child_process';
import { mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { type AssemblyStep, assemblySteps } from '../../src/debian/assembly.ts';
import { createArchiveFetch } from '../../src/debian/fetch.ts';
import { downloadPackages, resolveDebian } from '../../src/debian/resolve.ts';
import { native } from '../../src/native/addon.ts';

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
mkdirSync(root, { mode: 0o755 });
for (const step of assemblySteps(plan)) {
  await perform(step, root);
}
console.log(`total                        ${((performance.now() - begin) / 1000).toFixed(2)} s`, plan.digest);

async function perform(step: AssemblyStep, root: string): Promise<void> {
  switch (step.kind) {
    case 'skeleton':
      for (const { kind, path, mode, content } of step.entries) {
        const target = `${root}/${path}`;
        if (kind === 'directory') {
          mkdirSync(target, { mode });
        } else if (kind === 'symlink') {
          symlinkSync(content, target);
        } else {
          writeFileSync(target, content, { mode });
        }
      }
      return;
    case 'unpack': {
      const packages = step.packages.map(({ sha256, mayDefer }) => ({
        path: `${directory}/${sha256}`,
        sha256,
        mayDefer,
      }));
      const { entryCount, deferred } = await native().unpackDebs({ root, packages });
      return lap(`unpack ${entryCount} entries ${deferred.join(' ')}`);
    }
    case 'exec': {
      const mounts = 'mount -t proc proc "$0/proc"; mount --rbind /dev "$0/dev"; exec chroot "$0" "$@"';
      const argv = ['--mount', '--pid', '--fork', '--uts', '--ipc', '--net', 'sh', '-euc', mounts];
      const run = spawnSync('unshare', [...argv, root, ...step.argv], {
        env: step.env,
        stdio: ['ignore', 'pipe', 'pipe'],
        maxBuffer: 1 << 28,
      });
      if (run.status !== 0 || process.env.VERBOSE === '1') {
        console.log(`${run.stdout}${run.stderr}`);
      }
      if (run.status !== 0) {
        throw new Error(`'${step.description}' ended with ${run.status ?? run.signal}`);
      }
      return lap(step.description);
    }
    case 'clamp':
      // `native.clampTimes` is the engine's; find and touch do the same.
      spawnSync('find', [
        root,
        '-newermt',
        `@${step.epochSeconds}`,
        '-exec',
        'touch',
        '--no-dereference',
        `--date=@${step.epochSeconds}`,
        '{}',
        '+',
      ]);
      return lap('clamp times');
  }
}
