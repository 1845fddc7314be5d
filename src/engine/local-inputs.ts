/** The local inputs of one build: each is scanned once, however many ask. */
import { InternalError } from '../errors.ts';
import { inputName, type LocalInput } from '../frontend/fluent/local-input.ts';
import { type ScannedInput as Scan, scanInput } from '../local/scan-input.ts';
import type { StatCache } from '../local/stat-cache.ts';
import { native } from '../native/addon.ts';
import type { LocalInputs, ScannedInput } from '../ops/op-context.ts';

export class BuildInputs implements LocalInputs {
  readonly #statCache: StatCache;
  readonly #now: () => number;
  readonly #inputs = new Map<string, LocalInput>();
  readonly #scans = new Map<string, Promise<Scan>>();

  constructor(statCache: StatCache, now: () => number) {
    this.#statCache = statCache;
    this.#now = now;
  }

  scan(input: LocalInput, signal: AbortSignal): Promise<Scan> {
    const name = inputName(input);
    this.#inputs.set(name, input);
    let scan = this.#scans.get(name);
    if (scan === undefined) {
      scan = scanInput(input, {
        native: native(),
        statCache: this.#statCache,
        now: () => BigInt(this.#now()) * 1_000_000n,
        signal,
      });
      this.#scans.set(name, scan);
    }
    return scan;
  }

  /** Makes an input known by its name, for the graph's vertices. */
  add(input: LocalInput): void {
    this.#inputs.set(inputName(input), input);
  }

  async scanned(name: string, signal: AbortSignal): Promise<ScannedInput> {
    const input = this.#inputs.get(name);
    if (input === undefined) {
      throw new InternalError(`the graph names a local input that the build does not have: '${name}'`);
    }
    const { files, contentDigest, entries } = await this.scan(input, signal);
    return {
      files,
      contentDigest,
      summary: Object.fromEntries(
        [...entries].map(([path, { mode, sha256, link }]) => [
          path,
          link === undefined ? `${mode.toString(8).padStart(4, '0')} ${sha256}` : `-> ${link}`,
        ]),
      ),
    };
  }
}
