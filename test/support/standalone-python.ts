/**
 * Archives as python-build-standalone publishes them, made of the CPython of this machine, which finds its library beside
 * itself wherever it lies; and a base that has what it is linked against.
 */
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  realpathSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { Image } from '../../src/frontend/fluent/image.ts';
import type { StandaloneRelease } from '../../src/frontend/fluent/standalone-python-releases.ts';
import { busyboxPath } from './busybox.ts';

interface HostPython {
  readonly executable: string;
  /** `3.11` */
  readonly series: string;
  readonly stdlib: string;
  /** Shared objects, the loader too, by their absolute paths. */
  readonly libraries: readonly string[];
}

let found: HostPython | undefined;

export function hostPython(): HostPython {
  if (found === undefined) {
    const asked =
      'import sys, os; print(sys.executable, "%d.%d" % sys.version_info[:2], os.path.dirname(os.__file__))';
    const text = execFileSync('python3', ['-c', asked], { encoding: 'utf8' });
    const [executable = '', series = '', stdlib = ''] = text.trim().split(' ');
    const linked = execFileSync('ldd', [realpathSync(executable)], { encoding: 'utf8' });
    const libraries = [...linked.matchAll(/(\/\S+) \(0x/g)].map((match) => match[1] as string);
    found = { executable: realpathSync(executable), series, stdlib, libraries };
  }
  return found;
}

/** Enough of the standard library to start, and a little more; some are modules in other versions. */
const PACKAGES = ['encodings', 'collections', 'importlib', 're', 'json', 'sysconfig', 'lib-dynload'];
const SOURCE_DATE = '2023-08-26 00:00:00 UTC';

export interface PythonArchiveOptions {
  readonly flavour: StandaloneRelease['flavour'];
  /** What `import flavour` says in it. */
  readonly mark: string;
}

/** Holds `python/`, or for a full archive `python/install/` and the objects that it was built from. */
export function pythonArchive({ flavour, mark }: PythonArchiveOptions): Buffer {
  const { executable, series, stdlib } = hostPython();
  const full = flavour.endsWith('.zst');
  const directory = mkdtempSync(join(tmpdir(), 'tsbuild-python-'));
  try {
    const root = join(directory, full ? 'python/install' : 'python');
    const library = join(root, 'lib', `python${series}`);
    mkdirSync(join(root, 'bin'), { recursive: true });
    mkdirSync(library, { recursive: true });
    cpSync(executable, join(root, 'bin', `python${series}`));
    symlinkSync(`python${series}`, join(root, 'bin/python3'));
    execFileSync('sh', ['-c', `cp -L ${stdlib}/*.py ${library}/`]);
    for (const name of PACKAGES.filter((each) => existsSync(join(stdlib, each)))) {
      cpSync(join(stdlib, name), join(library, name), {
        recursive: true,
        dereference: true,
        force: true,
        filter: (path) => basename(path) !== '__pycache__',
        errorOnExist: false,
      });
    }
    writeFileSync(join(library, 'flavour.py'), `NAME = ${JSON.stringify(mark)}\n`);
    if (full) {
      mkdirSync(join(directory, 'python/build'), { recursive: true });
      writeFileSync(join(directory, 'python/build/main.o'), 'object');
    }
    const tar = join(directory, 'python.tar');
    execFileSync('tar', [
      '-cf',
      tar,
      '--sort=name',
      `--mtime=${SOURCE_DATE}`,
      '--owner=1000',
      '--group=1000',
      '-C',
      directory,
      'python',
    ]);
    const compress = full ? ['zstd', '-q', '-1', '-c', tar] : ['gzip', '-1', '-n', '-c', tar];
    return execFileSync(compress[0] as string, compress.slice(1), { maxBuffer: 1 << 30 });
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

/** The entry of a table that has this archive for both architectures. */
export function releaseOf(
  archive: Buffer,
  release: string,
  version: string,
  flavour: StandaloneRelease['flavour'],
) {
  const hex = createHash('sha256').update(archive).digest('hex');
  return { release, version, flavour, sha256: { amd64: hex, arm64: hex } } satisfies StandaloneRelease;
}

/** busybox, with the shared objects that this machine's CPython needs. */
export function glibcImage(): Image {
  const applets = 'ls cat ln mkdir rm test stat find env echo printf chmod'.split(' ');
  let image = Image.fromScratch()
    .addLocalFile(busyboxPath(), '/bin/sh', { copy: true })
    .env({ PATH: '/usr/local/bin:/bin' });
  for (const path of hostPython().libraries) {
    image = image.addLocalFile(realpathSync(path), path, { copy: true });
  }
  return image.runCommands(
    `mkdir -p /tmp /usr/local/bin; for each in ${applets.join(' ')}; do ln -s sh /bin/$each; done`,
    { env: { PATH: '/bin' } },
  );
}
