/** Actions on a root filesystem, committed as one layer. */
import { randomUUID } from 'node:crypto';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { Json } from '../base/canonical-json.ts';
import { DefinitionError, InternalError, StepError } from '../errors.ts';
import type { Action, Chmod, ExecAction, GpuRequest, Mount, ResourceLimits } from '../graph/action.ts';
import { idOfBuildSecret } from '../graph/secret-id.ts';
import type { Vertex } from '../graph/vertex.ts';
import type { BlobWish, OnNewBlob } from '../layer/layer-store.ts';
import type { KeyField, LayerId, Op, OpContext, PathRead, Result } from '../solver/op.ts';
import type {
  CompressResult,
  GpuPolicy,
  LimitsToKeep,
  ProgramDefaults,
  SshAgentSocket,
  StepInput,
  StepParams,
  StepResult,
  WireFunction,
  WireSecret,
} from '../worker/protocol.ts';
import { workerEvents } from '../worker/worker-events.ts';
import { FailingStep, type StepFailures } from './failing-step.ts';
import type {
  AgentSockets,
  FunctionCalls,
  HttpFileContents,
  LocalInputs,
  OpTools,
  SecretValues,
  VolumeUses,
} from './op-context.ts';
import { operationOf } from './operation-of.ts';
import { refuseMusl } from './refuse-musl.ts';
import { httpInput } from './source-http.ts';

export interface BuildOpOptions extends OpTools {
  readonly inputs: LocalInputs;
  readonly httpFiles: HttpFileContents;
  readonly secrets: SecretValues;
  readonly agents: AgentSockets;
  readonly volumes: VolumeUses;
  readonly functions: FunctionCalls;
  /** Variables that every step sees and no key does, such as TSBUILD_IS_BUILD. */
  readonly lentEnv: Readonly<Record<string, string>>;
  /** What requests for GPUs take. In no key. */
  readonly gpuPolicy: GpuPolicy;
  /** What programs get that do not say, and where limits can be kept. In no key. */
  readonly programs: {
    readonly defaults: ProgramDefaults;
    keep(limits: readonly (ResourceLimits | undefined)[]): LimitsToKeep;
  };
  /** The path of a file for something unfinished. */
  readonly scratchFile: (name: string) => string;
  /** @defaultValue what a failed step leaves is thrown away */
  readonly failures?: StepFailures;
  /**
   * The form in which somebody waits for the blob of a vertex's layer, while nobody in the build mounts it.
   *
   * @defaultValue layers are made as snapshots
   */
  readonly shipped?: (vertex: Vertex) => BlobWish | undefined;
  /** As {@link LayerContext} has it. */
  readonly onNewBlob?: OnNewBlob | undefined;
}

/** Made for one build: what a forced step drops is dropped once, for all steps that share it. */
export function buildOp(options: BuildOpOptions): Op {
  const dropped = new Map<string, Promise<unknown>>();
  return {
    version: 2,
    cacheKeyFields: (vertex) =>
      operationOf(vertex, 'build').actions.map((action, index) => ({
        name: `${action.kind} ${index + 1}`,
        value: keyOf(action),
      })) satisfies KeyField[],
    reads: (vertex, input) =>
      input === 0 ? undefined : readsOf(operationOf(vertex, 'build').actions, input),
    async execute(vertex, inputs, context) {
      const unfinished: string[] = [];
      const scratchFile = (name: string) => {
        const path = options.scratchFile(name);
        unfinished.push(path);
        return path;
      };
      try {
        return await execute({ ...options, dropped, scratchFile }, vertex, inputs, context);
      } finally {
        await Promise.all(unfinished.map((path) => rm(path, { force: true })));
      }
    },
  };
}

/** Undefined when more counts than what is at a path and below it. */
function readsOf(actions: readonly Action[], input: number): readonly PathRead[] | undefined {
  const reads: PathRead[] = [];
  for (const action of actions) {
    if (action.kind === 'copy' && action.input === input) {
      const { source, select } = action;
      if (select?.parents === true) {
        // Directories on the way are made as they are in the source.
        return undefined;
      }
      reads.push({ source, ...(select === undefined ? {} : { select }) });
    }
    for (const mount of action.kind === 'exec' ? action.mounts : []) {
      if (mount.kind === 'bind' && mount.input === input) {
        reads.push({ source: mount.source });
      } else if (mount.kind === 'cache' && mount.seed?.input === input) {
        reads.push({ source: mount.seed.source });
      }
    }
  }
  return reads;
}

interface Execution extends BuildOpOptions {
  /** Cache mounts by id. */
  readonly dropped: Map<string, Promise<unknown>>;
}

