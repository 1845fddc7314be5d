/** Definitions of bases that come from a registry (A1.2 and A1.4 to A1.6 of the Image API). */
import type { Secret } from '../../secret/secret.ts';
import {
  definitionError,
  knownOptions,
  type Options,
  requiredString,
  stringArray,
  stringOption,
} from './arguments.ts';
import { baseLayer, FACTORY_OPTIONS, type FactoryOptions } from './base-definitions.ts';
import { setupStep } from './dockerfile-layers.ts';
import type { LayerDefinition, RegistryLogin } from './layer-definition.ts';
import { parseAddPython } from './standalone-python.ts';
import { secretOption } from './step-options.ts';

interface RegistryBaseOptions extends FactoryOptions {
  /**
   * Series of a CPython to put into the base, below `/usr/local`: `3.10` … `3.14`, `3.14t`. The base must have glibc. Its
   * release is part of the key, the mirror that it is fetched from is not.
   * @defaultValue none
   */
  readonly addPython?: string;
  /**
   * Instructions of a Dockerfile right after the base and Python, in the same layer of the plan. The text, and the files that
   * COPY takes from the working directory, are part of the key.
   * @defaultValue none
   */
  readonly setupDockerfileCommands?: readonly string[];
}

export interface FromRegistryOptions extends RegistryBaseOptions {
  /** With REGISTRY_USERNAME and REGISTRY_PASSWORD. Its identity is part of the key. @defaultValue the host's credentials */
  readonly secret?: Secret;
}

export interface FromAwsEcrOptions extends RegistryBaseOptions {
  /**
   * With AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (and AWS_SESSION_TOKEN), or with AWS_ROLE_ARN for the token of this
   * environment's AWS_WEB_IDENTITY_TOKEN_FILE; and AWS_REGION where the host name does not tell it. Its identity is part of
   * the key.
   */
  readonly secret: Secret;
}

export interface FromGcpArtifactRegistryOptions extends RegistryBaseOptions {
  /** With SERVICE_ACCOUNT_JSON: the content of the key file, not its path. Its identity is part of the key. */
  readonly secret: Secret;
}

export interface UbuntuOptions extends FactoryOptions {
  /** Ubuntu's release, `24.04`. @defaultValue the builder version's */
  readonly version?: string;
  /** Series of the Python that is added; false: none. @defaultValue TSBUILD_PYTHON_VERSION, the host's, or 3.12 */
  readonly addPython?: string | false;
}

const OPTIONS = [...FACTORY_OPTIONS, 'secret', 'addPython', 'setupDockerfileCommands'];

export function fromRegistry(tag: unknown, given: unknown): LayerDefinition {
  const method = 'fromRegistry';
  const options = knownOptions(method, given, OPTIONS);
  const secret = secretOption(method, options);
  return registryBase(method, tag, options, secret === undefined ? undefined : { type: 'static', secret });
}

/** @throws {DefinitionError} `E_UNKNOWN_OPTION` for `secrets` too, with what it is called here. */
export function fromCloudRegistry(
  method: 'fromAwsEcr' | 'fromGcpArtifactRegistry',
  tag: unknown,
  given: unknown,
): LayerDefinition {
  if (typeof given === 'object' && given !== null && 'secrets' in given) {
    throw definitionError(
      'E_UNKNOWN_OPTION',
      `${method}() has no option 'secrets'`,
      "a registry takes one: pass it as 'secret'",
    );
  }
  const options = knownOptions(method, given, OPTIONS);
  const type = method === 'fromAwsEcr' ? 'aws' : 'gcp';
  // That it is missing is said when the registry is asked: what the store has needs no login.
  return registryBase(method, tag, options, { type, secret: secretOption(method, options) });
}

export function ubuntu(given: unknown): LayerDefinition {
  const method = 'ubuntu';
  const options = knownOptions(method, given, [...FACTORY_OPTIONS, 'version', 'addPython']);
  const version = stringOption(method, options, 'version');
  if (version !== undefined && !/^[A-Za-z0-9_][A-Za-z0-9._-]{0,127}$/.test(version)) {
    throw definitionError(
      'E_ARG_TYPE',
      `${method}(): 'version' cannot be '${version.slice(0, 80)}'; it looks like 24.04`,
    );
  }
  const addPython = options.addPython === false ? false : parseAddPython(method, options.addPython);
  return baseLayer(method, options, [], {
    kind: 'ubuntu',
    addPython,
    ...(version === undefined ? {} : { version }),
  });
}

function registryBase(
  method: string,
  tag: unknown,
  options: Options,
  login: RegistryLogin | undefined,
): LayerDefinition {
  const reference = requiredString(method, 'tag', tag);
  if (/[\s\p{Cc}]/u.test(reference)) {
    throw definitionError(
      'E_IMAGE_NAME',
      `${method}(): '${reference.slice(0, 200)}' is not an image reference`,
    );
  }
  const addPython = parseAddPython(method, options.addPython);
  const lines =
    options.setupDockerfileCommands === undefined
      ? []
      : stringArray(method, 'setupDockerfileCommands', options.setupDockerfileCommands);
  return {
    ...baseLayer(method, options, [reference], {
      kind: 'registry',
      reference,
      ...(login === undefined ? {} : { login: Object.freeze(login) }),
      ...(addPython === undefined ? {} : { addPython }),
    }),
    steps: lines.length === 0 ? [] : [setupStep(method, lines)],
  };
}
