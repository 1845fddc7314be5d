/** From a suite and a list of packages to the exact files of the archive that make a system. */
import { open } from 'node:fs/promises';
import type { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { createGunzip } from 'node:zlib';
import { canonicalJson } from '../base/canonical-json.ts';
import { sha256Hex } from '../base/sha256.ts';
import { DefinitionError, IntegrityError } from '../errors.ts';
import type { DependencyGroup } from './dependency.ts';
import type { ArchiveFetch } from './fetch.ts';
import { type IndexedPackage, parsePackages } from './packages-index.ts';
import { checkRelease, parseRelease, type Release, type ReleaseFile } from './release.ts';
import { selectPackages } from './select.ts';
import { archiveKeyring, type Keyring, verifyClearSigned } from './signature.ts';

export const DEFAULT_MIRROR = 'http://deb.debian.org/debian';
export const DEFAULT_SNAPSHOT_MIRROR = 'http://snapshot.debian.org/archive/debian';

export interface DebianOptions {
  /** Codename or name of the suite: `trixie`, `sid`, `stable`. */
  readonly suite: string;
  /** @defaultValue `['main']` */
  readonly components?: readonly string[];
  /** Beyond the essential and required packages and apt: `name` or `name=version`. */
  readonly packages?: readonly string[];
  /**
   * Where the files are fetched; not part of the plan's digest.
   * @defaultValue {@link DEFAULT_MIRROR}, with a snapshot {@link DEFAULT_SNAPSHOT_MIRROR}
   */
  readonly mirror?: string;
  /** `20261015T000000Z`: the archive as it was; appended to the mirror's address. */
  readonly snapshot?: string;
  /** Debian's name: `amd64`, `arm64`. */
  readonly architecture: string;
}

export interface PlannedPackage {
  readonly name: string;
  readonly version: string;
  /** The plan's, or `all`. */
  readonly architecture: string;
  readonly url: string;
  readonly sha256: string;
  readonly sizeBytes: number;
  readonly essential: boolean;
  /** Essential, required, apt or needed by one of them; the rest is what was asked for. */
  readonly minbase: boolean;
  /**
   * Names of the planned packages that must be configured before the preinst of this one runs: its Pre-Depends with
   * everything that they need in turn.
   */
  readonly preDepends: readonly string[];
}

export interface DebianPlan {
  readonly suite: string;
  readonly codename: string;
  readonly components: readonly string[];
  readonly architecture: string;
  readonly snapshot?: string;
  /** `Date` of the release file, in seconds since the epoch. */
  readonly releaseDate: number;
  /** Whether the suite has `-updates` and `-security` beside it: unstable and experimental have not. */
  readonly hasUpdates: boolean;
  /** Sorted by name. */
  readonly packages: readonly PlannedPackage[];
  /** `sha256:…` over everything that decides what the system will be; the mirror is not in it. */
  readonly digest: string;
}

export interface DebianDependencies {
  readonly fetch: ArchiveFetch;
  /** Where the index is kept, under the name of its SHA-256. */
  readonly directory: string;
  /** @defaultValue the archive keys that come with tsbuild */
  readonly keyring?: Keyring;
  /** @defaultValue the clock */
  readonly nowSeconds?: number;
  readonly signal?: AbortSignal;
  readonly onProgress?: (progress: DebianProgress) => void;
}

export type DebianProgress =
  | { readonly kind: 'release'; readonly url: string }
  | { readonly kind: 'index' | 'packages'; readonly doneBytes: number; readonly totalBytes: number };

/** Trixie's is 0.2 MB. */
const MAX_RELEASE_BYTES = 16 << 20;
/** Sid's main, decompressed, is about 65 MB. */
const MAX_INDEX_BYTES = 400 << 20;

/**
 * Version of {@link DebianPlan.digest}: raised when tsbuild makes another system of the same packages.
 */
const PLAN_VERSION = 1;

/**
 * Asks the archive which packages it takes; downloads the signed release file and the package indices, no packages.
 *
 * @throws {DefinitionError} `E_PACKAGE_NOT_FOUND`, `E_PACKAGE_CONFLICT`, `E_ARG_TYPE`.
 * @throws {IntegrityError} `E_SIGNATURE`, `E_BAD_ARCHIVE`, `E_DIGEST_MISMATCH`, `E_SIZE_MISMATCH`.
 * @throws {RemoteError} `E_ARCHIVE_FETCH`.
 */
export async function resolveDebian(options: DebianOptions, deps: DebianDependencies): Promise<DebianPlan> {
  const { suite, architecture, snapshot, components = ['main'], packages = [] } = options;
  checkWord('suite', suite, /^[a-z][a-z0-9.-]*$/);
  checkWord('architecture', architecture, /^[a-z][a-z0-9-]*$/);
  if (snapshot !== undefined) {
    checkWord('snapshot', snapshot, /^\d{8}T\d{6}Z$/);
  }
  for (const component of components) {
    checkWord('component', component, /^[a-z][a-z0-9-]*$/);
  }
  const mirror = archiveUrl(options);
  const { release } = await fetchRelease(mirror, suite, snapshot !== undefined, deps);
  const texts = await fetchIndices(mirror, suite, release, components, architecture, deps);
  const { packages: selected, minbase } = selectPackages(parsePackages(texts), packages);
  const needs = needsBefore(selected);
  const planned = selected.map((one): PlannedPackage => {
    if (one.architecture !== architecture && one.architecture !== 'all') {
      throw new IntegrityError(
        `the package index of '${architecture}' has '${one.name}' for '${one.architecture}'`,
        { code: 'E_BAD_ARCHIVE' },
      );
    }
    return {
      name: one.name,
      version: one.version,
      architecture: one.architecture,
      url: `${mirror}/${one.filename.replaceAll('+', '%2B')}`,
      sha256: one.sha256,
      sizeBytes: one.sizeBytes,
      essential: one.essential,
      minbase: minbase.has(one.name),
      preDepends: needs(one),
    };
  });
  const plan = {
    suite,
    codename: release.codename,
    components,
    architecture,
    ...(snapshot === undefined ? {} : { snapshot }),
    releaseDate: release.dateSeconds,
    hasUpdates: !['unstable', 'experimental'].includes(release.suite),
    packages: planned,
  };
  return { ...plan, digest: planDigest(plan) };
}

/** The address below which `dists/` and `pool/` are. */
export function archiveUrl(options: Pick<DebianOptions, 'mirror' | 'snapshot'>): string {
  const { snapshot } = options;
  const base = options.mirror ?? (snapshot === undefined ? DEFAULT_MIRROR : DEFAULT_SNAPSHOT_MIRROR);
  const trimmed = base.replace(/\/+$/, '');
  return snapshot === undefined ? trimmed : `${trimmed}/${snapshot}`;
}

/**
 * Fetches the packages of a plan, several at a time, into `directory`, each under the name of its SHA-256.
 *
 * @returns Paths in the order of `plan.packages`.
 */
export async function downloadPackages(
  plan: Pick<DebianPlan, 'packages'>,
  deps: Pick<DebianDependencies, 'fetch' | 'directory' | 'signal' | 'onProgress'>,
): Promise<readonly string[]> {
  const { fetch, directory, onProgress } = deps;
  const totalBytes = plan.packages.reduce((sum, one) => sum + one.sizeBytes, 0);
  let doneBytes = 0;
  // The first failure ends the others.
  const abort = new AbortController();
  const signal = deps.signal === undefined ? abort.signal : AbortSignal.any([deps.signal, abort.signal]);
  const onBytes = (count: number) => {
    doneBytes += count;
    onProgress?.({ kind: 'packages', doneBytes, totalBytes });
  };
  const paths = new Map<string, string>();
  // Large ones first, so that the last connection to finish does not carry the largest file.
  const queue = [...plan.packages].sort((a, b) => b.sizeBytes - a.sizeBytes);
  const lane = async () => {
    for (let one = queue.shift(); one !== undefined; one = queue.shift()) {
      paths.set(one.name, await fetch.file(one, directory, { signal, onBytes }));
    }
  };
  const lanes = Array.from({ length: DOWNLOAD_LANES }, async () => {
    try {
      await lane();
    } catch (error) {
      queue.length = 0;
      abort.abort(error);
      throw error;
    }
  });
  // All have to end before anybody removes the directory.
  const settled = await Promise.allSettled(lanes);
  deps.signal?.throwIfAborted();
  abort.signal.throwIfAborted();
  for (const lane of settled) {
    if (lane.status === 'rejected') {
      throw lane.reason;
    }
  }
  return plan.packages.map((one) => paths.get(one.name) ?? '');
}

const DOWNLOAD_LANES = 12;

async function fetchRelease(
  mirror: string,
  suite: string,
  snapshot: boolean,
  deps: DebianDependencies,
): Promise<{ release: Release }> {
  const url = `${mirror}/dists/${suite}/InRelease`;
  deps.onProgress?.({ kind: 'release', url });
  const keyring = deps.keyring ?? (await archiveKeyring());
  const signal = deps.signal === undefined ? {} : { signal: deps.signal };
  const file = await deps.fetch.text(url, { maxBytes: MAX_RELEASE_BYTES, ...signal });
  const nowSeconds = deps.nowSeconds ?? Math.floor(Date.now() / 1000);
  const release = parseRelease(await verifyClearSigned(file, keyring, { nowSeconds, source: url }));
  checkRelease(release, { suite, nowSeconds, snapshot, source: url });
  return { release };
}

/** The decompressed index of each component. */
async function fetchIndices(
  mirror: string,
  suite: string,
  release: Release,
  components: readonly string[],
  architecture: string,
  deps: DebianDependencies,
): Promise<string[]> {
  if (!release.architectures.includes(architecture)) {
    throw new DefinitionError(`the suite '${suite}' has no packages for '${architecture}'`, {
      code: 'E_NO_PLATFORM',
      hint: `it has ${release.architectures.join(', ')}`,
    });
  }
  const files = components.map((component): ReleaseFile => {
    // gzip rather than the smaller xz: it decompresses three times faster, and Node can do it by itself.
    const file = release.files.get(`${component}/binary-${architecture}/Packages.gz`);
    if (file === undefined) {
      throw new DefinitionError(`the suite '${suite}' has no component '${component}'`, {
        code: 'E_PACKAGE_NOT_FOUND',
        hint: `it has ${release.components.join(', ')}`,
      });
    }
    return file;
  });
  const totalBytes = files.reduce((sum, file) => sum + file.sizeBytes, 0);
  let doneBytes = 0;
  const onBytes = (count: number) => {
    doneBytes += count;
    deps.onProgress?.({ kind: 'index', doneBytes, totalBytes });
  };
  const signal = deps.signal === undefined ? {} : { signal: deps.signal };
  return Promise.all(
    files.map(async (file) => {
      // By its digest, so that an update of the mirror between the two requests does no harm.
      const path = release.acquireByHash
        ? `${file.path.slice(0, file.path.lastIndexOf('/'))}/by-hash/SHA256/${file.sha256}`
        : file.path;
      const remote = {
        url: `${mirror}/dists/${suite}/${path}`,
        sha256: file.sha256,
        sizeBytes: file.sizeBytes,
      };
      const unpackedSize = release.files.get(file.path.replace(/\.gz$/, ''))?.sizeBytes;
      return gunzip(await deps.fetch.file(remote, deps.directory, { ...signal, onBytes }), unpackedSize);
    }),
  );
}

/** As Latin-1: every field that is read is ASCII, and one-byte strings take half the memory. */
async function gunzip(path: string, expectedBytes: number | undefined): Promise<string> {
  const limit = Math.min(expectedBytes ?? MAX_INDEX_BYTES, MAX_INDEX_BYTES);
  const unpacked = Buffer.allocUnsafe(limit);
  let size = 0;
  const handle = await open(path);
  try {
    const source: Readable = handle.createReadStream({ autoClose: false, highWaterMark: 1 << 20 });
    await pipeline(source, createGunzip({ chunkSize: 1 << 20 }), async (chunks: AsyncIterable<Buffer>) => {
      for await (const chunk of chunks) {
        if (size + chunk.length > limit) {
          throw new IntegrityError(`the package index '${path}' unpacks to more than ${limit} bytes`, {
            code: 'E_ARCHIVE_LIMIT',
            source: path,
          });
        }
        chunk.copy(unpacked, size);
        size += chunk.length;
      }
    });
  } finally {
    await handle.close();
  }
  return unpacked.toString('latin1', 0, size);
}

/** The names that a package's Pre-Depends stand for, and all that these depend on, among the packages of the plan. */
function needsBefore(planned: readonly IndexedPackage[]): (one: IndexedPackage) => string[] {
  const byName = new Map<string, IndexedPackage[]>();
  for (const one of planned) {
    for (const name of new Set([one.name, ...one.provides.flat().map((provided) => provided.name)])) {
      byName.set(name, [...(byName.get(name) ?? []), one]);
    }
  }
  const answers = (groups: readonly DependencyGroup[]) =>
    groups.flat().flatMap(({ name }) => byName.get(name) ?? []);
  return (one) => {
    const needed = new Set(answers(one.preDepends));
    // A set is walked to the elements that are added on the way.
    for (const other of needed) {
      for (const further of answers([...other.preDepends, ...other.depends])) {
        needed.add(further);
      }
    }
    needed.delete(one);
    return [...needed].map(({ name }) => name).sort();
  };
}

function planDigest(plan: Omit<DebianPlan, 'digest'>): string {
  return `sha256:${sha256Hex(
    canonicalJson({
      version: PLAN_VERSION,
      suite: plan.suite,
      codename: plan.codename,
      components: plan.components,
      architecture: plan.architecture,
      snapshot: plan.snapshot,
      releaseDate: plan.releaseDate,
      hasUpdates: plan.hasUpdates,
      packages: plan.packages.map(({ name, version, sha256, minbase }) => [name, version, sha256, minbase]),
    }),
  )}`;
}

function checkWord(what: string, value: string, pattern: RegExp): void {
  if (!pattern.test(value)) {
    throw new DefinitionError(`'${value.slice(0, 100)}' is not a Debian ${what}`, { code: 'E_ARG_TYPE' });
  }
}
