/** Values of `RUN --mount` and `RUN --device`. Source: reference of the Dockerfile, "RUN --mount". */
import { posix } from 'node:path';
import { nearName } from '../../base/near-name.ts';
import { normalPath } from '../../base/normal-path.ts';
import { csvFields } from './csv-fields.ts';
import { flagError } from './definition-place.ts';

interface AnyMount {
  /** Keys that mean nothing for this type and that the reference implementation takes without a word. */
  readonly ignoredKeys: readonly string[];
}

export interface RunBindMount extends AnyMount {
  readonly type: 'bind';
  /** Stage, context or image; undefined: the build context. */
  readonly from: string | undefined;
  /** Empty: all of it. */
  readonly source: string;
  /** Relative to the working directory, empty for that itself. */
  readonly target: string;
  /** False: writes are dropped after the step. */
  readonly readOnly: boolean;
}

export interface RunCacheMount extends AnyMount {
  readonly type: 'cache';
  /** The target without needless parts, if none was given. */
  readonly id: string;
  /** What an empty cache begins with; undefined: with nothing. */
  readonly from: string | undefined;
  readonly source: string;
  readonly target: string;
  readonly readOnly: boolean;
  readonly sharing: 'shared' | 'private' | 'locked';
  /** Of the directory when it is made; undefined: not said. */
  readonly mode: number | undefined;
  readonly uid: number | undefined;
  readonly gid: number | undefined;
}

export interface RunTmpfsMount extends AnyMount {
  readonly type: 'tmpfs';
  readonly target: string;
  /** Undefined: the kernel's default. */
  readonly sizeBytes: number | undefined;
  readonly readOnly: boolean;
}

export interface RunSecretMount extends AnyMount {
  readonly type: 'secret';
  readonly id: string;
  /** Undefined: no file, only the variable. */
  readonly target: string | undefined;
  readonly env: string | undefined;
  readonly required: boolean;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
}

export interface RunSshMount extends AnyMount {
  readonly type: 'ssh';
  readonly id: string;
  /** Undefined: where agents go, by their number in the step. */
  readonly target: string | undefined;
  readonly required: boolean;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
}

export type RunMount = RunBindMount | RunCacheMount | RunTmpfsMount | RunSecretMount | RunSshMount;

type Type = RunMount['type'];

/** What each type has a use for. */
const KEYS: Readonly<Record<Type, readonly string[]>> = {
  bind: ['from', 'source', 'target', 'readonly'],
  cache: ['id', 'from', 'source', 'target', 'readonly', 'sharing', 'mode', 'uid', 'gid'],
  tmpfs: ['target', 'size', 'readonly'],
  secret: ['id', 'source', 'target', 'env', 'required', 'mode', 'uid', 'gid'],
  ssh: ['id', 'target', 'required', 'mode', 'uid', 'gid'],
};
const TYPES = Object.keys(KEYS) as readonly Type[];

/** These would change what the step sees, so that a type without a use for them refuses them. */
const REFUSED = ['required', 'size', 'sharing', 'mode', 'uid', 'gid'];

/** Other names of keys. `readwrite` is the opposite of `readonly` and has no other name here. */
const ALIASES: Readonly<Record<string, string>> = {
  src: 'source',
  dst: 'target',
  destination: 'target',
  ro: 'readonly',
  rw: 'readwrite',
};
const ALL_KEYS = [...new Set(['type', 'readwrite', ...Object.values(KEYS).flat(), ...Object.keys(ALIASES)])];

const SHARING = ['shared', 'private', 'locked'] as const;

/**
 * What can be said before variables are known: that the value is a record, and that `from` holds no variable.
 *
 * @throws {DefinitionError} `E_DOCKERFILE_FLAG`.
 */
export function checkRunMount(value: string): void {
  for (const { key, text } of fieldsOf(value)) {
    if (key === 'from') {
      refuseVariable(text);
    }
  }
}

/** The stage, image or context that a mount names, if it names one; known before variables are. */
export function mountFrom(value: string): string | undefined {
  const from = fieldsOf(value).findLast(({ key }) => key === 'from')?.text;
  return from === '' ? undefined : from;
}

/**
 * @param value - Of the flag, as written.
 * @param expand - Applied to all values but that of `from`.
 * @throws {DefinitionError} `E_DOCKERFILE_FLAG`, and what `expand` throws.
 */