async function execute(
  options: Execution,
  vertex: Vertex,
  inputs: readonly Result[],
  { signal, emit, resultId, forced, last }: OpContext,
): Promise<Result> {
  const { actions } = operationOf(vertex, 'build');
  const parents = layersOf(inputs[0]);
  const layer = resultId as LayerId;
  const before = last?.kind === 'rootfs' ? last.layers.at(-1) : undefined;
  if (before !== undefined) {
    options.layers.succeeds(layer, before);
  }
  const context = { signal, emit: (event: Parameters<typeof emit>[0]) => emit(withVertex(event, vertex)) };
  // While it starts, what the step needs is looked for.
  const starting = options.worker();
  starting.catch(() => undefined);
  if (actions.some(({ kind }) => kind === 'exec')) {
    // Copying needs no emulator: an image that only holds files is built anywhere.
    await options.ensureExecutable(vertex.platform, parents, context);
  }
  const [stepInputs, secrets, agents, functions] = await Promise.all([
    Promise.all(inputs.map((input, index) => stepInput(options, vertex, input, index, context))),
    secretsOf(actions, options.secrets, (warning) =>
      emit({ kind: 'warning', vertex: vertex.digest, ...warning }),
    ),
    agentsOf(actions, options.agents),
    functionsOf(actions, options.functions, signal),
  ]).catch((error: unknown) => {
    throw atLayer(error, vertex);
  });
  checkRequired(actions, secrets);
  const stacks = inputs.flatMap((input) => (input.kind === 'rootfs' ? [input.layers] : []));
  await Promise.all(stacks.map((stack) => options.layers.ensureSnapshots(stack, context)));
  const worker = await starting;
  if (forced) {
    await dropCaches(options.dropped, actions, (ids) =>
      worker.call('removeMounts', { ids, whenInUse: 'detach' }, { signal }),
    );
  }
  const volumes = volumesOf(actions, options.volumes);
  const failing = new FailingStep(options.failures, vertex, signal, (error) =>
    atLayer(
      error instanceof StepError && error.remoteStack !== undefined ? options.functions.locate(error) : error,
      vertex,
    ),
  );
  const forward = workerEvents(emit, vertex.digest);
  const wish = onlyCopiesFiles(vertex, stepInputs) ? options.shipped?.(vertex) : undefined;
  const blob = wish === undefined ? undefined : options.layers.blobParams(layer, wish);
  let result: StepResult;
  try {
    await refuseMusl(vertex, parents, worker, signal);
    const working = worker.call(
      'step',
      {
        layer,
        parents,
        actions,
        inputs: stepInputs,
        secrets,
        agents,
        volumes,
        ...(functions === undefined ? {} : { functions }),
        logPath: join(options.storeDir, 'logs', `${resultId}.log`),
        lentEnv: options.lentEnv,
        gpuPolicy: options.gpuPolicy,
        defaults: options.programs.defaults,
        keep: options.programs.keep(
          execsOf(actions).flatMap((action) => [options.programs.defaults.limits, action.limits]),
        ),
        ...(blob === undefined ? {} : { blob }),
        ...failing.params,
      },
      {
        signal,
        onSession: failing.onSession,
        onEvent: (event) => {
          failing.hear(event);
          forward(event);
        },
      },
    );
    if (blob?.previous !== undefined) {
      options.onNewBlob?.(blob.output, working.then(blobOf));
    }
    result = await working;
  } catch (error) {
    throw await failing.failed(error, { parents, inputs: stepInputs, volumes });
  }
  options.records.put(layer, parents, result.blob === undefined);
  if (wish !== undefined && blob !== undefined && result.blob !== undefined) {
    await options.layers.adopt(layer, wish, blob.output, result.blob);
  }
  return { kind: 'rootfs', layers: [...parents, layer] };
}

/** @throws {InternalError} where it had to be a snapshot; nobody is told of that. */
function blobOf({ blob }: StepResult): CompressResult {
  if (blob === undefined) {
    throw new InternalError('the step made a snapshot');
  }
  return blob;
}

/** What the worker can write as a blob without a snapshot. */
function onlyCopiesFiles(vertex: Vertex, inputs: readonly StepInput[]): boolean {
  const [action, ...more] = operationOf(vertex, 'build').actions;
  return (
    action?.kind === 'copy' &&
    more.length === 0 &&
    action.unpack !== true &&
    ['files', 'index'].includes(inputs[action.input]?.kind ?? '')
  );
}

