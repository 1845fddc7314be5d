/** A graph of two stages: what `mode=min` and `mode=max` keep, and what a hit needs of the stage that it copied from. */
import { randomUUID } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { assembleParts } from '../../src/engine/assemble-parts.ts';
import { DEFAULT_WISH } from '../../src/engine/build-images.ts';
import { exportCaches } from '../../src/engine/cache-export.ts';
import { importCaches } from '../../src/engine/cache-import.ts';
import type { CacheSource, CacheTarget } from '../../src/engine/cache-options.ts';
import { Dockerfiles } from '../../src/engine/dockerfiles.ts';
import { BuildInputs } from '../../src/engine/local-inputs.ts';
import { makeOps } from '../../src/engine/make-ops.ts';
import { Programs } from '../../src/engine/programs.ts';
import { Store } from '../../src/engine/store.ts';
import { WorkerOnDemand } from '../../src/engine/worker-on-demand.ts';
import { inputName, type LocalInput } from '../../src/frontend/fluent/local-input.ts';
import { type Action, ROOT_OWNER } from '../../src/graph/action.ts';
import { firstOutput, type Vertex, vertex } from '../../src/graph/vertex.ts';
import { hostPlatform } from '../../src/oci/platform.ts';
import { readSettings } from '../../src/settings.ts';
import type { BuildEvent } from '../../src/solver/event.ts';
import { solve } from '../../src/solver/solve.ts';
import { busyboxPath } from '../support/busybox.ts';
import { TestRegistry } from '../support/registry.ts';
import { lacks } from '../support/requires.ts';

const platform = hostPlatform();
const SHELL: LocalInput = {
  expects: 'file',
  hostPath: busyboxPath(),
  fileAt: '/sh',
  directoryAt: '/',
  filter: { kind: 'none' },
};

const built = (label: string, actions: readonly Action[], inputs: readonly Vertex[]) =>
  vertex({ kind: 'build', actions }, inputs.map(firstOutput), {
    platform,
    label,
    origin: { method: 'RUN', layer: inputs.length, definition: '/here/Dockerfile' },
  });
const copy = (source: string, destination: string): Action => ({
  kind: 'copy',
  input: 1,
  source,
  destination,
  owner: ROOT_OWNER,
  modes: 'normalise',
  times: 'epoch',
});
const run = (label: string, script: string, on: Vertex) =>
  built(
    label,
    [
      {
        kind: 'exec',
        argv: ['/bin/sh', '-c', script],
        env: [['PATH', '/bin']],
        cwd: '/',
        user: '',
        network: 'none',
        mounts: [],
        secretEnv: [],
        lend: [],
      },
    ],
    [on],
  );

/** `make` compiles in two steps; the image copies what came out onto a linked base. */
function graph(last = 'echo last > /last') {
  const scratch = vertex({ kind: 'scratch' }, [], { platform, label: 'scratch' });
  const files = vertex({ kind: 'source-local', input: inputName(SHELL) }, [], { platform, label: 'files' });
  const base = built('base', [copy('/sh', '/bin/sh')], [scratch, files]);
  const tools = run('tools', 'echo tools > /tools', base);
  const made = run('made', 'cat /tools > /made; echo made >> /made', tools);
  const linked = built('linked', [copy('/made', '/made')], [scratch, made]);
  const merged = vertex({ kind: 'merge' }, [base, linked].map(firstOutput), { platform, label: 'merged' });
  return { made, linked, tip: run('last', last, merged) };
}

