/** What stored secrets and volumes have in common: options of `objects.create`, `list` and `delete`, and listings (A4). */
import { checkObjectName } from './object-name.ts';
import { booleanOption, definitionError, knownOptions, type Options } from './options.ts';

export interface StoredObject {
  readonly name: string;
  readonly createdAt: Date;
}

interface OfEnvironment {
  /** Namespace of the name. @defaultValue TSBUILD_ENVIRONMENT, or `main` */
  readonly environment?: string;
}

export interface CreateObjectOptions extends OfEnvironment {
  /** Leave one that is there as it is, instead of failing. @defaultValue false */
  readonly allowExisting?: boolean;
}

export interface ListObjectsOptions extends OfEnvironment {
  /** How many, the newest. @defaultValue all */
  readonly maxObjects?: number;
  /** Only those that were made before. @defaultValue all */
  readonly createdBefore?: Date;
}

export interface DeleteObjectOptions extends OfEnvironment {
  /** Do nothing when there is none, instead of failing. @defaultValue false */
  readonly allowMissing?: boolean;
}

/** @throws {DefinitionError} `E_UNKNOWN_OPTION`, `E_ARG_TYPE`, `E_NAME` */
export function createOptions(
  method: string,
  given: unknown,
): Required<Omit<CreateObjectOptions, 'environment'>> & OfEnvironment {
  const options = knownOptions(method, given, ['allowExisting', 'environment']);
  return {
    allowExisting: booleanOption(method, options, 'allowExisting'),
    ...environmentOf(method, options),
  };
}

/** @throws {DefinitionError} `E_UNKNOWN_OPTION`, `E_ARG_TYPE`, `E_NAME` */
export function deleteOptions(
  method: string,
  given: unknown,
): Required<Omit<DeleteObjectOptions, 'environment'>> & OfEnvironment {
  const options = knownOptions(method, given, ['allowMissing', 'environment']);
  return { allowMissing: booleanOption(method, options, 'allowMissing'), ...environmentOf(method, options) };
}

/** @throws {DefinitionError} `E_UNKNOWN_OPTION`, `E_ARG_TYPE`, `E_NAME` */
export function listOptions(method: string, given: unknown): ListObjectsOptions {
  const options = knownOptions(method, given, ['maxObjects', 'createdBefore', 'environment']);
  const { maxObjects, createdBefore } = options;
  if (maxObjects !== undefined && !(Number.isInteger(maxObjects) && (maxObjects as number) >= 0)) {
    throw definitionError('E_ARG_TYPE', `${method}(): 'maxObjects' must be a whole number, 0 or more`);
  }
  if (
    createdBefore !== undefined &&
    !(createdBefore instanceof Date && Number.isFinite(createdBefore.getTime()))
  ) {
    throw definitionError('E_ARG_TYPE', `${method}(): 'createdBefore' must be a Date`);
  }
  return {
    ...(maxObjects === undefined ? {} : { maxObjects: maxObjects as number }),
    ...(createdBefore === undefined ? {} : { createdBefore: new Date(createdBefore as Date) }),
    ...environmentOf(method, options),
  };
}

/** Newest first; of one time by name. */
export function listed(
  objects: readonly StoredObject[],
  { maxObjects, createdBefore }: ListObjectsOptions,
): readonly StoredObject[] {
  const limit = createdBefore?.getTime() ?? Number.POSITIVE_INFINITY;
  return objects
    .filter(({ createdAt }) => createdAt.getTime() < limit)
    .toSorted(
      (left, right) =>
        right.createdAt.getTime() - left.createdAt.getTime() || (left.name < right.name ? -1 : 1),
    )
    .slice(0, maxObjects);
}

/** @throws {DefinitionError} `E_NAME` */
export function environmentOf(method: string, { environment }: Options): OfEnvironment {
  return environment === undefined
    ? {}
    : { environment: checkObjectName(`${method}()`, 'an environment', environment) };
}
