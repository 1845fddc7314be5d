/** What a builder version freezes (B5 of the Image API), so that a newer tsbuild does not rebuild the world. */
import type { Settings } from '../../settings.ts';
import { definitionError } from './arguments.ts';

export type BuilderVersion = '2025.06' | '2026.10' | 'PREVIEW';

export interface BuilderFacts {
  readonly pythonSeries: readonly string[];
  /** Codename of Debian. */
  readonly debian: string;
  /** Python of that Debian. */
  readonly debianPython: string;
  /** Tag of `mambaorg/micromamba`. */
  readonly micromamba: string;
  /** Release that `Image.ubuntu()` has. */
  readonly ubuntu: string;
}

const SERIES = ['3.10', '3.11', '3.12', '3.13', '3.14', '3.14t'];

const MICROMAMBA = '2.1.1-debian12-slim';
const NEWEST: BuilderFacts = {
  pythonSeries: SERIES,
  debian: 'trixie',
  debianPython: '3.13',
  micromamba: MICROMAMBA,
  ubuntu: '24.04',
};

export const BUILDER_VERSIONS: Readonly<Record<BuilderVersion, BuilderFacts>> = {
  '2025.06': {
    pythonSeries: SERIES,
    debian: 'bookworm',
    debianPython: '3.11',
    micromamba: MICROMAMBA,
    ubuntu: '22.04',
  },
  '2026.10': NEWEST,
  PREVIEW: NEWEST,
};

export const DEFAULT_BUILDER_VERSION: BuilderVersion = '2026.10';

/** @throws {DefinitionError} `E_BUILDER_VERSION` naming where it came from. */
export function parseBuilderVersion(value: unknown, from: string): BuilderVersion {
  if (typeof value === 'string' && Object.hasOwn(BUILDER_VERSIONS, value)) {
    return value as BuilderVersion;
  }
  const supported = Object.keys(BUILDER_VERSIONS).filter((each) => each !== 'PREVIEW');
  throw definitionError(
    'E_BUILDER_VERSION',
    `unknown builder version '${String(value).slice(0, 40)}' (${from}); there are ${supported.join(', ')}`,
  );
}

/** The chain's factory, then the caller of this operation, then the settings, then the default. */
export function resolveBuilderVersion(
  ofChain: BuilderVersion | undefined,
  ofCall: BuilderVersion | undefined,
  settings: Settings,
): BuilderVersion {
  const { imageBuilderVersion } = settings;
  if (ofChain !== undefined || ofCall !== undefined || imageBuilderVersion === undefined) {
    return ofChain ?? ofCall ?? DEFAULT_BUILDER_VERSION;
  }
  return parseBuilderVersion(imageBuilderVersion.value, imageBuilderVersion.from);
}
