import { describe, expect, test } from 'vitest';
import { RemoteError } from '../../../src/errors.ts';
import { firstOutput, type Vertex, vertex } from '../../../src/graph/vertex.ts';
import type { BuildEvent } from '../../../src/solver/event.ts';
import type { LayerId, Op, OpContext, Result } from '../../../src/solver/op.ts';
import { type Ops, type Solution, type SolveOptions, solve } from '../../../src/solver/solve.ts';
import { MemoryCache } from '../../support/memory-cache.ts';

const platform = { os: 'linux', architecture: 'amd64' };

/** A vertex that runs `command` on `parents`. */
function step(
  command: string,
  parents: readonly Vertex[] = [],
  extra: { force?: boolean; layer?: number } = {},
): Vertex {
  return vertex(
    {
      kind: 'build',
      actions: [
        {
          kind: 'exec',
          argv: [command],
          env: [],
          cwd: '/',
          user: '',
          network: 'none',
          mounts: [],
          secretEnv: [],
          lend: [],
        },
      ],
    },
    parents.map(firstOutput),
    {
      platform,
      label: command,
      origin: { method: 'runCommands', layer: extra.layer ?? parents.length, definition: 'test' },
      ...(extra.force === undefined ? {} : { force: extra.force }),
    },
  );
}

interface Harness {
  readonly cache: MemoryCache;
  readonly ran: string[];
  readonly events: BuildEvent[];
  /** What a command does; the default commits a layer named by the result id. */
  behaviour: (command: string, inputs: readonly Result[], context: OpContext) => Promise<Result>;
  run(
    tips: readonly Vertex[],
    options?: Partial<SolveOptions> & { readonly onSolution?: (solution: Solution) => void },
  ): Promise<Solution['solved']>;
}

function harness(cache = new MemoryCache()): Harness {
  const ran: string[] = [];
  const events: BuildEvent[] = [];
  let clock = 0;
  let generations = 0;
  const commandOf = (of: Vertex) =>
    of.operation.kind === 'build' && of.operation.actions[0]?.kind === 'exec'
      ? (of.operation.actions[0].argv[0] ?? '')
      : '';
  const op: Op = {
    version: 1,
    cacheKeyFields: (of) => [{ name: 'command', value: commandOf(of) }],
    execute: async (of, inputs, context) => {
      ran.push(commandOf(of));
      return await self.behaviour(commandOf(of), inputs, context);
    },
  };
  const ops = Object.fromEntries(
    [
      'build',
      'scratch',
      'source-image',
      'source-oci-layout',
      'source-debian',
      'source-local',
      'source-tool',
    ].map((kind) => [kind, op]),
  ) as unknown as Ops;
  const self: Harness = {
    cache,
    ran,
    events,
    behaviour: async (_command, inputs, { resultId }) => ({
      kind: 'rootfs',
      layers: [...(inputs[0]?.kind === 'rootfs' ? inputs[0].layers : []), resultId as LayerId],
    }),
    run: async (tips, { onSolution, ...options } = {}) => {
      const solution = await solve(tips, {
        ops,
        cache,
        jobs: 4,
        signal: new AbortController().signal,
        onEvent: (event) => events.push(event),
        now: () => ++clock,
        generation: () => `generation ${++generations}`,
        cacheMode: 'use',
        ...options,
      });
      onSolution?.(solution);
      return solution.solved;
    },
  };
  return self;
}

const outcomes = (events: readonly BuildEvent[], tips: readonly Vertex[]) =>
  tips.map((tip) => {
    const finished = events.filter(
      (event) => event.kind === 'vertex-finished' && event.vertex === tip.digest,
    );
    expect(finished).toHaveLength(1);
    return finished[0]?.kind === 'vertex-finished' ? finished[0].outcome : undefined;
  });