/** Says which call of the chain, or which lines of a Dockerfile, a failed step belongs to. */
function atLayer(error: unknown, vertex: Vertex): unknown {
  const source = vertex.origin?.source;
  if (error instanceof DefinitionError && error.line === undefined && source !== undefined) {
    return new DefinitionError(error.message, {
      code: error.code,
      hint: error.hint,
      cause: error.cause,
      ...source,
    });
  }
  return error instanceof StepError
    ? new StepError(`${vertex.label}: ${error.message}`, {
        ...error,
        code: error.code,
        layer: vertex.origin?.layer,
        ...source,
        cause: error.cause,
      })
    : error;
}

/** What the key sees of an action, field by field. Absent: limits of all kinds, retries, which network it is, lent tools, secret values, secret ids. */
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
  const { argv, env, cwd, user, network, security, hostname, extraHosts, ulimits, devices, gpus, call } =
    action;
  return {
    ...(call === undefined ? { argv } : { call: { key: call.key, runtime: call.runtime } }),
    env: env.map(([name, value]) => [name, value]),
    cwd,
    user,
    network: network === 'none' ? 'none' : 'host',
    mounts: action.mounts.map(mountKey),
    secretEnv: action.secretEnv.map(secretVariableKey),
    // Only what was asked for: a key of a step that asks for none of it does not change when more can be asked for.
    ...(security === 'insecure' ? { security } : {}),
    ...(hostname === undefined ? {} : { hostname }),
    ...(extraHosts === undefined ? {} : { extraHosts: extraHosts.map(([name]) => name) }),
    ...(ulimits === undefined ? {} : { ulimits: ulimits.map(({ name, soft, hard }) => [name, soft, hard]) }),
    ...(devices === undefined ? {} : { devices: devices.map(({ name, required }) => [name, required]) }),
    ...(gpus === undefined ? {} : { gpus: gpus.map(gpuKey) }),
  };
}

/** Only what was asked for, here too. */
function gpuKey({ type, count, devices, memoryBytes, compute }: GpuRequest): Json {
  const more = {
    ...(devices === undefined ? {} : { devices }),
    ...(memoryBytes === undefined ? {} : { memoryBytes }),
    ...(compute === undefined ? {} : { compute }),
  };
  return Object.keys(more).length === 0 ? [type, count] : [type, count, more];
}

