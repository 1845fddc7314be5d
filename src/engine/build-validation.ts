/**
 * What becomes of a build whose input files change while it runs: TSBUILD_BUILD_VALIDATION (A5.2 of the Image API). What changes
 * after it was read is another matter, and always an error: the layer would not be what its key says.
 */
import { DefinitionError } from '../errors.ts';
import type { Diagnostic } from '../frontend/fluent/diagnostic.ts';
import type { Settings } from '../settings.ts';

const NS_PER_MS = 1_000_000n;
const LISTED = 3;

/** Looks at the times of the files that a build reads. */
export class BuildValidation {
  readonly #policy: Settings['buildValidation'];
  readonly #startNs: bigint;
  readonly #ownDirectory: string;
  readonly #changed = new Set<string>();

  /**
   * @param startMs - When the build began.
   * @param ownDirectory - What is below it the build itself wrote.
   */
  constructor(policy: Settings['buildValidation'], startMs: number, ownDirectory: string) {
    this.#policy = policy;
    // The clock that tells when a build begins is read in whole milliseconds, files have finer times.
    this.#startNs = (BigInt(startMs) + 1n) * NS_PER_MS;
    this.#ownDirectory = ownDirectory;
  }

  /**
   * @param filesLaterThan - The host's paths of input files that changed later than that, in nanoseconds since the epoch.
   * @throws {DefinitionError} `E_FILE_CHANGED_DURING_BUILD` unless the policy is another.
   */
  readonly check = (filesLaterThan: (ns: bigint) => readonly string[]): void => {
    if (this.#policy === 'ignore') {
      return;
    }
    const changed = filesLaterThan(this.#startNs).filter((path) => !this.#isOwn(path));
    if (changed.length === 0) {
      return;
    }
    if (this.#policy === 'error') {
      throw new DefinitionError(changedMessage(changed), {
        code: 'E_FILE_CHANGED_DURING_BUILD',
        hint: 'build again, or set TSBUILD_BUILD_VALIDATION=warn if something always writes them',
      });
    }
    for (const path of changed) {
      this.#changed.add(path);
    }
  };

  /** What was found under the policy `warn`. */
  get diagnostics(): readonly Diagnostic[] {
    const changed = [...this.#changed].sort();
    return changed.length === 0
      ? []
      : [{ code: 'W_FILE_CHANGED_DURING_BUILD', message: changedMessage(changed) }];
  }

  #isOwn(path: string): boolean {
    return path.startsWith(`${this.#ownDirectory}/`);
  }
}

function changedMessage(paths: readonly string[]): string {
  const shown = paths.slice(0, LISTED).map((path) => `'${path}'`);
  const more = paths.length > LISTED ? ` and ${paths.length - LISTED} more` : '';
  return `input files changed after the build began: ${shown.join(', ')}${more}`;
}
