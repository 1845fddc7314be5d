/** A relocatable CPython that is put into a base which has none (`addPython`; A1.4 and B6 of the Image API). */
import type { SourcePython } from '../../graph/vertex.ts';
import { sha256Digest } from '../../oci/digest.ts';
import type { Platform } from '../../oci/platform.ts';
import { definitionError, describe } from './arguments.ts';
import { BUILDER_VERSIONS, type BuilderVersion } from './builder-version.ts';
import { run } from './install-layers.ts';
import type { CopyPythonStep, Step } from './layer-definition.ts';
import { STANDALONE_RELEASES, type StandaloneRelease } from './standalone-python-releases.ts';

/** What a plan says of it. */
export interface StandalonePython {
  /** `3.12`, `3.14t`. */
  readonly series: string;
  /** Of python-build-standalone. */
  readonly release: string;
  /** Of CPython. */
  readonly version: string;
  readonly libc: 'gnu';
}

const SERIES = /^3\.\d{1,2}t?$/;
const EXACT = /^3\.\d{1,2}\.\d{1,2}(rc\d*)?t?$/;
/** From this minor version on the archive has `bin/python`. */
const HAS_PYTHON_LINK = 13;
/** The archives' readline was compiled with paths of the machine that built it. */
const TERMINFO_DIRS = '/etc/terminfo:/lib/terminfo:/usr/share/terminfo:/usr/lib/terminfo';
const TRIPLES: Readonly<Record<string, string>> = {
  amd64: 'x86_64-unknown-linux-gnu',
  arm64: 'aarch64-unknown-linux-gnu',
};

/**
 * Checks the shape at once; whether the series exists depends on the builder version and is checked later.
 *
 * @throws {DefinitionError} `E_PYTHON_VERSION_TYPE`, `E_PYTHON_MICRO`, `E_PYTHON_VERSION_FORMAT`
 */
export function parseAddPython(method: string, value: unknown): string | undefined {
  if (value === undefined) {
    return undefined;
  }
  if (typeof value !== 'string') {
    throw definitionError(
      'E_PYTHON_VERSION_TYPE',
      `${method}(): 'addPython' must be a string, not ${describe(value)}`,
      'as a number, 3.10 is 3.1',
    );
  }
  if (EXACT.test(value)) {
    throw definitionError(
      'E_PYTHON_MICRO',
      `${method}(): 'addPython' takes a series, not the exact version '${value}'`,
      `write '${value.replace(/^(3\.\d+)\.\d+(rc\d*)?/, '$1')}'; which release it is, the builder version decides`,
    );
  }
  if (!SERIES.test(value)) {
    throw definitionError(
      'E_PYTHON_VERSION_FORMAT',
      `${method}(): '${value.slice(0, 40)}' is not a Python series; it looks like 3.12 or 3.14t`,
    );
  }
  return value;
}

/** The lines of A1.4. */
export function addPythonSteps(series: string): readonly Step[] {
  const minor = Number(/^3\.(\d+)/.exec(series)?.[1]);
  return [
    { kind: 'copy-python', text: 'COPY /python/. /usr/local', series, destination: '/usr/local' },
    ...(minor < HAS_PYTHON_LINK
      ? [run(['ln -s /usr/local/bin/python3 /usr/local/bin/python'], { lend: [] })]
      : []),
    {
      kind: 'config',
      text: `ENV TERMINFO_DIRS=${TERMINFO_DIRS}`,
      change: { kind: 'env', name: 'TERMINFO_DIRS', value: TERMINFO_DIRS },
    },
  ];
}

/** @throws {DefinitionError} `E_PYTHON_VERSION_UNSUPPORTED` */
export function standalonePython(
  { series }: Pick<CopyPythonStep, 'series'>,
  builderVersion: BuilderVersion,
): StandalonePython {
  const { release, version } = releaseOf(series, builderVersion);
  return { series, release, version, libc: 'gnu' };
}

/** The archive for a platform. */
export function sourcePython(
  { series }: Pick<CopyPythonStep, 'series'>,
  builderVersion: BuilderVersion,
  { os, architecture }: Platform,
): SourcePython {
  const { release, version, flavour, sha256 } = releaseOf(series, builderVersion);
  const triple = os === 'linux' ? TRIPLES[architecture] : undefined;
  if (triple === undefined) {
    throw definitionError(
      'E_PYTHON_VERSION_UNSUPPORTED',
      `there is no Python ${series} to add to an image for ${os}/${architecture}`,
    );
  }
  return {
    kind: 'source-python',
    release,
    file: `cpython-${version}+${release}-${triple}-${flavour}`,
    digest: sha256Digest(sha256[architecture as 'amd64' | 'arm64']),
  };
}

/** Where the tree is in the archive: full ones hold what it was built from beside it. */
export function treeInArchive(file: string): string {
  return file.endsWith('-full.tar.zst') ? '/python/install' : '/python';
}

function releaseOf(series: string, builderVersion: BuilderVersion): StandaloneRelease {
  const supported = BUILDER_VERSIONS[builderVersion].pythonSeries;
  const found = Object.hasOwn(STANDALONE_RELEASES, series) ? STANDALONE_RELEASES[series] : undefined;
  if (found === undefined || !supported.includes(series)) {
    const there = supported.filter((each) => Object.hasOwn(STANDALONE_RELEASES, each));
    throw definitionError(
      'E_PYTHON_VERSION_UNSUPPORTED',
      `there is no Python ${series} to add; there are ${there.join(', ')}`,
    );
  }
  return found;
}
