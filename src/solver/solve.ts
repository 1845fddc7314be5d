/**
 * From a graph to results.
 *
 * Work is demanded from the tips upwards: a vertex whose result is known needs none of its inputs, so a hit three steps
 * down touches nothing above it. The key of a vertex holds its inputs' result ids; these follow from the inputs' own keys,
 * so that keys are known before anything ran. Where running an input gave another id after all (it was found by content),
 * the key is computed again.
 *
 * A known result may be a promise: its layers are in a registry until somebody needs them. When a step finds that one of
 * them is gone, the results that are made of it are forgotten and the steps that made them run.
 */
import { delay } from '../base/abort.ts';
import { InternalError, RemoteError } from '../errors.ts';
import type { Operation, Vertex } from '../graph/vertex.ts';
import { topologicalOrder } from '../graph/vertex.ts';
import type { Digest } from '../oci/digest.ts';
import { cacheKey, fieldsDigest, resultIdOf } from './cache-key.ts';
import type { BuildEvent, CacheMiss, Emit, EventDraft } from './event.ts';
import { explainMiss } from './explain.ts';
import type { CacheRecord, CacheStore, KeyField, Op, OpContext, Result } from './op.ts';
import { Semaphore } from './semaphore.ts';

export type Ops = { readonly [K in Operation['kind']]: Op };

export interface SolveOptions {
  readonly ops: Ops;
  readonly cache: CacheStore;
  /** How many steps run at a time. */
  readonly jobs: number;
  readonly signal: AbortSignal;
  readonly onEvent: (event: BuildEvent) => void;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  /** A fresh random text for each forced result. */
  readonly generation: () => string;
  /**
   * `use`: the usual. `force`: look nothing up, overwrite the records. `ignore`: look nothing up and record nothing
   * (Image API, B3).
   */
  readonly cacheMode: 'use' | 'force' | 'ignore';
  /** Called before anything runs, with the id that each vertex's result is going to have unless it is found by content. */
  readonly onKeys?: (resultIds: ReadonlyMap<Digest, string>) => void;
  /** Called as soon as a vertex has its result, so that work on it can begin while others run. */
  readonly onResult?: (vertex: Vertex, solved: Solved) => void;
}

export interface Solved {
  readonly result: Result;
  readonly resultId: string;
  /** Reused, by definition or by content. */
  readonly cached: boolean;
  /** Of the run that made it. */
  readonly durationMs: number;
}

export interface Solution {
  /** Of the tips and of whatever had to be looked at for them, by vertex digest. */
  readonly solved: ReadonlyMap<Digest, Solved>;
  /** Of every vertex of the graph, also of those above a hit. */
  readonly resultIds: ReadonlyMap<Digest, string>;
  /** Every vertex of the graph, inputs before those who read them. */
  readonly known: readonly KnownVertex[];
}

export interface KnownVertex {
  readonly vertex: Vertex;
  readonly fieldsDigest: string;
  /** What it results in, found or made. A vertex above a hit was not looked at, and has one only if the cache does. */
  readonly record: CacheRecord | undefined;
}

/**
 * Finds or makes the results of `tips`.
 *
 * When a step fails, the others are cancelled and waited for; the first failure is thrown. On cancellation
 * `signal.reason` is thrown. Either way nothing of an unfinished step stays.
 */
export async function solve(tips: readonly Vertex[], options: SolveOptions): Promise<Solution> {
  const solver = new Solver(tips, options);
  return await solver.run(tips);
}

/**
 * The record of local files says nothing but what explains it, which is long, and nothing that they result in is in the store: whoever takes
 * them begins first.
 */
const RECORD_AFTER_MS = 10;

interface Keyed {
  readonly fields: readonly KeyField[];
  readonly fieldsDigest: string;
  /** From inputs' expected result ids. */
  readonly key: string;
  readonly expectedId: string;
  readonly record: CacheRecord | undefined;
  readonly inputIds: readonly string[];
  readonly forced: boolean;
  /** This or something that it is built on is forced: nothing here may be reused by content. */
  readonly tainted: boolean;
}

class Solver {
  readonly #options: SolveOptions;
  readonly #order: readonly Vertex[];
  readonly #keyed = new Map<Digest, Promise<Keyed>>();
  readonly #solved = new Map<Digest, Promise<Solved>>();
  readonly #results = new Map<Digest, Solved>();
  readonly #records = new Map<Digest, CacheRecord>();
  readonly #reportedCached = new Set<Digest>();
  readonly #reportedLost = new Set<string>();
  /** A step runs because what it once made was lost. */
  #remakes = false;
  /** What is written down beside the work of others. */
  readonly #recording: Promise<void>[] = [];
  readonly #slots: Semaphore;
  readonly #abort = new AbortController();
  readonly #signal: AbortSignal;
  #failure: { readonly error: unknown } | undefined;

