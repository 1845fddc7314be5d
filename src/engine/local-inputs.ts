/** The local inputs of one build: each is scanned once, when somebody first asks. */

import { InternalError } from '../errors.ts';
import type { LocalInput } from '../frontend/fluent/local-input.ts';
import type { LocalInputs, ScannedInput } from '../ops/op-context.ts';

export class BuildInputs implements LocalInputs {
  readonly #inputs = new Map<string, LocalInput>();
  readonly #scans = new Map<string, Promise<ScannedInput>>();
  readonly #scan: (input: LocalInput, signal: AbortSignal) => Promise<ScannedInput>;

  constructor(scan: (input: LocalInput, signal: AbortSignal) => Promise<ScannedInput>) {
    this.#scan = scan;
  }

  add(inputs: ReadonlyMap<string, LocalInput>): void {
    for (const [name, input] of inputs) {
      this.#inputs.set(name, input);
    }
  }

  scanned(name: string, signal: AbortSignal): Promise<ScannedInput> {
    const input = this.#inputs.get(name);
    if (input === undefined) {
      throw new InternalError(`the graph names a local input that the build does not have: '${name}'`);
    }
    let scan = this.#scans.get(name);
    if (scan === undefined) {
      scan = this.#scan(input, signal);
      this.#scans.set(name, scan);
    }
    return scan;
  }
}
