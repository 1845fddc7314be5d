/** Actions on a root filesystem, committed as one layer. */
import { join } from 'node:path';
import type { Json } from '../base/canonical-json.ts';
import { InternalError, StepError } from '../errors.ts';
import type { Action, Chmod, ExecAction, Mount } from '../graph/action.ts';
import type { Vertex } from '../graph/vertex.ts';
import type { KeyField, LayerId, Op, OpContext, Result } from '../solver/op.ts';
import type { StepInput } from '../worker/protocol.ts';
import { workerEvents } from '../worker/worker-events.ts';
import type { LocalInputs, OpTools, SecretValues } from './op-context.ts';
import { operationOf } from './operation-of.ts';

export interface BuildOpOptions extends OpTools {
  readonly inputs: LocalInputs;
  readonly secrets: SecretValues;
  /** Variables that every step sees and no key does, such as TSBUILD_IS_BUILD. */
  readonly lentEnv: Readonly<Record<string, string>>;
}

export function buildOp(options: BuildOpOptions): Op {
  return {
    version: 2,
    cacheKeyFields: (vertex) =>
      operationOf(vertex, 'build').actions.map((action, index) => ({
        name: `${action.kind} ${index + 1}`,
        value: keyOf(action),
      })) satisfies KeyField[],
    execute: (vertex, inputs, context) => execute(options, vertex, inputs, context),
  };
}

async function execute(
  options: BuildOpOptions,
  vertex: Vertex,
  inputs: readonly Result[],
  { signal, emit, resultId }: OpContext,
): Promise<Result> {
  const { actions } = operationOf(vertex, 'build');
  const parents = layersOf(inputs[0]);
  const layer = resultId as LayerId;
  const context = { signal, emit: (event: Parameters<typeof emit>[0]) => emit(withVertex(event, vertex)) };
  if (actions.some(({ kind }) => kind === 'exec')) {
    // Copying needs no emulator: an image that only holds files is built anywhere.
    await options.ensureExecutable(vertex.platform, parents, context);
  }
  const [stepInputs, secrets] = await Promise.all([
    Promise.all(inputs.map((input, index) => stepInput(options, vertex, input, index, signal))),
    secretsOf(actions, options.secrets),
  ]);
  const stacks = inputs.flatMap((input) => (input.kind === 'rootfs' ? [input.layers] : []));
  await Promise.all(stacks.map((stack) => options.layers.ensureSnapshots(stack, context)));
  const worker = await options.worker();
  try {
    await worker.call(
      'step',
      {
        layer,
        parents,
        actions,
        inputs: stepInputs,
        secrets,
        logPath: join(options.storeDir, 'logs', `${resultId}.log`),
        lentEnv: options.lentEnv,
      },
      { signal, onEvent: workerEvents(emit, vertex.digest) },
    );
  } catch (error) {
    throw atLayer(error, vertex);
  }
  options.records.put(layer, parents, true);
  return { kind: 'rootfs', layers: [...parents, layer] };
}

/** Says which call of the chain a failed step belongs to. */
function atLayer(error: unknown, vertex: Vertex): unknown {
  return error instanceof StepError
    ? new StepError(`${vertex.label}: ${error.message}`, {
        ...error,
        code: error.code,
        layer: vertex.origin?.layer,
        cause: error.cause,
      })
    : error;
}

/** What the key sees of an action, field by field. Absent: time limits, lent tools, secret values, secret ids. */
function keyOf(action: Action): Json {
  switch (action.kind) {
    case 'exec':
      return execKey(action);
    case 'copy': {
      const { input, source, destination, owner, modes, times, select, unpack } = action;
      return {
        input,
        source,
        destination,
        owner,
        modes: modesKey(modes),
        times,
        ...(select === undefined ? {} : { select: { ...select } }),
        ...(unpack === true ? { unpack } : {}),
      };
    }
    case 'mkdir': {
      const { path, mode, owner } = action;
      return { path, mode, owner };
    }
    case 'mkfile': {
      const { path, name, mode, owner, data } = action;
      return { path, name: name ?? null, mode: modesKey(mode), owner, data };
    }
    case 'rm': {
      const { path, allowMissing } = action;
      return { path, allowMissing };
    }
  }
}