export function parseRunMount(value: string, expand: (text: string) => string): RunMount {
  const given = new Map<string, string>();
  for (const { key, field, text } of fieldsOf(value)) {
    if (!ALL_KEYS.includes(key)) {
      throw unknownKey(key, field);
    }
    if (key === 'from') {
      refuseVariable(text);
      given.set(key, text ?? needsValue(field));
      continue;
    }
    const isSwitch = key === 'readonly' || key === 'readwrite' || key === 'required';
    const expanded = text === undefined ? (isSwitch ? 'true' : needsValue(field)) : expand(text);
    if (key === 'readwrite') {
      given.set('readonly', boolean('readwrite', expanded) ? 'false' : 'true');
    } else {
      given.set(key, expanded);
    }
  }
  return mountOf(new MountValues(given));
}

/** A request for a device of the Container Device Interface: `--device=vendor.com/class=name,required`. */
export interface RunDevice {
  readonly name: string;
  /** @defaultValue false */
  readonly required: boolean;
}

/**
 * @param value - Of the flag, as written.
 * @throws {DefinitionError} `E_DOCKERFILE_FLAG`.
 */
export function parseRunDevice(value: string): RunDevice {
  let name = '';
  let required = false;
  for (const field of csvFields(value, '--device')) {
    const [key = '', text] = cut(field);
    if (key.toLowerCase() === 'required') {
      required = boolean('required', text ?? 'true');
    } else if (name !== '') {
      throw flagError(`--device has a name already, '${name}', and then comes '${field}'`, {
        hint: 'write one --device for each device',
        culprit: field,
      });
    } else {
      // A name has an equals sign itself.
      name = key.toLowerCase() === 'name' ? (text ?? '') : field;
    }
  }
  if (name === '') {
    throw flagError('--device needs the name of a device', { hint: 'write --device=vendor.com/class=name' });
  }
  return { name, required };
}

interface Field {
  readonly key: string;
  readonly field: string;
  /** Undefined: no `=`. */
  readonly text: string | undefined;
}

function fieldsOf(value: string): readonly Field[] {
  return csvFields(value, '--mount').map((field) => {
    const [name, text] = cut(field);
    const key = name.toLowerCase();
    return { key: Object.hasOwn(ALIASES, key) ? (ALIASES[key] ?? key) : key, field, text };
  });
}

function cut(field: string): [key: string, text: string | undefined] {
  const equals = field.indexOf('=');
  return equals < 0 ? [field, undefined] : [field.slice(0, equals), field.slice(equals + 1)];
}

function refuseVariable(from: string | undefined): void {
  const dollar = from?.indexOf('$') ?? -1;
  if (from !== undefined && dollar >= 0 && dollar < from.length - 1) {
    throw flagError(`'from' of --mount cannot hold a variable, as in '${from}'`, {
      hint: 'give the image a name with FROM IMAGE AS NAME, where variables are expanded, and mount from that',
      culprit: from,
    });
  }
}

function needsValue(field: string): never {
  throw flagError(`'${field}' of --mount needs a value`, { hint: `write ${field}=VALUE`, culprit: field });
}

function unknownKey(key: string, field: string): Error {
  const near = nearName(key, ALL_KEYS);
  return flagError(
    key === '' ? `--mount has a field without a name: '${field}'` : `--mount has no '${key}'`,
    {
      hint: near === undefined ? `known are ${ALL_KEYS.join(', ')}` : `did you mean ${near}?`,
      culprit: field === '' ? ',' : field,
    },
  );
}

/** What was given, by the key's one name, read as what it should be. */
class MountValues {
  readonly #given: ReadonlyMap<string, string>;

  constructor(given: ReadonlyMap<string, string>) {
    this.#given = given;
  }

