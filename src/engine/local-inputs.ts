/** The local inputs of one build: each directory is scanned once, however many ask. */
import { canonicalJson } from '../base/canonical-json.ts';
import { listingOf } from '../base/listing.ts';
import { DefinitionError, InternalError } from '../errors.ts';
import {
  type ContextInput,
  contextIdentity,
  contextInputName,
  usesOnlyGivenFiles,
} from '../frontend/dockerfile/context-input.ts';
import { withPlace } from '../frontend/dockerfile/definition-place.ts';
import { inputName, type LocalInput } from '../frontend/fluent/local-input.ts';
import type { ContextFiles, ContextTools } from '../local/found-context.ts';
import { laterFiles } from '../local/later-files.ts';
import { type ContextContent, ScannedContext } from '../local/scan-context.ts';
import { type ScannedInput as Scan, scanInput } from '../local/scan-input.ts';
import type { ScanStore } from '../local/scan-memory.ts';
import type { StatCache } from '../local/stat-cache.ts';
import { native } from '../native/addon.ts';
import type { LocalInputs, ScannedInput } from '../ops/op-context.ts';

export interface BuildInputsOptions {
  /** May ask of every input of the build, when its files are known, which changed late. Not of what containers get when they start. */
  readonly check?: (filesLaterThan: (ns: bigint) => readonly string[]) => void;
  /** As {@link ContextTools} has it. */
  readonly scans?: ScanStore;
  /** As {@link ContextTools} has it. */
  readonly onChanged?: () => void;
}

export class BuildInputs implements LocalInputs {
  readonly #statCache: StatCache;
  readonly #now: () => number;
  readonly #check: (filesLaterThan: (ns: bigint) => readonly string[]) => void;
  readonly #inputs = new Map<string, LocalInput | ContextInput>();
  readonly #scans = new Map<string, Promise<Scan>>();
  /** By directory and ignore file; many declarations share one. */
  readonly #contexts = new Map<string, Promise<ScannedContext>>();
  readonly #contextFiles = new Map<string, Promise<ContextContent>>();
  readonly #scanTools: Pick<ContextTools, 'scans' | 'onChanged'>;

  constructor(
    statCache: StatCache,
    now: () => number,
    { check = () => undefined, scans, onChanged }: BuildInputsOptions = {},
  ) {
    this.#scanTools = {
      ...(scans === undefined ? {} : { scans }),
      ...(onChanged === undefined ? {} : { onChanged }),
    };
    this.#check = check;
    this.#statCache = statCache;
    this.#now = now;
  }

  scan(input: LocalInput, signal: AbortSignal): Promise<Scan> {
    const name = this.add(input);
    return once(this.#scans, name, async () => {
      const scanned = await scanInput(input, this.#tools(signal));
      this.#check((ns) => laterFiles(scanned.files, ns));
      return scanned;
    });
  }

  /** What a container gets when it starts is as it is then. */
  async mounted(input: LocalInput, signal: AbortSignal): Promise<Scan> {
    return await scanInput(input, this.#tools(signal));
  }

  /** The files that a declaration selects of its context. */
  async contextFiles(input: ContextInput, signal: AbortSignal): Promise<ContextFiles> {
    return await (await this.#contextContent(input, signal)).list();
  }

  /**
   * Begins to look at a context of which an earlier scan is remembered. The walk takes as long as reading the Dockerfile and working out
   * what its instructions mean, and runs beside that.
   */
  expect(context: Omit<ContextInput, 'kind' | 'selections'>, signal: AbortSignal): void {
    const tools = this.#tools(signal);
    try {
      if (!ScannedContext.isRemembered(context, tools)) {
        return;
      }
    } catch {
      // Whoever needs it is told.
      return;
    }
    once(this.#contexts, canonicalJson(contextIdentity(context)), () =>
      ScannedContext.scan(context, tools),
    ).catch(() => undefined);
  }

  #contextContent(input: ContextInput, signal: AbortSignal): Promise<ContextContent> {
    const name = this.add(input);
    return once(this.#contextFiles, name, async () => {
      const whole = usesOnlyGivenFiles(input) ? { ...input, parts: [] } : input;
      const context = await once(this.#contexts, canonicalJson(contextIdentity(whole)), () =>
        ScannedContext.scan(whole, this.#tools(signal)),
      );
      try {
        const content = await context.content(input.selections, this.#tools(signal));
        const list = async () => {
          const found = await content.list();
          this.#check(found.later);
          return found;
        };
        if (!content.isRemembered) {
          await list();
        }
        return { ...content, list };
      } catch (error) {
        throw error instanceof DefinitionError && error.line === undefined && input.place !== undefined
          ? withPlace(error, input.place.text, input.place.location)
          : error;
      }
    });
  }

  /**
   * Makes an input known by its name, for the graph's vertices.
   *
   * @returns The name.
   */
  add(input: LocalInput | ContextInput): string {
    const name = 'kind' in input ? contextInputName(input) : inputName(input);
    this.#inputs.set(name, input);
    return name;
  }

  async scanned(name: string, signal: AbortSignal): Promise<ScannedInput> {
    const input = this.#inputs.get(name);
    if (input === undefined) {
      throw new InternalError(`the graph names a local input that the build does not have: '${name}'`);
    }
    if ('kind' in input) {
      const { contentDigest, list } = await this.#contextContent(input, signal);
      return {
        contentDigest,
        files: async () => (await list()).files,
        listing: async () => (await list()).listing,
        saveIndex: async (path) => {
          const { saveIndex } = await list();
          await saveIndex?.(path);
          return saveIndex !== undefined;
        },
      };
    }
    const { files, contentDigest, entries } = await this.scan(input, signal);
    return {
      files: async () => files,
      contentDigest,
      listing: async () =>
        listingOf(
          [...entries].map(([path, { mode, sha256, link }]) => [
            path,
            link === undefined ? `${mode.toString(8).padStart(4, '0')} ${sha256}` : `-> ${link}`,
          ]),
        ),
    };
  }

  #tools(signal: AbortSignal) {
    return {
      native: native(),
      statCache: this.#statCache,
      ...this.#scanTools,
      now: () => BigInt(this.#now()) * 1_000_000n,
      signal,
    };
  }
}

function once<V>(made: Map<string, Promise<V>>, key: string, make: () => Promise<V>): Promise<V> {
  let value = made.get(key);
  if (value === undefined) {
    value = make();
    made.set(key, value);
  }
  return value;
}
