/**
 * Collects violations of the build checks while a Dockerfile is read and converted, and knows which of them the user
 * switched off. Source: reference of the Dockerfile, "check".
 */

import { nearName } from '../../base/near-name.ts';
import { DefinitionError } from '../../errors.ts';
import { type CheckName, isExperimental, isSkipped } from './check-rules.ts';
import type { Finding, Location } from './instruction.ts';

export interface CheckOptions {
  readonly skip: ReadonlySet<string> | 'all';
  /** Violations fail the build. */
  readonly error: boolean;
  /** Experimental rules that are on. */
  readonly experimental: ReadonlySet<string> | 'all';
}

/**
 * Parses `skip=A,B;error=true;experimental=C`; the empty text is the default.
 *
 * @param file - What errors call the Dockerfile.
 * @throws {DefinitionError} `E_DOCKERFILE_CHECK`
 */
export function parseCheckOptions(text: string, file: string): CheckOptions {
  const options: { skip: CheckOptions['skip']; error: boolean; experimental: CheckOptions['experimental'] } =
    { skip: new Set(), error: false, experimental: new Set() };
  for (const part of text.split(';').map((each) => each.trim())) {
    if (part === '') {
      continue;
    }
    const equals = part.indexOf('=');
    if (equals < 0) {
      throw badCheck(file, `'${part}' is not of the form key=value`);
    }
    const key = part.slice(0, equals).trim();
    const value = part.slice(equals + 1).trim();
    switch (key) {
      case 'skip':
        options.skip = ruleNames(value);
        break;
      case 'experimental':
        options.experimental = ruleNames(value);
        break;
      case 'error':
        if (!/^(1|t|true|0|f|false)$/i.test(value)) {
          throw badCheck(file, `'error' is '${value}'; it can be true, false`);
        }
        options.error = /^(1|t|true)$/i.test(value);
        break;
      default: {
        const near = nearName(key, ['skip', 'error', 'experimental']);
        throw badCheck(
          file,
          `unknown key '${key}'`,
          near === undefined ? undefined : `did you mean '${near}'?`,
        );
      }
    }
  }
  return options;
}

export class CheckReport {
  readonly options: CheckOptions;
  readonly #findings: Finding[] = [];
  readonly #seen = new Set<string>();

  constructor(options: CheckOptions) {
    this.options = options;
  }

  /** @param skip - Rules that a comment above the instruction switches off. */
  add(finding: Finding, skip: readonly string[] = []): void {
    const { rule, location, message } = finding;
    const off = this.#isOff(rule) || isSkipped(rule, skip);
    // An instruction of a stage that several stages are built on is looked at once for each.
    const identity = `${rule} ${location?.startLine ?? 0} ${message}`;
    if (!off && !this.#seen.has(identity)) {
      this.#seen.add(identity);
      this.#findings.push(finding);
    }
  }

  #isOff(rule: CheckName): boolean {
    const { skip, experimental } = this.options;
    if (isExperimental(rule) && !includes(experimental, rule)) {
      return true;
    }
    // An experimental rule that somebody asked for is not among those that skip=all means.
    return skip === 'all' ? !isExperimental(rule) : includes(skip, rule);
  }

  /** In the order of the file. */
  get findings(): readonly Finding[] {
    const line = (location: Location | undefined) => location?.startLine ?? 0;
    return this.#findings.toSorted((left, right) => line(left.location) - line(right.location));
  }

  /** `E_DOCKERFILE_CHECK` when there are violations and the user wants them to fail the build. */
  get failure(): DefinitionError | undefined {
    if (!this.options.error || this.#findings.length === 0) {
      return undefined;
    }
    const rules = [...new Set(this.findings.map(({ rule }) => rule))];
    return new DefinitionError(`the Dockerfile violates build checks: ${rules.join(', ')}`, {
      code: 'E_DOCKERFILE_CHECK',
      hint: '`tsbuild build --check` says where; `# check=skip=RULE` above an instruction accepts it as it is',
    });
  }
}

/** A finding as a warning of the build. */
export function findingWarning(
  file: string,
  { rule, message, location }: Finding,
): {
  readonly code: CheckName;
  readonly message: string;
  readonly source: { readonly file: string; readonly line?: number };
} {
  const source = { file, ...(location === undefined ? {} : { line: location.startLine }) };
  return { code: rule, message, source };
}

function includes(set: ReadonlySet<string> | 'all', rule: string): boolean {
  return set === 'all' || set.has(rule.toLowerCase());
}

function ruleNames(value: string): ReadonlySet<string> | 'all' {
  const names = value.split(',').map((name) => name.trim().toLowerCase());
  return names.includes('all') ? 'all' : new Set(names.filter((name) => name !== ''));
}

function badCheck(file: string, message: string, hint?: string): DefinitionError {
  return new DefinitionError(`cannot read the check options: ${message}`, {
    code: 'E_DOCKERFILE_CHECK',
    file,
    hint: hint ?? 'write skip=RULE,RULE or skip=all, error=true, experimental=RULE, with ; between them',
  });
}