  get keys(): readonly string[] {
    return [...this.#given.keys()];
  }

  /** Undefined: not given, or given as nothing. */
  text(key: string): string | undefined {
    const value = this.#given.get(key);
    return value === '' ? undefined : value;
  }

  has(key: string): boolean {
    return this.#given.has(key);
  }

  boolean(key: string): boolean | undefined {
    const value = this.#given.get(key);
    return value === undefined ? undefined : boolean(key, value);
  }

  oneOf<Choice extends string>(key: string, choices: readonly Choice[]): Choice | undefined {
    const value = this.#given.get(key);
    const found = choices.find((choice) => choice === value?.toLowerCase());
    if (value !== undefined && found === undefined) {
      const near = nearName(value.toLowerCase(), choices);
      throw flagError(`'${key}' of --mount must be ${choices.join(', ')}, not '${value}'`, {
        hint: near === undefined ? undefined : `did you mean ${near}?`,
        culprit: value,
      });
    }
    return found;
  }

  /** Below 2^32. */
  number(key: string, digits: RegExp, base: number, what: string): number | undefined {
    const value = this.#given.get(key);
    if (value === undefined) {
      return undefined;
    }
    const number = digits.test(value) ? Number.parseInt(value, base) : Number.NaN;
    if (!(number < 2 ** 32)) {
      throw flagError(`'${key}' of --mount must be ${what}, not '${value}'`, { culprit: value });
    }
    return number;
  }
}

function mountOf(values: MountValues): RunMount {
  const type = values.oneOf('type', TYPES) ?? 'bind';
  const useless = values.keys.filter((key) => key !== 'type' && !KEYS[type].includes(key));
  const refused = useless.find((key) => REFUSED.includes(key) || (type === 'secret' && key === 'from'));
  if (refused !== undefined) {
    throw flagError(`a mount of type ${type} has no '${refused}'`, {
      hint: `its keys are ${KEYS[type].join(', ')}`,
      culprit: refused,
    });
  }
  const target = values.text('target') ?? '';
  if (normalPath(target) === '/') {
    throw flagError("a mount cannot cover '/'", {
      hint: 'name a directory as its target',
      culprit: 'target',
    });
  }
  const owner = {
    mode: values.number('mode', /^[0-7]+$/, 8, 'octal digits, such as 0400'),
    uid: values.number('uid', /^\d+$/, 10, 'a number'),
    gid: values.number('gid', /^\d+$/, 10, 'a number'),
  };
  const from = values.text('from');
  const source = values.text('source') ?? '';
  const readOnly = values.boolean('readonly');
  const required = values.boolean('required') ?? false;
  const rest = { ignoredKeys: useless };
  switch (type) {
    case 'bind':
      return { type, from, source, target, readOnly: readOnly ?? true, ...rest };
    case 'cache':
      return {
        type,
        id: values.text('id') ?? normalPath(target),
        from,
        source,
        target,
        readOnly: readOnly ?? false,
        sharing: values.oneOf('sharing', SHARING) ?? 'shared',
        ...owner,
        ...rest,
      };
    case 'tmpfs':
      return { type, target, sizeBytes: size(values.text('size')), readOnly: readOnly ?? false, ...rest };
    case 'secret':
      return { type, ...secretOf(values), required, ...definite(owner, 0o400), ...rest };
    case 'ssh':
      return {
        type,
        id: values.text('id') ?? 'default',
        target: values.text('target'),
        required,
        ...definite(owner, 0o600),
        ...rest,
      };
  }
}

function definite(
  { mode, uid, gid }: { mode: number | undefined; uid: number | undefined; gid: number | undefined },
  usualMode: number,
) {
  return { mode: mode ?? usualMode, uid: uid ?? 0, gid: gid ?? 0 };
}

function secretOf(values: MountValues): { id: string; target: string | undefined; env: string | undefined } {
  const source = values.text('source');
  const target = values.text('target');
  if (source !== undefined && values.text('id') !== undefined) {
    throw flagError("a secret mount has both 'id' and 'source', which mean the same", {
      hint: 'remove one of them',
      culprit: source,
    });
  }
  const id = source ?? values.text('id') ?? (target === undefined ? undefined : posix.basename(target));
  if (id === undefined || id === '') {
    throw flagError('a secret mount does not say which secret', {
      hint: 'write id=NAME',
      culprit: '--mount',
    });
  }
  const env = values.text('env');
  if (values.has('env') && (env === undefined || /[=\0]/.test(env))) {
    throw flagError(`'env' of --mount must be the name of a variable, not '${env ?? ''}'`, {
      culprit: 'env',
    });
  }
  const file = env === undefined ? `/run/secrets/${posix.basename(id)}` : undefined;
  return { id, target: target ?? file, env };
}

const TRUE = ['1', 't', 'T', 'TRUE', 'true', 'True'];
const FALSE = ['0', 'f', 'F', 'FALSE', 'false', 'False'];

function boolean(key: string, text: string): boolean {
  if (!TRUE.includes(text) && !FALSE.includes(text)) {
    throw flagError(`'${key}' must be true or false, not '${text}'`, { culprit: `${key}=${text}` });
  }
  return TRUE.includes(text);
}

const UNITS = ['', 'k', 'm', 'g', 't', 'p'];

/** `64m`, `1.5GiB`: powers of 1024. */
function size(text: string | undefined): number | undefined {
  if (text === undefined) {
    return undefined;
  }
  const match = /^(\d+(?:\.\d+)?) ?([kmgtp]?)i?b?$/i.exec(text);
  const bytes = Math.floor(Number(match?.[1]) * 1024 ** UNITS.indexOf((match?.[2] ?? '').toLowerCase()));
  if (match === null || !Number.isSafeInteger(bytes)) {
    throw flagError(`'size' of --mount must be a size, not '${text}'`, {
      hint: 'write a number of bytes, or one with a unit such as 64m or 1g',
      culprit: text,
    });
  }
  return bytes;
}