function modesKey<T extends string | number>(modes: T | Chmod): Json {
  return typeof modes === 'object' ? { chmod: modes.chmod } : modes;
}

function execKey(action: ExecAction): Json {
  const { argv, env, cwd, user, network, security, hostname, extraHosts, ulimits, devices } = action;
  return {
    argv,
    env: env.map(([name, value]) => [name, value]),
    cwd,
    user,
    network,
    mounts: action.mounts.map(mountKey),
    secretEnv: action.secretEnv.map(({ name, identity, optional }) =>
      optional === true ? [name, identity, 'optional'] : [name, identity],
    ),
    // Only what was asked for: a key of a step that asks for none of it does not change when more can be asked for.
    ...(security === 'insecure' ? { security } : {}),
    ...(hostname === undefined ? {} : { hostname }),
    ...(extraHosts === undefined ? {} : { extraHosts: extraHosts.map(([name]) => name) }),
    ...(ulimits === undefined ? {} : { ulimits: ulimits.map(({ name, soft, hard }) => [name, soft, hard]) }),
    ...(devices === undefined ? {} : { devices: devices.map(({ name, required }) => [name, required]) }),
  };
}

/** The id and the sharing of a cache mount are not in the key: what the cache holds must not matter to the result. */
function mountKey(mount: Mount): Json {
  switch (mount.kind) {
    case 'cache': {
      const { kind, target, seed, readOnly } = mount;
      return {
        kind,
        target,
        ...(seed === undefined ? {} : { seed: { ...seed } }),
        ...(readOnly === true ? { readOnly } : {}),
      };
    }
    case 'tmpfs':
      return { kind: mount.kind, target: mount.target };
    case 'bind': {
      const { kind, input, source, target, readOnly } = mount;
      return { kind, input, source, target, readOnly };
    }
    case 'inline': {
      const { kind, target, mode, data } = mount;
      return { kind, target, mode, data };
    }
    case 'ssh': {
      const { kind, id, target, mode, uid, gid, required } = mount;
      return { kind, id, target, mode, uid, gid, required };
    }
    case 'secret': {
      const { kind, identity, target, mode, uid, gid, required } = mount;
      return { kind, identity, target, mode, uid, gid, required };
    }
  }
}

async function stepInput(
  { inputs }: BuildOpOptions,
  vertex: Vertex,
  result: Result,
  index: number,
  signal: AbortSignal,
): Promise<StepInput> {
  if (index === 0) {
    return { kind: 'none' };
  }
  if (result.kind === 'rootfs') {
    return { kind: 'layers', layers: result.layers };
  }
  const source = vertex.inputs[index]?.vertex;
  if (source === undefined) {
    throw new InternalError(`vertex '${vertex.label}' has no input ${index}`);
  }
  const { files } = await inputs.scanned(operationOf(source, 'source-local').input, signal);
  return { kind: 'files', files };
}

async function secretsOf(
  actions: readonly Action[],
  read: SecretValues,
): Promise<Record<string, Readonly<Record<string, string>>>> {
  const ids = new Set<string>();
  for (const action of actions) {
    if (action.kind === 'exec') {
      for (const variable of action.secretEnv) {
        ids.add(variable.secretId);
      }
      for (const mount of action.mounts) {
        if (mount.kind === 'secret') {
          ids.add(mount.secretId);
        }
      }
    }
  }
  return Object.fromEntries(await Promise.all([...ids].map(async (id) => [id, await read(id)] as const)));
}

function layersOf(result: Result | undefined): readonly LayerId[] {
  if (result === undefined) {
    return [];
  }
  if (result.kind !== 'rootfs') {
    throw new InternalError('the first input of a build vertex must be a root filesystem');
  }
  return result.layers;
}

function withVertex(
  event: Parameters<OpContext['emit']>[0],
  vertex: Vertex,
): Parameters<OpContext['emit']>[0] {
  return event.kind === 'progress' && event.vertex === undefined
    ? { ...event, vertex: vertex.digest }
    : event;
}
