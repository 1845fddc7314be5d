/** Definitions of the first layer, for the factories that need no registry, and what all of them share (A1 of the Image API). */

import { absoluteLocalPath, type LocalPath, pathText } from '../../base/local-path.ts';
import {
  booleanOption,
  choiceOption,
  definitionError,
  knownOptions,
  type Options,
  stringArray,
  stringOption,
} from './arguments.ts';
import { type BuilderVersion, parseBuilderVersion } from './builder-version.ts';
import { type Base, type LayerDefinition, label, type PlatformName } from './layer-definition.ts';
import { parsePythonVersion } from './python-version.ts';
import { byCodePoint } from './requirement-tokens.ts';
import { NO_STEP_OPTIONS, recipeOf } from './step-options.ts';

export interface FactoryOptions {
  /** Runs the whole chain, whatever the cache knows (B3). Not part of the cache key. @defaultValue false */
  readonly forceBuild?: boolean;
  /** For the whole chain. Part of the cache key of the first layer. @defaultValue the settings' (B5) */
  readonly builderVersion?: BuilderVersion;
  /** @defaultValue this machine's */
  readonly platform?: PlatformName;
}

export interface DebianSlimOptions extends FactoryOptions {
  /** A series or an exact version. @defaultValue B6; from the archive, the suite's own */
  readonly pythonVersion?: string;
  /** @defaultValue `registry`, or TSBUILD_DEBIAN_SOURCE */
  readonly source?: 'registry' | 'archive';
  /** Install build-essential and gfortran too. @defaultValue false */
  readonly toolchain?: boolean;
}

export interface FromDebianOptions extends FactoryOptions {
  /** Codename. @defaultValue the builder version's */
  readonly suite?: string;
  /** Beyond the essential set and apt. */
  readonly packages?: readonly string[];
  /** @defaultValue `['main']` */
  readonly components?: readonly string[];
  /** Not part of the cache key. @defaultValue TSBUILD_APT_MIRROR, or Debian's */
  readonly mirror?: string;
  /** The archive as it was at this time, `20261015T000000Z`. @defaultValue as it is now */
  readonly snapshot?: string;
}

export interface FromOciOptions extends FactoryOptions {
  /** @defaultValue the only image of the layout */
  readonly tag?: string;
}

export const FACTORY_OPTIONS = ['forceBuild', 'builderVersion', 'platform'];

export function debianSlim(given: unknown): LayerDefinition {
  const method = 'debianSlim';
  const options = knownOptions(method, given, [...FACTORY_OPTIONS, 'pythonVersion', 'source', 'toolchain']);
  const pythonVersion = parsePythonVersion(`${method}()`, options.pythonVersion);
  const source = choiceOption(method, options, 'source', ['registry', 'archive']);
  return baseLayer(method, options, [], {
    kind: 'debian-slim',
    toolchain: booleanOption(method, options, 'toolchain'),
    ...(pythonVersion === undefined ? {} : { pythonVersion }),
    ...(source === undefined ? {} : { source }),
  });
}

export function fromDebian(given: unknown): LayerDefinition {
  const method = 'fromDebian';
  const known = [...FACTORY_OPTIONS, 'suite', 'packages', 'components', 'mirror', 'snapshot'];
  const options = knownOptions(method, given, known);
  const suite = shaped(method, options, 'suite', /^[a-z][a-z0-9.-]*$/);
  const snapshot = shaped(method, options, 'snapshot', /^\d{8}T\d{6}Z$/);
  const mirror = stringOption(method, options, 'mirror');
  if (mirror !== undefined && !/^https?:$/.test(URL.canParse(mirror) ? new URL(mirror).protocol : '')) {
    throw definitionError('E_ARG_TYPE', `${method}(): 'mirror' must be an http or https URL`);
  }
  return baseLayer(method, options, [suite ?? ''], {
    kind: 'debian',
    packages: names(method, options, 'packages', /^[a-z0-9][a-z0-9+.-]+(:[a-z0-9-]+)?$/, []),
    components: names(method, options, 'components', /^[a-z][a-z0-9-]*$/, ['main']),
    ...(suite === undefined ? {} : { suite }),
    ...(mirror === undefined ? {} : { mirror }),
    ...(snapshot === undefined ? {} : { snapshot }),
  });
}

export function fromOci(
  method: 'fromOciLayout' | 'fromOciArchive',
  path: unknown,
  given: unknown,
): LayerDefinition {
  const options = knownOptions(method, given, [...FACTORY_OPTIONS, 'tag']);
  const hostPath = absoluteLocalPath(method, 'path', path);
  const tag = stringOption(method, options, 'tag');
  const layer = baseLayer(method, options, [tag ?? ''], {
    kind: 'oci-layout',
    layout: {
      form: method === 'fromOciLayout' ? 'directory' : 'archive',
      hostPath,
      ...(tag === undefined ? {} : { tag }),
    },
  });
  return { ...layer, recipe: [pathText(path as LocalPath), layer.recipe] };
}

export function fromScratch(given: unknown): LayerDefinition {
  return baseLayer('fromScratch', knownOptions('fromScratch', given, FACTORY_OPTIONS), [], {
    kind: 'scratch',
  });
}

/** @throws {DefinitionError} `E_ARG_TYPE` */
export function platformName(method: string, value: unknown): PlatformName | undefined {
  if (value === undefined || value === 'linux/amd64' || value === 'linux/arm64') {
    return value;
  }
  throw definitionError('E_ARG_TYPE', `${method}(): 'platform' is 'linux/amd64' or 'linux/arm64'`);
}

type WithoutCommon<T> = T extends unknown ? Omit<T, 'builderVersion' | 'platform'> : never;

export function baseLayer(
  method: string,
  options: Options,
  words: readonly string[],
  base: WithoutCommon<Base>,
): LayerDefinition {
  const builderVersion =
    options.builderVersion === undefined
      ? undefined
      : parseBuilderVersion(options.builderVersion, `option of ${method}()`);
  const platform = platformName(method, options.platform);
  const whole = {
    ...base,
    ...(builderVersion === undefined ? {} : { builderVersion }),
    ...(platform === undefined ? {} : { platform }),
  } as Base;
  return {
    method,
    label: label(method, words),
    base: Object.freeze(whole),
    steps: [],
    ...NO_STEP_OPTIONS,
    forceBuild: booleanOption(method, options, 'forceBuild'),
    keyExtras: {},
    recipe: [words, recipeOf(options)],
    diagnostics: [],
    requirements: [],
  };
}

function shaped(method: string, options: Options, name: string, shape: RegExp): string | undefined {
  const value = stringOption(method, options, name);
  if (value !== undefined && !shape.test(value)) {
    throw definitionError('E_ARG_TYPE', `${method}(): '${name}' cannot be '${value.slice(0, 80)}'`);
  }
  return value;
}

/** Sorted and each once: the order means nothing, so it is not in the key. */
function names(
  method: string,
  options: Options,
  name: string,
  shape: RegExp,
  otherwise: readonly string[],
): readonly string[] {
  const value = options[name] === undefined ? otherwise : stringArray(method, name, options[name]);
  const bad = value.find((each) => !shape.test(each));
  if (bad !== undefined) {
    throw definitionError('E_ARG_TYPE', `${method}(): '${name}' cannot hold '${bad.slice(0, 80)}'`);
  }
  return Object.freeze([...new Set(value)].sort(byCodePoint));
}
