/** Trees that are put together from local files, as build contexts (A4.3 of the Image API). */
import { basename, posix } from 'node:path';
import type { Json } from '../../base/canonical-json.ts';
import { absoluteLocalPath, type LocalPath } from '../../base/local-path.ts';
import type { IgnoreSyntax } from '../../patterns/file-pattern-matcher.ts';
import {
  conditionFilter,
  describeFilter,
  type IgnoreSpec,
  type InputFilter,
  ignoreSyntax,
  inputFilter,
} from '../../patterns/ignore-spec.ts';
import type { ContextPart } from '../dockerfile/context-input.ts';
import { booleanOption, definitionError, knownOptions, type Options, requiredString } from './arguments.ts';

export interface MountFileOptions {
  /** Where it is in the mount; relative ones begin at `/`. Part of the key. @defaultValue `/` and the name of the file */
  readonly remotePath?: string;
}

export interface MountDirOptions {
  /** Where its contents are in the mount; relative ones begin at `/`. Part of the key. @defaultValue `/` and its name */
  readonly remotePath?: string;
  /** Which files are taken, by path relative to the directory. Instead of `ignore`. Not part of the key. @defaultValue all */
  readonly condition?: (relativePath: string) => boolean;
  /** What is left out. Not part of the key. @defaultValue nothing */
  readonly ignore?: IgnoreSpec;
  /** @defaultValue `dockerignore` */
  readonly ignoreSyntax?: IgnoreSyntax;
  /** Whether what is in its directories is taken. Not part of the key. @defaultValue true */
  readonly recursive?: boolean;
}

const CONSTRUCT: unique symbol = Symbol('tsbuild.mount');

/**
 * Files and directories of this machine at paths of one tree, which `contextMount` makes a build context of. Immutable: every
 * method returns a new mount. Later entries lie over earlier ones. Nothing is read until an image is planned or built.
 *
 * @example
 * ```ts
 * const contextMount = Mount.fromLocalDir('src', { remotePath: '/context' }).addLocalFile('LICENSE');
 * Image.fromDockerfile('Dockerfile', { contextMount });
 * ```
 */
export class Mount {
  readonly #parts: readonly ContextPart[];

  /** Use {@link Mount.fromLocalDir} or {@link Mount.fromLocalFile}. */
  constructor(key: typeof CONSTRUCT, parts: readonly ContextPart[]) {
    if (key !== CONSTRUCT) {
      throw definitionError('E_ARG_TYPE', 'a Mount is made by Mount.fromLocalDir() or Mount.fromLocalFile()');
    }
    this.#parts = Object.freeze(parts);
    Object.freeze(this);
  }

  /**
   * A tree with the contents of a directory.
   *
   * @throws {DefinitionError} `E_ARG_TYPE`, `E_UNKNOWN_OPTION`, `E_IGNORE_AND_CONDITION`; when it is used `E_LOCAL_DIR_MISSING`,
   * `E_LOCAL_NOT_DIR`, `E_BAD_PATTERN`.
   */
  static fromLocalDir(path: LocalPath, options?: MountDirOptions): Mount {
    return new Mount(CONSTRUCT, [directoryPart('Mount.fromLocalDir', path, options)]);
  }

  /** A tree with one file. @throws {DefinitionError} `E_ARG_TYPE`, `E_UNKNOWN_OPTION`; when it is used `E_LOCAL_FILE_MISSING`. */
  static fromLocalFile(path: LocalPath, options?: MountFileOptions): Mount {
    return new Mount(CONSTRUCT, [filePart('Mount.fromLocalFile', path, options)]);
  }

  /** This tree and the contents of a directory. @throws as {@link Mount.fromLocalDir}. */
  addLocalDir(path: LocalPath, options?: MountDirOptions): Mount {
    return new Mount(CONSTRUCT, [...this.#parts, directoryPart('addLocalDir', path, options)]);
  }

  /** This tree and one file. @throws as {@link Mount.fromLocalFile}. */
  addLocalFile(path: LocalPath, options?: MountFileOptions): Mount {
    return new Mount(CONSTRUCT, [...this.#parts, filePart('addLocalFile', path, options)]);
  }

  /** @internal For what is next to the class. */
  static partsOf(mount: Mount): readonly ContextPart[] {
    return mount.#parts;
  }
}

/** What the recipe hash sees. */
export function describeMount(mount: Mount): Json {
  return Mount.partsOf(mount).map(({ filter, kind, at, recursive, hostPath }) => ({
    kind,
    at,
    recursive,
    name: basename(hostPath),
    filter: describeFilter(filter),
  }));
}

function directoryPart(method: string, path: unknown, given: unknown): ContextPart {
  const known = ['remotePath', 'condition', 'ignore', 'ignoreSyntax', 'recursive'];
  const options = knownOptions(method, given, known);
  const hostPath = absoluteLocalPath(method, 'path', path);
  return Object.freeze<ContextPart>({
    kind: 'directory',
    hostPath,
    at: remotePath(method, options, hostPath),
    filter: filterOf(method, options),
    recursive: booleanOption(method, options, 'recursive', true),
  });
}

function filePart(method: string, path: unknown, given: unknown): ContextPart {
  const options = knownOptions(method, given, ['remotePath']);
  const hostPath = absoluteLocalPath(method, 'path', path);
  const at = remotePath(method, options, hostPath);
  if (at === '/') {
    throw definitionError('E_ARG_TYPE', `${method}(): '/' is not the path of a file`);
  }
  return Object.freeze<ContextPart>({
    kind: 'file',
    hostPath,
    at,
    filter: { kind: 'none' },
    recursive: true,
  });
}

function remotePath(method: string, options: Options, hostPath: string): string {
  const given = options.remotePath;
  const path = given === undefined ? basename(hostPath) : requiredString(method, 'remotePath', given);
  return posix.resolve('/', path);
}

function filterOf(method: string, options: Options): InputFilter {
  const { condition, ignore } = options;
  const syntax = ignoreSyntax(method, options.ignoreSyntax, 'dockerignore');
  return condition === undefined
    ? inputFilter(method, ignore, syntax)
    : conditionFilter(method, condition, ignore);
}