  constructor(tips: readonly Vertex[], options: SolveOptions) {
    this.#options = options;
    this.#order = topologicalOrder(tips);
    this.#slots = new Semaphore(options.jobs);
    this.#signal = AbortSignal.any([options.signal, this.#abort.signal]);
  }

  async run(tips: readonly Vertex[]): Promise<Solution> {
    const startMs = this.#options.now();
    this.#send({
      kind: 'plan',
      vertices: this.#order.map((vertex) => ({
        digest: vertex.digest,
        label: vertex.label,
        inputs: vertex.inputs.map((edge) => edge.vertex.digest),
        ...(vertex.origin === undefined ? {} : { layer: vertex.origin.layer }),
        ...(vertex.origin?.definition === undefined ? {} : { definition: vertex.origin.definition }),
      })),
    });
    if (this.#options.onKeys !== undefined) {
      const keyed = await Promise.all(
        this.#order.map(async (vertex) => [vertex.digest, await this.#keyOf(vertex)] as const),
      );
      this.#options.onKeys(new Map(keyed.map(([digest, { expectedId }]) => [digest, expectedId])));
    }
    await Promise.allSettled(tips.map((tip) => this.#demand(tip)));
    await Promise.all(this.#recording);
    this.#options.signal.throwIfAborted();
    if (this.#failure !== undefined) {
      throw this.#failure.error;
    }
    this.#send({ kind: 'built', durationMs: this.#options.now() - startMs });
    const resultIds = new Map<Digest, string>();
    const known: KnownVertex[] = [];
    for (const vertex of this.#order) {
      const { expectedId, fieldsDigest, record } = await this.#keyOf(vertex);
      resultIds.set(vertex.digest, this.#results.get(vertex.digest)?.resultId ?? expectedId);
      known.push({ vertex, fieldsDigest, record: this.#records.get(vertex.digest) ?? record });
    }
    return { solved: this.#results, resultIds, known };
  }

  #demand(vertex: Vertex): Promise<Solved> {
    let solved = this.#solved.get(vertex.digest);
    if (solved === undefined) {
      solved = this.#solve(vertex).then(
        (value) => {
          this.#results.set(vertex.digest, value);
          this.#options.onResult?.(vertex, value);
          return value;
        },
        (error: unknown) => {
          this.#fail(error);
          throw error;
        },
      );
      this.#solved.set(vertex.digest, solved);
    }
    return solved;
  }

  /** The first failure is the one to show; what fails after it was cancelled because of it. */
  #fail(error: unknown): void {
    this.#failure ??= { error };
    this.#abort.abort(error);
  }

  async #solve(vertex: Vertex): Promise<Solved> {
    const lost = new Set<string>();
    for (;;) {
      try {
        return await this.#attempt(vertex);
      } catch (error) {
        if (!isLost(error)) {
          throw error;
        }
        // Lost again: what was run instead did not bring it back.
        if (this.#signal.aborted || lost.has(error.message) || !(await this.#forgetLost())) {
          const outcome = this.#signal.aborted ? 'cancelled' : 'failed';
          this.#send({ kind: 'vertex-finished', vertex: vertex.digest, outcome, durationMs: 0 });
          throw error.cause ?? error;
        }
        lost.add(error.message);
        this.#warnOfLoss(vertex, error);
      }
    }
  }

  /**
   * Forgets whatever is made of layers that the cache no longer holds.
   *
   * @returns Whether a step can be run instead, now or already on behalf of another that needs it. An image that its
   *   registry lost cannot be made again.
   */
  async #forgetLost(): Promise<boolean> {
    for (const vertex of this.#order) {
      const keyed = this.#keyed.get(vertex.digest);
      const record = (await keyed)?.record;
      const result = this.#results.get(vertex.digest)?.result ?? record?.result;
      const isCurrent = this.#keyed.get(vertex.digest) === keyed;
      if (result !== undefined && isCurrent && !this.#options.cache.holds(result)) {
        this.#keyed.delete(vertex.digest);
        this.#solved.delete(vertex.digest);
        this.#results.delete(vertex.digest);
        this.#records.delete(vertex.digest);
        this.#remakes ||= canBeMade(vertex);
      }
    }
    return this.#remakes;
  }

  #warnOfLoss(vertex: Vertex, error: Error): void {
    if (!this.#reportedLost.has(error.message)) {
      this.#reportedLost.add(error.message);
      this.#send({
        kind: 'warning',
        vertex: vertex.digest,
        code: 'W_CACHE_LOST',
        message: `${error.message}; what made it runs again`,
      });
    }
  }

  async #attempt(vertex: Vertex): Promise<Solved> {
    const expected = await this.#keyOf(vertex);
    if (expected.record !== undefined) {
      return this.#reuse(vertex, expected.record, 'cached');
    }
    const inputs = await Promise.all(vertex.inputs.map((edge) => this.#demand(edge.vertex)));
    const inputIds = inputs.map((input) => input.resultId);
    const key = cacheKey(expected.fieldsDigest, inputIds);
    if (!expected.forced && key !== expected.key && this.#options.cacheMode === 'use') {
      const record = this.#options.cache.lookup(key);
      if (record !== undefined) {
        return this.#reuse(vertex, record, 'cached');
      }
    }
    if (!expected.tainted) {
      const same = await this.#findByContent(vertex, expected.fieldsDigest, inputs);
      if (same !== undefined) {
        const record = { ...same, key, inputs: inputIds };
        this.#options.cache.put(record);
        return this.#reuse(vertex, record, 'content');
      }
    }
    return await this.#slots.run(this.#signal, () => this.#execute(vertex, expected, key, inputs));
  }

  /** Fields, key and known record of a vertex; nothing runs for it. */
  #keyOf(vertex: Vertex): Promise<Keyed> {
    let keyed = this.#keyed.get(vertex.digest);
    if (keyed === undefined) {
      keyed = this.#computeKey(vertex);
      this.#keyed.set(vertex.digest, keyed);
    }
    return keyed;
  }

  async #computeKey(vertex: Vertex): Promise<Keyed> {
    const { cacheMode, cache } = this.#options;
    const op = this.#opOf(vertex);
    const [fields, inputs] = await Promise.all([
      op.cacheKeyFields(vertex, this.#signal),
      Promise.all(vertex.inputs.map((edge) => this.#keyOf(edge.vertex))),
    ]);
    const digest = fieldsDigest(vertex, op.version, fields);
    const inputIds = inputs.map((input) => input.expectedId);
    const key = cacheKey(digest, inputIds);
    const forced = cacheMode !== 'use' || vertex.force === true;
    const record = forced ? undefined : cache.lookup(key);
    const expectedId = record?.resultId ?? resultIdOf(key, forced ? this.#options.generation() : '');
    const tainted = forced || inputs.some((input) => input.tainted);
    return { fields, fieldsDigest: digest, key, expectedId, record, inputIds, forced, tainted };
  }

  async #findByContent(
    vertex: Vertex,
    fields: string,
    inputs: readonly Solved[],
  ): Promise<CacheRecord | undefined> {
    const { cache } = this.#options;
    const candidates = inputs.length === 0 ? [] : cache.lookupByFields(fields);
    if (candidates.length === 0) {
      return undefined;
    }
    for (const candidate of candidates) {
      const old = candidate.inputs.map((id) => cache.resultById(id));
      if (await this.#sameContents(vertex, old, inputs)) {
        return candidate;
      }
    }
    return undefined;
  }

  async #sameContents(
    vertex: Vertex,
    old: readonly (Result | undefined)[],
    inputs: readonly Solved[],
  ): Promise<boolean> {
    const op = this.#opOf(vertex);
    for (const [index, input] of inputs.entries()) {
      const before = old[index];
      if (
        before === undefined ||
        !(await this.#options.cache.sameContent(
          before,
          input.result,
          this.#signal,
          op.reads?.(vertex, index),
        ))
      ) {
        return false;
      }
    }
    return true;
  }

  async #execute(vertex: Vertex, keyed: Keyed, key: string, inputs: readonly Solved[]): Promise<Solved> {
    const { cache, cacheMode, now } = this.#options;
    const lock = await cache.lock(key, this.#signal);
    let until: Promise<void> | undefined;
    try {
      // Another process may have done it while we waited for the lock.
      const meanwhile = keyed.forced ? undefined : cache.lookup(key);
      if (meanwhile !== undefined) {
        return this.#reuse(vertex, meanwhile, 'cached');
      }
      const inputIds = inputs.map((input) => input.resultId);
      const site = siteOf(vertex);
      const last = cache.lastAtSite(site);
      // Afterwards: what explains it may be long, and nobody waits for that.
      const explain = async () => {
        const fields = await explainedFields(keyed.fields);
        const miss = explainMiss({
          forced: keyed.forced,
          everHad: cache.everHad(key),
          last,
          fields,
          inputs: inputIds,
          inputLabels: vertex.inputs.map((edge) => edge.vertex.label),
        });
        return { fields, miss };
      };
      const resultId = keyed.forced ? keyed.expectedId : resultIdOf(key);
      const startMs = now();
      this.#send({ kind: 'vertex-started', vertex: vertex.digest });
      const run = { resultId, forced: keyed.forced, ...(last === undefined ? {} : { last: last.result }) };
      const result = await this.#runOp(vertex, inputs, run, startMs, explain);
      const durationMs = now() - startMs;
      const record = async () => {
        const { fields, miss } = await explain();
        const { fieldsDigest } = keyed;
        const made = { key, resultId, result, fieldsDigest, fields, inputs: inputIds, site, durationMs };
        this.#records.set(vertex.digest, made);
        if (cacheMode !== 'ignore') {
          cache.put(made);
        }
        this.#send({ kind: 'vertex-finished', vertex: vertex.digest, outcome: 'done', durationMs, miss });
      };
      if (result.kind === 'files') {
        this.#recordLater(delay(RECORD_AFTER_MS).then(record));
      } else {
        // Once the step that goes on from the result has begun. Whoever waits for the lock looks for the record first.
        const turn = new Promise((resolve) => setImmediate(resolve));
        until = this.#recordLater(turn.then(record));
      }
      return { result, resultId, cached: false, durationMs };
    } finally {
      if (until === undefined) {
        lock.release();
      } else {
        void until.then(() => lock.release());
      }
    }
  }

  /** The build ends when all is recorded, and what cannot be recorded fails it. */
  #recordLater(recorded: Promise<void>): Promise<void> {
    const ended = recorded.catch((error: unknown) => this.#fail(error));
    this.#recording.push(ended);
    return ended;
  }

  async #runOp(
    vertex: Vertex,
    inputs: readonly Solved[],
    run: Pick<OpContext, 'resultId' | 'forced' | 'last'>,
    startMs: number,
    explain: () => Promise<{ readonly miss: CacheMiss }>,
  ): Promise<Result> {
    const emit: Emit = (event) => this.#send(event);
    try {
      return await this.#opOf(vertex).execute(
        vertex,
        inputs.map((input) => input.result),
        { signal: this.#signal, emit, ...run },
      );
    } catch (error) {
      if (isLost(error)) {
        throw error;
      }
      const durationMs = this.#options.now() - startMs;
      // A step that failed because of what would explain it has failed of that.
      const explained = this.#signal.aborted ? undefined : await explain().catch(() => undefined);
      this.#send({
        kind: 'vertex-finished',
        vertex: vertex.digest,
        outcome: this.#signal.aborted ? 'cancelled' : 'failed',
        durationMs,
        ...(explained === undefined ? {} : { miss: explained.miss }),
      });
      throw error;
    }
  }

  #reuse(vertex: Vertex, record: CacheRecord, outcome: 'cached' | 'content'): Solved {
    for (const edge of vertex.inputs) {
      this.#reportCached(edge.vertex);
    }
    this.#reportedCached.add(vertex.digest);
    this.#records.set(vertex.digest, record);
    this.#send({ kind: 'vertex-finished', vertex: vertex.digest, outcome, durationMs: 0 });
    return { result: record.result, resultId: record.resultId, cached: true, durationMs: record.durationMs };
  }

  /** What a hit stands on was not looked at; for the person who watches, it is cached. */
  #reportCached(vertex: Vertex): void {
    if (this.#reportedCached.has(vertex.digest) || this.#solved.has(vertex.digest)) {
      return;
    }
    this.#reportedCached.add(vertex.digest);
    for (const edge of vertex.inputs) {
      this.#reportCached(edge.vertex);
    }
    this.#send({ kind: 'vertex-finished', vertex: vertex.digest, outcome: 'cached', durationMs: 0 });
  }

  #opOf(vertex: Vertex): Op {
    const op = this.#options.ops[vertex.operation.kind];
    if (op === undefined) {
      throw new InternalError(`no op for '${vertex.operation.kind}'`);
    }
    return op;
  }

  #send(event: EventDraft): void {
    this.#options.onEvent({ timeMs: this.#options.now(), ...event } as BuildEvent);
  }
}

function explainedFields(fields: readonly KeyField[]): Promise<readonly KeyField[]> {
  return Promise.all(
    fields.map(async ({ name, value, explained }) => ({
      name,
      value: explained === undefined ? value : await explained(),
    })),
  );
}

/** A layer of an input cannot be had any more. Whoever says so has made the cache forget it. */
function isLost(error: unknown): error is RemoteError {
  return error instanceof RemoteError && error.code === 'E_BLOB_GONE';
}

function canBeMade({ operation: { kind } }: Vertex): boolean {
  return kind !== 'source-image' && kind !== 'source-oci-layout' && kind !== 'source-stored';
}

/** Which step of which definition: stable while its content changes. */
function siteOf(vertex: Vertex): string {
  const { origin } = vertex;
  const { kind } = vertex.operation;
  // One call may read several local files; their labels are the files' names, which stay while their content changes.
  const which = origin === undefined || kind === 'source-local' ? ` ${vertex.label}` : '';
  const at = origin?.position === undefined ? '' : `.${origin.position}`;
  return `${origin?.definition ?? ''}#${origin?.layer ?? ''}${at} ${origin?.method ?? ''} ${kind}${which}`;
}