describe.skipIf(lacks('root', 'bwrap', 'busybox'))('a graph of two stages', () => {
  let directory: string;
  const open: AsyncDisposable[] = [];
  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'tsbuild-cache-stages-'));
  });
  afterEach(async () => {
    for (const each of open.splice(0).reverse()) {
      await each[Symbol.asyncDispose]();
    }
    rmSync(directory, { recursive: true, force: true });
  });

  /** What an engine is made of, without the Image API. */
  function machine(name: string) {
    const events: BuildEvent[] = [];
    const environment = { PATH: process.env.PATH, HOME: directory };
    const store = Store.open(join(directory, name), Date.now);
    const onEvent = (event: BuildEvent) => events.push(event);
    const { signal } = new AbortController();
    const settings = readSettings(environment);
    const worker = new WorkerOnDemand({
      storeDir: store.dir,
      environment,
      settings,
      hostCa: 'never',
      signal,
    });
    const parts = assembleParts({
      store,
      settings,
      environment,
      programs: new Programs({}, 'warn'),
      worker: () => worker.get(),
      jobs: 2,
      onEvent,
      now: Date.now,
      signal,
    });
    open.push({
      async [Symbol.asyncDispose]() {
        await worker.close();
        await parts.registries.close();
        store.close();
      },
    });
    const emit = (event: object) => onEvent({ timeMs: 0, ...event } as BuildEvent);
    const context = { signal, emit };
    return {
      async build(tip: Vertex, from: readonly CacheSource[], to: readonly CacheTarget[]) {
        events.length = 0;
        await importCaches(parts, from, platform, ['/there/Dockerfile'], context);
        const inputs = new BuildInputs(store.stats, Date.now);
        await using dockerfiles = new Dockerfiles(parts, {
          ...context,
          again: false,
          severalPlatforms: false,
        });
        inputs.add(SHELL);
        const { solved, known } = await solve([tip], {
          ops: makeOps(parts, [], inputs, dockerfiles.openSources, dockerfiles.given),
          cache: parts.cache,
          jobs: 2,
          signal,
          onEvent,
          now: Date.now,
          generation: randomUUID,
          cacheMode: 'use',
        });
        const result = solved.get(tip.digest)?.result;
        const stack = result?.kind === 'rootfs' ? result.layers : [];
        await exportCaches(
          parts,
          { known, tips: [stack], images: [], definitions: ['/here/Dockerfile'] },
          to,
          context,
        );
        const blobs = await parts.layers.describeBlobs(stack, DEFAULT_WISH, context);
        const labels = new Map(known.map(({ vertex: each }) => [each.digest, each.label]));
        return {
          ran: events.flatMap((event) =>
            event.kind === 'vertex-started' ? [labels.get(event.vertex) ?? ''] : [],
          ),
          layers: blobs.map(({ digest }) => digest),
        };
      },
    };
  }

  test('min keeps what the image is made of, max also the stage; a hit needs neither stage nor layers', async () => {
    await using registry = await TestRegistry.start();
    const refOf = (mode: 'min' | 'max'): CacheSource & CacheTarget => ({
      type: 'registry',
      ref: `${registry.host}/${mode}:1`,
    });
    const { tip, made, linked } = graph();
    const first = await machine('a').build(
      tip,
      [],
      [
        { ...refOf('min'), mode: 'min' },
        { ...refOf('max'), mode: 'max' },
      ],
    );
    expect(first.ran.toSorted()).toEqual(
      ['base', 'files', 'last', 'linked', 'made', 'merged', 'scratch', 'tools'].toSorted(),
    );
    // The cache's config, and a blob for each layer.
    expect(registry.repository('min').blobs.size).toBe(1 + 3);
    expect(registry.repository('max').blobs.size).toBe(1 + 5);
    for (const mode of ['min', 'max'] as const) {
      registry.requests.length = 0;
      const hit = await machine(`hit-${mode}`).build(tip, [refOf(mode)], []);
      expect(hit).toEqual({ ran: [], layers: first.layers });
      expect(registry.count('GET', /blobs/)).toBe(1);
    }
    // A new last step needs the image's layers: one more GET each than the config's, and none for the stage.
    for (const mode of ['min', 'max'] as const) {
      registry.requests.length = 0;
      const changed = await machine(`changed-${mode}`).build(
        graph('echo new > /last').tip,
        [refOf(mode)],
        [],
      );
      expect(changed.ran).toEqual(['last']);
      expect(registry.count('GET', /blobs/)).toBe(1 + 2);
    }
    // The stage itself is known with max alone.
    expect((await machine('stage-max').build(made, [refOf('max')], [])).ran).toEqual([]);
    expect((await machine('stage-min').build(made, [refOf('min')], [])).ran).toEqual(['tools', 'made']);
    // What was made without seeing a base is known by itself.
    expect((await machine('linked-min').build(linked, [refOf('min')], [])).ran).toEqual([]);
  });
});