describe('solve', () => {
  test('runs a chain in order, and nothing the second time', async () => {
    const { run, ran } = harness();
    const a = step('a');
    const b = step('b', [a]);
    const first = await run([b]);
    const second = await run([b]);
    expect(ran).toEqual(['a', 'b']);
    expect(second.get(b.digest)?.result).toEqual(first.get(b.digest)?.result);
    expect(second.get(b.digest)?.cached).toBe(true);
  });

  test('runs identical vertices once, also when two tips need them', async () => {
    const { run, ran } = harness();
    await run([step('x', [step('base')]), step('y', [step('base')])]);
    expect([...ran].sort()).toEqual(['base', 'x', 'y']);
    expect(ran[0]).toBe('base');
  });

  test('a hit needs none of what it stands on, and reports it as cached', async () => {
    const { run, ran, cache, events } = harness();
    const a = step('a');
    const b = step('b', [a]);
    const solved = await run([b]);
    // The parent's record goes, as prune might take it; the child's stays.
    for (const record of cache.records.values()) {
      if (record.resultId !== solved.get(b.digest)?.resultId) {
        cache.forget(record.key);
      }
    }
    ran.length = 0;
    events.length = 0;
    await run([b]);
    expect(ran).toEqual([]);
    expect(outcomes(events, [a, b])).toEqual(['cached', 'cached']);
  });

  test('a changed step runs again with everything after it, nothing before it', async () => {
    const { run, ran } = harness();
    const a = step('a');
    await run([step('c', [step('b', [a])])]);
    ran.length = 0;
    await run([step('c', [step('b2', [a])])]);
    expect(ran).toEqual(['b2', 'c']);
  });

  test('a step whose input turned out equal is not run, and keeps its old id', async () => {
    // Whatever `b` and `b2` do, they leave the same content.
    const contents = new Map<string, string>();
    const self = harness(new MemoryCache({ contentOf: (layer) => contents.get(layer) ?? layer }));
    self.behaviour = async (command, inputs, { resultId }) => {
      contents.set(resultId, command.startsWith('b') ? 'same' : resultId);
      return {
        kind: 'rootfs',
        layers: [...(inputs[0]?.kind === 'rootfs' ? inputs[0].layers : []), resultId as LayerId],
      };
    };
    const a = step('a');
    const first = step('c', [step('b', [a])]);
    const second = step('c', [step('b2', [a])]);
    const before = await self.run([first]);
    self.ran.length = 0;
    self.events.length = 0;
    const after = await self.run([second]);
    expect(self.ran).toEqual(['b2']);
    expect(outcomes(self.events, [second])).toEqual(['content']);
    expect(after.get(second.digest)?.resultId).toBe(before.get(first.digest)?.resultId);
    // And now it is known by definition.
    self.ran.length = 0;
    await self.run([second]);
    expect(self.ran).toEqual([]);
  });

  test('a forced step and all that follow run again; what is before may hit; later builds use the new ones', async () => {
    const { run, ran } = harness();
    const plain = step('c', [step('b', [step('a')])]);
    const old = await run([plain]);
    ran.length = 0;
    const forced = step('c', [step('b', [step('a')], { force: true })]);
    const fresh = await run([forced]);
    expect(ran).toEqual(['b', 'c']);
    expect(fresh.get(forced.digest)?.resultId).not.toBe(old.get(plain.digest)?.resultId);
    ran.length = 0;
    const later = await run([plain]);
    expect(ran).toEqual([]);
    expect(later.get(plain.digest)?.resultId).toBe(fresh.get(forced.digest)?.resultId);
  });

  test('what follows a forced step is not reused by content', async () => {
    const self = harness(new MemoryCache({ contentOf: () => 'same' }));
    await self.run([step('c', [step('b')])]);
    self.ran.length = 0;
    await self.run([step('c', [step('b', [], { force: true })])]);
    expect(self.ran).toEqual(['b', 'c']);
  });

  test('ignoring the cache runs everything and records nothing', async () => {
    const { run, ran, cache } = harness();
    const tip = step('b', [step('a')]);
    const normal = await run([tip]);
    const records = structuredClone([...cache.records.values()]);
    ran.length = 0;
    const ignored = await run([tip], { cacheMode: 'ignore' });
    expect(ran).toEqual(['a', 'b']);
    expect(ignored.get(tip.digest)?.resultId).not.toBe(normal.get(tip.digest)?.resultId);
    expect([...cache.records.values()]).toEqual(records);
  });

  test('runs at most `jobs` steps at a time, and as many as it may', async () => {
    const self = harness();
    let running = 0;
    let most = 0;
    self.behaviour = async (_command, _inputs, { resultId }) => {
      running += 1;
      most = Math.max(most, running);
      await new Promise((resolve) => setImmediate(resolve));
      running -= 1;
      return { kind: 'rootfs', layers: [resultId as LayerId] };
    };
    await self.run(
      ['a', 'b', 'c', 'd', 'e'].map((command) => step(command)),
      { jobs: 2 },
    );
    expect(most).toBe(2);
  });

  test('the first failure is thrown, others are cancelled and waited for, no lock stays', async () => {
    const self = harness();
    const cancelled: string[] = [];
    self.behaviour = async (command, _inputs, { signal }) => {
      if (command === 'bad') {
        throw new Error('step failed');
      }
      await new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }));
      cancelled.push(command);
      throw signal.reason;
    };
    const tips = [step('slow'), step('bad')];
    await expect(self.run(tips)).rejects.toThrow('step failed');
    expect(cancelled).toEqual(['slow']);
    expect(outcomes(self.events, tips)).toEqual(['cancelled', 'failed']);
    expect(self.cache.locked.size).toBe(0);
    expect(self.cache.records.size).toBe(0);
  });

  test('a step begins before the last one is recorded, and nobody else begins that one until then', async () => {
    const self = harness();
    const { behaviour } = self;
    const seen: unknown[] = [];
    self.behaviour = async (command, ...rest) => {
      seen.push([command, self.cache.records.size, self.cache.locked.size]);
      return await behaviour(command, ...rest);
    };
    const first = step('first');
    await self.run([step('second', [first])]);
    expect(seen).toEqual([
      ['first', 0, 1],
      ['second', 0, 2],
    ]);
    expect(self.cache.records.size).toBe(2);
    expect(self.cache.locked.size).toBe(0);
  });

  test('what was done is recorded, also if the next step fails at once', async () => {
    const self = harness();
    const { behaviour } = self;
    self.behaviour = async (command, ...rest) => {
      if (command === 'bad') {
        throw new Error('step failed');
      }
      return await behaviour(command, ...rest);
    };
    const good = step('good');
    const tips = [step('bad', [good])];
    await expect(self.run(tips)).rejects.toThrow('step failed');
    expect(outcomes(self.events, [good, ...tips])).toEqual(['done', 'failed']);
    expect(self.cache.records.size).toBe(1);
    expect(self.cache.locked.size).toBe(0);
    await expect(self.run(tips)).rejects.toThrow('step failed');
    expect(self.ran).toEqual(['good', 'bad', 'bad']);
  });

  test('what cannot be recorded fails the build, and no lock stays', async () => {
    const self = harness();
    self.cache.put = () => {
      throw new Error('disk full');
    };
    await expect(self.run([step('b', [step('a')])])).rejects.toThrow('disk full');
    expect(self.cache.locked.size).toBe(0);
  });

  test('cancellation rethrows the reason, also of those that wait for a slot', async () => {
    const self = harness();
    const abort = new AbortController();
    const reason = new Error('stop');
    self.behaviour = async (_command, _inputs, { signal }) => {
      abort.abort(reason);
      throw signal.reason;
    };
    await expect(self.run([step('a'), step('b')], { jobs: 1, signal: abort.signal })).rejects.toBe(reason);
    expect(self.ran).toEqual(['a']);
  });

  test('says why a step was not reused', async () => {
    const self = harness();
    const missOf = (events: readonly BuildEvent[], of: Vertex) => {
      const event = events.find((each) => each.kind === 'vertex-finished' && each.vertex === of.digest);
      return event?.kind === 'vertex-finished' ? event.miss : undefined;
    };
    const first = step('b', [step('a', [], { layer: 0 })], { layer: 1 });
    await self.run([first]);
    expect(missOf(self.events, first)).toEqual({ reason: 'new', differences: [] });
    const changed = step('b2', [step('a', [], { layer: 0 })], { layer: 1 });
    await self.run([changed]);
    expect(missOf(self.events, changed)).toEqual({
      reason: 'changed',
      differences: [{ field: 'command', before: 'b', after: 'b2' }],
    });
    const input = step('b2', [step('a2', [], { layer: 0 })], { layer: 1 });
    await self.run([input]);
    expect(missOf(self.events, input)).toEqual({ reason: 'input', differences: [{ field: "input 'a2'" }] });
    const forced = step('b3', [], { force: true });
    await self.run([forced]);
    expect(missOf(self.events, forced)?.reason).toBe('forced');
    const key = [...self.cache.records.values()].at(-1)?.key ?? '';
    self.cache.forget(key);
    self.events.length = 0;
    await self.run([step('b3')]);
    expect(missOf(self.events, forced)?.reason).toBe('gone');
  });

  describe('when a layer of a known result is gone', () => {
    /** Results of `a` to `d` are known; the layer of `a` turns out to be nowhere when a step needs it. */
    async function promised() {
      const self = harness();
      const a = step('a');
      const [b, c, d] = [step('b', [a]), step('c', [a]), step('d')];
      await self.run([b, c, d]);
      const lost = layerOf(self, a);
      self.ran.length = 0;
      self.events.length = 0;
      const make = self.behaviour;
      let dropped = false;
      self.behaviour = async (command, inputs, context) => {
        if (
          inputs.some((input) => input.kind === 'rootfs' && input.layers.includes(lost)) &&
          command !== 'a'
        ) {
          self.cache.dropLayer(lost);
          dropped = true;
          throw new RemoteError(`no '${lost}'`, { code: 'E_BLOB_GONE', cause: new Error('not found') });
        }
        const made = await make(command, inputs, context);
        // What is made instead has another name, as a step has another than what came from elsewhere.
        return made.kind === 'rootfs' && dropped && command === 'a'
          ? { kind: 'rootfs', layers: ['remade' as LayerId] }
          : made;
      };
      return { self, a, b, d };
    }
    const layerOf = (self: Harness, of: Vertex) => {
      const record = [...self.cache.records.values()].find(({ fields }) => fields[0]?.value === of.label);
      return (record?.result.kind === 'rootfs' ? record.result.layers.at(-1) : '') as LayerId;
    };

    test('what made it runs, and nothing else that is known', async () => {
      const { self, a, d } = await promised();
      const [e, f] = [step('e', [a]), step('f', [a, d])];
      const solved = await self.run([e, f]);
      expect(self.ran.filter((command) => command === 'a')).toHaveLength(1);
      expect(self.ran).not.toContain('d');
      expect(solved.get(e.digest)?.result).toMatchObject({ layers: ['remade', expect.any(String)] });
      expect(solved.get(f.digest)?.result).toMatchObject({ layers: ['remade', expect.any(String)] });
      expect(outcomes(self.events, [e, f])).toEqual(['done', 'done']);
      expect(self.events.filter(({ kind }) => kind === 'warning')).toHaveLength(1);
      // And is known from then on.
      self.ran.length = 0;
      await self.run([e, f]);
      expect(self.ran).toEqual([]);
    });

    test('it does not matter to a hit that needs no layer', async () => {
      const { self, b } = await promised();
      await self.run([b]);
      expect(self.ran).toEqual([]);
    });

    test('with one job at a time too', async () => {
      const { self, a } = await promised();
      await self.run([step('e', [a]), step('f', [a])], { jobs: 1 });
      expect(self.ran.filter((command) => command === 'a')).toHaveLength(1);
    });

    test('a step that loses it again fails with the reason', async () => {
      const { self, a } = await promised();
      self.behaviour = async (command, inputs, context) => {
        if (command === 'a') {
          return { kind: 'rootfs', layers: [context.resultId as LayerId] };
        }
        const [lost] = inputs.flatMap((input) => (input.kind === 'rootfs' ? input.layers : []));
        self.cache.dropLayer(lost ?? '');
        throw new RemoteError('never there', { code: 'E_BLOB_GONE', cause: new Error('not found') });
      };
      const e = step('e', [a]);
      await expect(self.run([e])).rejects.toThrow('not found');
      expect(outcomes(self.events, [e])).toEqual(['failed']);
    });

    test('an image cannot be made again: no second try', async () => {
      const self = harness();
      const base = vertex(
        { kind: 'source-image', reference: 'r/a:1', manifestDigest: step('any').digest },
        [],
        { platform, label: 'base' },
      );
      self.behaviour = async (_command, inputs, { resultId }) => {
        const [input] = inputs;
        if (input?.kind === 'rootfs') {
          self.cache.dropLayer(input.layers[0] ?? '');
          throw new RemoteError('gone', { code: 'E_BLOB_GONE', cause: new Error('not found') });
        }
        return { kind: 'rootfs', layers: [resultId as LayerId] };
      };
      await expect(self.run([step('a', [base])])).rejects.toThrow('not found');
      expect(self.ran).toEqual(['', 'a']);
      expect(self.events.filter(({ kind }) => kind === 'warning')).toEqual([]);
    });
  });

  test('tells what it knows of every vertex, also above a hit', async () => {
    const self = harness();
    const [a, other] = [step('a'), step('other')];
    const tip = step('c', [step('b', [a]), other]);
    const solveIt = async () => {
      let known: Solution['known'] = [];
      await self.run([tip], { onSolution: (solution) => (known = solution.known) });
      return known.map(({ vertex: { label }, record }) => [label, record?.key]);
    };
    const first = await solveIt();
    expect(first.map(([label]) => label)).toEqual(['a', 'b', 'other', 'c']);
    expect(first.every(([, key]) => self.cache.records.has(key ?? ''))).toBe(true);
    expect(await solveIt()).toEqual(first);
    self.cache.forget(first[1]?.[1] ?? '');
    expect((await solveIt())[1]).toEqual(['b', undefined]);
  });

  test('another process that did the step while we waited for the lock is believed', async () => {
    const self = harness();
    const tip = step('a');
    const done = await self.run([tip]);
    const [record] = [...self.cache.records.values()];
    const fresh = harness();
    fresh.cache.lock = async () => {
      if (record !== undefined) {
        fresh.cache.put(record);
      }
      return { release: () => undefined };
    };
    const solved = await fresh.run([tip]);
    expect(fresh.ran).toEqual([]);
    expect(solved.get(tip.digest)?.resultId).toBe(done.get(tip.digest)?.resultId);
  });
});
