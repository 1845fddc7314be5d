/** Definitions of local files: layers and pending mounts (A2.14, A2.15 of the Image API). */
import { basename, isAbsolute, posix } from 'node:path';
import type { Json } from '../../base/canonical-json.ts';
import { absoluteLocalPath, type LocalPath, pathText } from '../../base/local-path.ts';
import { normalPath } from '../../base/normal-path.ts';
import type { IgnoreSyntax } from '../../patterns/file-pattern-matcher.ts';
import {
  conditionFilter,
  describeFilter,
  type IgnoreSpec,
  type InputFilter,
  ignoreSyntax,
  inputFilter,
} from '../../patterns/ignore-spec.ts';
import { booleanOption, definitionError, type Options, placedOrNamed, requiredString } from './arguments.ts';
import { copyWords } from './copy-file-step.ts';
import { type LayerDefinition, label, type PendingMount } from './layer-definition.ts';
import type { LocalInput } from './local-input.ts';
import { NO_STEP_OPTIONS, recipeOf } from './step-options.ts';

export interface AddLocalFileOptions {
  /** Instead of the second argument. */
  readonly remotePath?: string;
  /** Put the file into a layer instead of mounting it when a container starts. @defaultValue false */
  readonly copy?: boolean;
  /** Not part of the cache key; without effect on a mount. @defaultValue false */
  readonly forceBuild?: boolean;
}

export interface AddLocalDirOptions extends AddLocalFileOptions {
  /** What is left out. What is selected is part of the key, the patterns are not. @defaultValue nothing */
  readonly ignore?: IgnoreSpec;
  /** @defaultValue `dockerignore` */
  readonly ignoreSyntax?: IgnoreSyntax;
}

export interface CopyLocalFileOptions {
  /** Instead of the second argument. */
  readonly remotePath?: string;
  /** Not part of the cache key. @defaultValue false */
  readonly forceBuild?: boolean;
}

export interface CopyLocalDirOptions extends CopyLocalFileOptions {
  /** What is left out. What is selected is part of the key, the patterns are not. @defaultValue nothing */
  readonly ignore?: IgnoreSpec;
  /** @defaultValue `gitignore` */
  readonly ignoreSyntax?: IgnoreSyntax;
  /** Which files are taken, by their path relative to the directory. Instead of `ignore`. */
  readonly condition?: (relativePath: string) => boolean;
}

export type Added =
  | { readonly kind: 'mount'; readonly mount: PendingMount }
  | { readonly kind: 'layer'; readonly layer: LayerDefinition };

export function addLocalFile(localPath: unknown, remote: unknown, given: unknown): Added {
  const method = 'addLocalFile';
  const { remotePath, options } = readRemotePath(method, remote, given, ['copy', 'forceBuild']);
  const hostPath = absoluteLocalPath(method, 'localPath', localPath);
  const absolute = absoluteRemotePath(method, remotePath);
  const at = remotePath?.endsWith('/') ? posix.join(absolute, basename(hostPath)) : absolute;
  if (at === '/') {
    throw definitionError('E_ARG_TYPE', `${method}(): '/' is not the path of a file`);
  }
  const input: LocalInput = {
    expects: 'file',
    hostPath,
    fileAt: at,
    directoryAt: at,
    filter: { kind: 'none' },
  };
  return added(method, 'file', input, options, [pathText(localPath as LocalPath), at]);
}

export function addLocalDir(localPath: unknown, remote: unknown, given: unknown): Added {
  const method = 'addLocalDir';
  const known = ['copy', 'forceBuild', 'ignore', 'ignoreSyntax'];
  const { remotePath, options } = readRemotePath(method, remote, given, known);
  const hostPath = absoluteLocalPath(method, 'localPath', localPath);
  const at = absoluteRemotePath(method, remotePath);
  const filter = inputFilter(
    method,
    options.ignore,
    ignoreSyntax(method, options.ignoreSyntax, 'dockerignore'),
  );
  const input: LocalInput = { expects: 'directory', hostPath, fileAt: at, directoryAt: at, filter };
  return added(method, 'dir', input, options, [pathText(localPath as LocalPath), at, describeFilter(filter)]);
}

function added(
  method: string,
  kind: 'file' | 'dir',
  input: LocalInput,
  options: Options,
  args: readonly Json[],
): Added {
  const copy = booleanOption(method, options, 'copy');
  const forceBuild = booleanOption(method, options, 'forceBuild');
  const recipe: Json = [method, args, recipeOf(options)];
  if (!copy) {
    return { kind: 'mount', mount: Object.freeze({ kind, input: Object.freeze(input), recipe }) };
  }
  const layer = localLayer(
    method,
    input,
    { forceBuild, recipe },
    {
      textOfFile: 'COPY . /',
      textOfDirectory: 'COPY . /',
      fileDestination: '/',
      directoryDestination: '/',
      fileGoesTo: 'contextMount',
    },
  );
  return { kind: 'layer', layer };
}

