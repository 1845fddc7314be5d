/** Names that images are published under on this machine (B4.3 of the Image API): `[namespace/]name[:tag]`. */
import { checkObjectName, hasNameShape } from '../../base/object-name.ts';
import { definitionError } from './arguments.ts';

export interface ImageName {
  /** Before the last slash, or the environment that was given. Absent: that of the settings. */
  readonly namespace?: string;
  readonly name: string;
  readonly tag: string;
}

const DEFAULT_TAG = 'latest';
const ID_PREFIX = 'im-';
const SHOWN = 160;
const HINT = 'a name and its tag are 1 to 64 letters, digits, dots, underscores and hyphens';

/**
 * Split at the first colon. What comes before the last slash of the name is kept as it is.
 *
 * @param environment - An option of the method.
 * @throws {DefinitionError} `E_IMAGE_NAME`, `E_IMAGE_TAG`, `E_IMAGE_NAME_PREFIX`; `E_ARG_TYPE` for an environment beside a namespace,
 *   `E_NAME` for one that is none.
 */
export function parseImageName(method: string, value: unknown, environment?: unknown): ImageName {
  if (typeof value !== 'string') {
    throw definitionError('E_IMAGE_NAME', `${method}(): the name of an image must be a string`, HINT);
  }
  const colon = value.indexOf(':');
  const path = colon < 0 ? value : value.slice(0, colon);
  const tag = colon < 0 ? DEFAULT_TAG : value.slice(colon + 1);
  const slash = path.lastIndexOf('/');
  const prefix = slash < 0 ? undefined : path.slice(0, slash);
  const name = path.slice(slash + 1);
  const shown = `'${value.slice(0, SHOWN)}'`;
  if (prefix === '' || !hasNameShape(name)) {
    throw definitionError('E_IMAGE_NAME', `${method}(): ${shown} is not a name of an image`, HINT);
  }
  if (name.startsWith(ID_PREFIX)) {
    throw definitionError(
      'E_IMAGE_NAME_PREFIX',
      `${method}(): ${shown} begins as ids do`,
      'Image.fromId() takes an id',
    );
  }
  if (!hasNameShape(tag)) {
    throw definitionError('E_IMAGE_TAG', `${method}(): ${shown} has a tag that is none`, HINT);
  }
  if (environment === undefined) {
    return { ...(prefix === undefined ? {} : { namespace: prefix }), name, tag };
  }
  if (prefix !== undefined) {
    throw definitionError(
      'E_ARG_TYPE',
      `${method}(): ${shown} names its environment, and 'environment' is given too`,
    );
  }
  const namespace = checkObjectName(`${method}()`, 'an environment', environment);
  return { namespace, name, tag };
}

/** As people write it. */
export function formatImageName({ namespace, name, tag }: ImageName): string {
  return `${namespace === undefined ? '' : `${namespace}/`}${name}:${tag}`;
}