/** No variable is called `*`. */
function secretVariableKey(variable: ExecAction['secretEnv'][number]): Json {
  if (!('name' in variable)) {
    const { identity, except } = variable;
    return ['*', identity, except];
  }
  const { name, identity, optional } = variable;
  return optional === true ? [name, identity, 'optional'] : [name, identity];
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
    case 'volume': {
      const { kind, name, target, readOnly, subPath } = mount;
      return { kind, name, target, readOnly, ...(subPath === undefined ? {} : { subPath }) };
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
  { inputs, httpFiles, scratchFile }: BuildOpOptions,
  vertex: Vertex,
  result: Result,
  index: number,
  context: Pick<OpContext, 'signal' | 'emit'>,
): Promise<StepInput> {
  if (index === 0) {
    return { kind: 'none' };
  }
  const source = vertex.inputs[index]?.vertex;
  if (source === undefined) {
    throw new InternalError(`vertex '${vertex.label}' has no input ${index}`);
  }
  const name = `'${source.label}'`;
  if (result.kind === 'rootfs') {
    return { kind: 'layers', layers: result.layers, name };
  }
  if (source.operation.kind === 'source-http') {
    return { kind: 'files', files: [await httpInput(httpFiles, source.operation, context)], name };
  }
  const scanned = await inputs.scanned(operationOf(source, 'source-local').input, context.signal);
  if (execsOf(operationOf(vertex, 'build').actions).length === 0) {
    const path = scratchFile(`files-${randomUUID()}`);
    if ((await scanned.saveIndex?.(path)) === true) {
      return { kind: 'index', path, name };
    }
  }
  const files = await scanned.files();
  return { kind: 'files', files, name };
}

/** @throws {DefinitionError} `E_SECRET_MISSING` */
async function secretsOf(
  actions: readonly Action[],
  read: SecretValues,
  warn: (warning: { readonly code: string; readonly message: string }) => void,
): Promise<Record<string, WireSecret>> {
  /** Whether somebody requires it, by id. */
  const wanted = new Map<string, boolean>();
  const want = (secretId: string, required: boolean) =>
    wanted.set(secretId, required || wanted.get(secretId) === true);
  for (const action of execsOf(actions)) {
    for (const variable of action.secretEnv) {
      want(variable.secretId, !('name' in variable) || variable.optional !== true);
    }
    for (const mount of action.mounts) {
      if (mount.kind === 'secret') {
        want(mount.secretId, mount.required);
      }
    }
  }
  const secrets: Record<string, WireSecret> = {};
  const base64 = (value: string | Uint8Array) => Buffer.from(value as string).toString('base64');
  await Promise.all(
    [...wanted].map(async ([secretId, required]) => {
      const content = await read(secretId);
      switch (content.kind) {
        case 'value':
          secrets[secretId] = { kind: 'value', value: base64(content.bytes) };
          break;
        case 'variables': {
          const values = Object.entries(content.values).map(([name, value]) => [name, base64(value)]);
          secrets[secretId] = { kind: 'variables', values: Object.fromEntries(values) };
          content.warnings?.forEach(warn);
          break;
        }
        case 'missing':
          if (required) {
            throw secretMissing(idOfBuildSecret(secretId) ?? secretId, content.why);
          }
      }
    }),
  );
  return secrets;
}

/** @throws {DefinitionError} `E_UNDEFINED_VARIABLE` */
function checkRequired(actions: readonly Action[], secrets: Readonly<Record<string, WireSecret>>): void {
  for (const { requiredVariables = [], secretEnv } of execsOf(actions)) {
    const missing = requiredVariables.filter(
      (name) =>
        !secretEnv.some(({ secretId }) => {
          const secret = secrets[secretId];
          return secret?.kind === 'variables' && Object.hasOwn(secret.values, name);
        }),
    );
    if (missing.length > 0) {
      throw new DefinitionError(
        `${missing.map((name) => `\${${name}}`).join(', ')} is not defined by the step's secrets, its env or the image's environment`,
        { code: 'E_UNDEFINED_VARIABLE', hint: 'add it to one of the secrets of the call' },
      );
    }
  }
}

/** Undefined where no action calls one. */
async function functionsOf(
  actions: readonly Action[],
  functions: FunctionCalls,
  signal: AbortSignal,
): Promise<Readonly<Record<string, WireFunction>> | undefined> {
  const ids = execsOf(actions).flatMap(({ call }) => (call === undefined ? [] : [call.id]));
  if (ids.length === 0) {
    return undefined;
  }
  return Object.fromEntries(
    await Promise.all(ids.map(async (id) => [id, await functions.wire(id, signal)] as const)),
  );
}

function secretMissing(id: string, why: string): DefinitionError {
  return new DefinitionError(`a step requires the secret '${id}': ${why}`, {
    code: 'E_SECRET_MISSING',
    hint: `give it with --secret id=${id},src=FILE or --secret id=${id},env=VARIABLE`,
  });
}

/** @throws {DefinitionError} `E_SSH_MISSING` */
async function agentsOf(
  actions: readonly Action[],
  find: AgentSockets,
): Promise<Record<string, SshAgentSocket>> {
  const agents: Record<string, SshAgentSocket> = {};
  for (const { mounts } of execsOf(actions)) {
    for (const mount of mounts) {
      if (mount.kind !== 'ssh' || Object.hasOwn(agents, mount.id)) {
        continue;
      }
      const agent = await find(mount.id);
      if (agent !== undefined) {
        agents[mount.id] = agent;
      } else if (mount.required) {
        throw new DefinitionError(
          `a step requires the ssh agent '${mount.id}', which was not given to the build`,
          {
            code: 'E_SSH_MISSING',
            hint: `give it with --ssh ${mount.id === 'default' ? 'default' : `${mount.id}=PATH`}`,
          },
        );
      }
    }
  }
  return agents;
}

function volumesOf(actions: readonly Action[], use: VolumeUses): NonNullable<StepParams['volumes']> {
  return Object.fromEntries(
    execsOf(actions).flatMap(({ mounts }) =>
      mounts.flatMap((mount) => (mount.kind === 'volume' ? [[mount.volume, use(mount.volume)]] : [])),
    ),
  );
}

/** A step that is to run as if for the first time finds no cache that an earlier build left; one of this build it does. */
async function dropCaches(
  dropped: Map<string, Promise<unknown>>,
  actions: readonly Action[],
  drop: (ids: readonly string[]) => Promise<unknown>,
): Promise<void> {
  const ids = execsOf(actions).flatMap(({ mounts }) =>
    mounts.flatMap((mount) => (mount.kind === 'cache' ? [mount.id] : [])),
  );
  const fresh = [...new Set(ids)].filter((id) => !dropped.has(id));
  if (fresh.length > 0) {
    const dropping = drop(fresh);
    for (const id of fresh) {
      dropped.set(id, dropping);
    }
  }
  await Promise.all(ids.map((id) => dropped.get(id)));
}

function execsOf(actions: readonly Action[]): readonly ExecAction[] {
  return actions.filter((action) => action.kind === 'exec');
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