export function copyLocalFile(localPath: unknown, remote: unknown, given: unknown): LayerDefinition {
  const method = 'copyLocalFile';
  const { remotePath, options } = readRemotePath(method, remote, given, ['forceBuild']);
  const hostPath = absoluteLocalPath(method, 'localPath', localPath);
  const at = `/${basename(hostPath)}`;
  const destination = remotePath ?? samePath(method, localPath as LocalPath, hostPath);
  const input: LocalInput = {
    expects: 'either',
    hostPath,
    fileAt: at,
    directoryAt: '/',
    filter: { kind: 'none' },
  };
  return copied(method, localPath as LocalPath, input, destination, options);
}

export function copyLocalDir(localPath: unknown, remote: unknown, given: unknown): LayerDefinition {
  const method = 'copyLocalDir';
  const known = ['forceBuild', 'ignore', 'ignoreSyntax', 'condition'];
  const { remotePath, options } = readRemotePath(method, remote, given, known);
  const hostPath = absoluteLocalPath(method, 'localPath', localPath);
  const destination = remotePath ?? samePath(method, localPath as LocalPath, hostPath);
  const input: LocalInput = {
    expects: 'directory',
    hostPath,
    fileAt: `/${basename(hostPath)}`,
    directoryAt: '/',
    filter: filterOf(method, options),
  };
  return copied(method, localPath as LocalPath, input, destination, options);
}

function filterOf(method: string, options: Options): InputFilter {
  const { condition, ignore } = options;
  const syntax = ignoreSyntax(method, options.ignoreSyntax, 'gitignore');
  return condition === undefined
    ? inputFilter(method, ignore, syntax)
    : conditionFilter(method, condition, ignore);
}

function copied(
  method: string,
  localPath: LocalPath,
  input: LocalInput,
  destination: string,
  options: Options,
): LayerDefinition {
  const forceBuild = booleanOption(method, options, 'forceBuild');
  const args = [pathText(localPath), destination, describeFilter(input.filter)];
  return localLayer(
    method,
    input,
    { forceBuild, recipe: [args, recipeOf(options)] },
    {
      textOfFile: `COPY ${copyWords(input.fileAt, destination)}`,
      textOfDirectory: `COPY ${copyWords('.', destination)}`,
      fileDestination: destination,
      directoryDestination: destination,
      fileGoesTo: 'contextFiles',
    },
  );
}

function localLayer(
  method: string,
  input: LocalInput,
  { forceBuild, recipe }: { forceBuild: boolean; recipe: Json },
  how: {
    textOfFile: string;
    textOfDirectory: string;
    fileDestination: string;
    directoryDestination: string;
    fileGoesTo: 'contextFiles' | 'contextMount';
  },
): LayerDefinition {
  return {
    method,
    label: label(method, [basename(input.hostPath)]),
    steps: [{ kind: 'copy-local', input, ...how }],
    ...NO_STEP_OPTIONS,
    forceBuild,
    keyExtras: {},
    recipe,
    diagnostics: [],
    requirements: [],
  };
}

function readRemotePath(
  method: string,
  remote: unknown,
  given: unknown,
  known: readonly string[],
): { remotePath: string | undefined; options: Options } {
  const { value, options } = placedOrNamed(method, 'remotePath', remote, given, known);
  return {
    remotePath: value === undefined ? undefined : requiredString(method, 'remotePath', value),
    options,
  };
}

function absoluteRemotePath(method: string, remotePath: string | undefined): string {
  if (remotePath === undefined) {
    throw definitionError('E_ARG_TYPE', `${method}(): 'remotePath' is missing`);
  }
  if (!remotePath.startsWith('/')) {
    throw definitionError(
      'E_REMOTE_PATH_RELATIVE',
      `${method}(): the path in the image must be absolute, not '${remotePath}'`,
      'copyLocalFile() and copyLocalDir() take paths relative to WORKDIR',
    );
  }
  // A doubled slash at the front would survive, and mean something else to POSIX.
  return normalPath(`/${remotePath.replace(/^\/+/, '')}`);
}

/** Without a destination, the image gets the path that the user wrote (E20). */
function samePath(method: string, localPath: LocalPath, hostPath: string): string {
  if (localPath instanceof URL || isAbsolute(localPath) || /^~(\/|$)/.test(localPath)) {
    return hostPath;
  }
  const normal = normalPath(localPath);
  if (normal === '..' || normal.startsWith('../')) {
    throw definitionError(
      'E_ARG_TYPE',
      `${method}(): '${localPath}' leads out of the directory; give remotePath`,
    );
  }
  return normal === '.' ? '.' : `./${normal}`;
}
