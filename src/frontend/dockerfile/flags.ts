/** Flags of instructions: `--name`, `--name=value`. */
import { nearName } from '../../base/near-name.ts';
import { flagError } from './definition-place.ts';

/** `list` may be repeated. */
export type FlagKind = 'boolean' | 'text' | 'list';

/** What was given, by name. */
export class Flags {
  readonly #values: ReadonlyMap<string, readonly string[]>;

  constructor(values: ReadonlyMap<string, readonly string[]>) {
    this.#values = values;
  }

  /** Undefined: not given, or given as `--name=`. */
  text(name: string): string | undefined {
    const value = this.#values.get(name)?.[0];
    return value === '' ? undefined : value;
  }

  list(name: string): readonly string[] {
    return this.#values.get(name) ?? [];
  }

  /** Undefined: not given. */
  boolean(name: string): boolean | undefined {
    const value = this.#values.get(name)?.[0];
    return value === undefined ? undefined : value === 'true';
  }
}

/**
 * @param keyword - Of the instruction, for messages.
 * @param words - Each begins with `--`.
 * @param kinds - The flags that the instruction has.
 * @throws {DefinitionError} `E_DOCKERFILE_FLAG`.
 */
export function parseFlags(
  keyword: string,
  words: readonly string[],
  kinds: Readonly<Record<string, FlagKind>>,
): Flags {
  const values = new Map<string, string[]>();
  for (const word of words) {
    const equals = word.indexOf('=');
    const flag = equals < 0 ? word : word.slice(0, equals);
    const name = flag.slice(2);
    const kind = Object.hasOwn(kinds, name) ? kinds[name] : undefined;
    if (kind === undefined) {
      throw flagError(`${keyword} has no flag ${flag}`, {
        hint: suggestion(keyword, name, Object.keys(kinds)),
        culprit: flag,
      });
    }
    const before = values.get(name);
    if (before !== undefined && kind !== 'list') {
      throw flagError(`the flag ${flag} of ${keyword} is given twice`, {
        hint: 'remove one of them',
        culprit: flag,
      });
    }
    const value = flagValue(flag, kind, equals < 0 ? undefined : word.slice(equals + 1));
    if (before === undefined) {
      values.set(name, [value]);
    } else {
      before.push(value);
    }
  }
  return new Flags(values);
}

function suggestion(keyword: string, name: string, names: readonly string[]): string {
  const near = nearName(name.toLowerCase(), names);
  if (near !== undefined) {
    return `did you mean --${near}?`;
  }
  return names.length === 0
    ? `${keyword} has no flags; write -- before words that begin with dashes`
    : `its flags are ${names.map((each) => `--${each}`).join(', ')}`;
}

function flagValue(flag: string, kind: FlagKind, value: string | undefined): string {
  if (kind !== 'boolean') {
    if (value === undefined) {
      throw flagError(`the flag ${flag} needs a value`, { hint: `write ${flag}=VALUE`, culprit: flag });
    }
    return value;
  }
  const word = (value ?? 'true').toLowerCase();
  if (word !== 'true' && word !== 'false') {
    throw flagError(`the flag ${flag} must be true or false, not '${value}'`, { culprit: flag });
  }
  return word;
}
