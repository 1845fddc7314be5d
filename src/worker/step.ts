/** Makes a layer: the stack below is prepared, the actions are done in order, what changed is committed. */
import type { Stats } from 'node:fs';
import { join, posix } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { releaseAll } from '../base/release-all.ts';
import { backoffMs } from '../base/retry.ts';
import { DefinitionError, InternalError, StepError, TsbuildError } from '../errors.ts';
import type { DeviceEdits } from '../executor/device-edits.ts';
import { LENT_DIR } from '../executor/lent.ts';
import type { OwnedTree } from '../executor/owners.ts';
import { type ProgramMount, type ProgramSpec, runProgram } from '../executor/run-program.ts';
import type { Outcome, SandboxKind } from '../executor/sandbox.ts';
import { StepOutput } from '../executor/step-output.ts';
import type { CacheSeed, ExecAction, Mount, SecretVariable, WholeSecret } from '../graph/action.ts';
import { native } from '../native/addon.ts';
import { callNative } from '../native/call-native.ts';
import { fromNative } from '../native/error.ts';
import { maskSecrets } from '../secret/mask.ts';
import type { Prepared } from '../snapshot/driver.ts';
import { resolveInTree } from '../snapshot/resolve.ts';
import { changedTree } from './changed-tree.ts';
import type { RequestContext, WorkerContext } from './context.ts';
import { copyFromInput } from './copy.ts';
import { copyToBlob } from './copy-to-blob.ts';
import { devicesFor, warnOfLoader } from './devices.ts';
import { attend, runInFailed } from './failed-step.ts';
import { functionError, type PreparedCall, prepareCall } from './function-call.ts';
import { limitsFor, warnOfLoopbackProxies } from './limits.ts';
import { makeDirectory, makeFile } from './make.ts';
import { warnOfPretence } from './pretence.ts';
import type { RunInFailedParams, RunResult, StepParams, StepResult, WireSecret } from './protocol.ts';
import { filesWithValues } from './secrets-in-layer.ts';
import { stepError } from './step-error.ts';
import { openInput, type StepInputTree } from './step-input.ts';

export async function runStep(
  context: WorkerContext,
  params: StepParams,
  request: RequestContext,
): Promise<StepResult> {
  if (context.snapshots.has(params.layer)) {
    return { existed: true, empty: false };
  }
  const output = new StepOutput({
    logPath: params.logPath,
    secrets: Object.values(params.secrets).flatMap(valuesOf),
    onText: (stream, text, timeMs) => request.emit({ kind: 'log', timeMs, stream, text }),
  });
  const emit: RequestContext['emit'] = (event) => {
    if (event.kind === 'warning') {
      output.note(`${event.code}: ${event.message}`);
    }
    request.emit(event);
  };
  try {
    return await attempts(context, params, { ...request, emit }, output);
  } catch (error) {
    if (error instanceof TsbuildError) {
      output.note(`${error.code}: ${error.message}`);
    }
    throw error;
  } finally {
    output.close();
  }
}

/** Each on a fresh root file system: what an attempt that failed has written is gone. */
async function attempts(
  context: WorkerContext,
  params: StepParams,
  request: RequestContext,
  output: StepOutput,
): Promise<StepResult> {
  const programs = params.actions.filter((action) => action.kind === 'exec');
  const retries = Math.max(0, ...programs.map((action) => action.retries ?? params.defaults?.retries ?? 0));
  for (let attempt = 1; ; attempt += 1) {
    try {
      // Nobody looks at what is tried again.
      const { onFailure, ...rest } = params;
      const last = attempt > retries && onFailure !== undefined;
      return await makeLayer(context, last ? { ...rest, onFailure } : rest, request, output);
    } catch (error) {
      if (attempt > retries || !(error instanceof StepError) || !MAY_PASS.includes(error.code)) {
        throw error;
      }
      const waitMs = Math.round(backoffMs(attempt, Math.random()));
      request.emit({
        kind: 'warning',
        code: 'W_STEP_RETRIED',
        message: `attempt ${attempt} of ${retries + 1} failed: ${error.message}; the next one is in ${waitMs} ms`,
      });
      await delay(waitMs, undefined, { signal: request.signal }).catch(() => request.signal.throwIfAborted());
    }
  }
}

/** What may be another time otherwise. A program that is not there, or needs more memory than it may use, fails again. */
const MAY_PASS: readonly string[] = ['E_BUILD_FAILED', 'E_BUILD_SIGNAL', 'E_BUILD_TIMEOUT'];

async function makeLayer(
  context: WorkerContext,
  params: StepParams,
  request: RequestContext,
  output: StepOutput,
): Promise<StepResult> {
  const blob =
    params.blob === undefined ? undefined : await copyToBlob(context, params, params.blob, request);
  if (blob !== undefined) {
    return { existed: false, empty: false, blob };
  }
  // What a step cannot have is said before anything of it runs, and once for all of its commands.
  const devices = new Map<string, DeviceEdits | undefined>();
  for (const wanted of params.actions.filter((action) => action.kind === 'exec')) {
    const key = devicesKey(wanted);
    if (!devices.has(key)) {
      const { gpuPolicy } = params;
      devices.set(key, await devicesFor(context, { ...wanted, gpuPolicy }, request));
    }
  }
  const prepared = await context.driver.prepare(params.parents, request.signal);
  const cleanUps: (() => Promise<void>)[] = [() => prepared.discard()];
  const step: BuildStep = { context, params, request, prepared, cleanUps, devices, trees: new Map() };
  try {
    for (const each of new Set(devices.values())) {
      if (each !== undefined) {
        warnOfLoader(prepared.root(), each, request);
      }
    }
    for (const [index, action] of params.actions.entries()) {
      request.signal.throwIfAborted();
      switch (action.kind) {
        case 'exec':
          await exec(step, action, index, output);
          break;
        case 'copy':
          await copyFromInput(
            context,
            action,
            await inputOf(step, action.input),
            changedTree(context, prepared),
            request,
          );
          break;
        case 'mkdir':
          makeDirectory(changedTree(context, prepared), action);
          break;
        case 'mkfile':
          await makeFile(context, action, changedTree(context, prepared), request);
          break;
        case 'rm':
          await remove(step, action.path, action.allowMissing);
          break;
      }
    }
    const result = await prepared.commit(params.layer);
    if (!result.existed && !result.empty) {
      await reportSecretsIn(context.snapshots.layerDir(params.layer), params.secrets, request);
    }
    return result;
  } finally {
    await releaseAll(cleanUps);
  }
}

interface Step {
  readonly context: WorkerContext;
  readonly params: Pick<
    StepParams,
    'inputs' | 'secrets' | 'agents' | 'volumes' | 'functions' | 'lentEnv' | 'defaults' | 'keep'
  >;
  readonly request: RequestContext;
  readonly prepared: Prepared;
  /** Called in reverse order, whatever happens. */
  readonly cleanUps: (() => Promise<void>)[];
  /** By what commands ask for. */
  readonly devices: ReadonlyMap<string, DeviceEdits | undefined>;
  /** Inputs that are mounted. */
  readonly trees: Map<number, StepInputTree>;
}

interface BuildStep extends Step {
  readonly params: StepParams;
}

function devicesKey({ devices, gpus }: ExecAction): string {
  return JSON.stringify([devices ?? [], gpus ?? []]);
}

/** Inputs are mounted once per step. */
async function inputOf(step: Step, number: number): Promise<StepInputTree> {
  const known = step.trees.get(number);
  if (known !== undefined) {
    return known;
  }
  const input = step.params.inputs[number];
  if (input === undefined || input.kind === 'none') {
    throw new InternalError(`the step has no input ${number}`);
  }
  const tree = await openInput(step.context, input, step.request.signal);
  step.cleanUps.push(() => tree.close());
  step.trees.set(number, tree);
  return tree;
}

async function exec(step: BuildStep, action: ExecAction, index: number, output: StepOutput): Promise<void> {
  const { context, params, request, prepared } = step;
  const { spec, call } = await programOf(step, action, output);
  let outcome: Outcome;
  let ranIn: SandboxKind | undefined;
  try {
    outcome = await runProgram(context.executor, prepared, {
      ...spec,
      onSandbox: (kind, why) => {
        ranIn = kind;
        if (why !== undefined) {
          output.note(`the sandbox is ${kind}: ${why}`);
        }
      },
    });
  } catch (error) {
    throw fromNative(error, 'cannot prepare the step');
  } finally {
    output.endExec();
  }
  if (outcome.reason !== 'exit' || outcome.exitCode !== 0) {
    const error = stepError(
      { ...action, ...spec },
      outcome,
      output,
      params.logPath,
      context.executor.ownerKeeping,
      ranIn,
    );
    const secrets = Object.values(params.secrets).flatMap(valuesOf);
    const failure = functionError(error, call?.report(), secrets);
    const { onFailure } = params;
    const program = { prepared, spec, action: index, secrets };
    const fate = await attend(context, program, failure, onFailure, request);
    if (fate === 'kept' && onFailure?.kind === 'keep') {
      await reportSecretsIn(context.snapshots.layerDir(onFailure.layer), params.secrets, request);
    }
    throw failure;
  }
}

async function programOf(
  step: Step,
  action: ExecAction,
  output: Pick<StepOutput, 'write'>,
): Promise<{ readonly spec: ProgramSpec; readonly call: PreparedCall | undefined }> {
  const { context, params, request } = step;
  const secretEnv = action.secretEnv.flatMap((variable) => secretVariables(step, variable));
  const mounts: ProgramMount[] = [];
  for (const mount of action.mounts) {
    mounts.push(...(await findMount(step, mount, action)));
  }
  const devices = step.devices.get(devicesKey(action));
  const env = [...(action.proxyEnv ?? []), ...action.env, ...secretEnv];
  const call = await callOf(step, action, env);
  const socket = mounts.find(({ kind }) => kind === 'ssh')?.target;
  const { defaults = {}, keep = {} } = params;
  const limits = limitsFor(context, { ...defaults.limits, ...action.limits }, keep, request);
  const timeoutMs = action.timeoutMs ?? defaults.timeoutMs;
  const network =
    action.network === 'host' && action.insistsOnHost !== true
      ? (defaults.network ?? 'host')
      : action.network;
  warnOfLoopbackProxies(context, network, request);
  warnOfPretence(context, request);
  const spec: ProgramSpec = {
    argv: call?.argv ?? action.argv,
    env,
    lentEnv: {
      ...params.lentEnv,
      ...call?.lentEnv,
      ...(socket === undefined ? {} : { SSH_AUTH_SOCK: socket }),
    },
    cwd: action.cwd,
    user: action.user,
    network,
    limits,
    ...(keep.cgroups === undefined ? {} : { cgroups: keep.cgroups }),
    insecure: action.security === 'insecure',
    ...(action.hostname === undefined ? {} : { hostname: action.hostname }),
    ...(action.extraHosts === undefined ? {} : { extraHosts: action.extraHosts }),
    ...(action.shmSizeBytes === undefined ? {} : { shmSizeBytes: action.shmSizeBytes }),
    ...(action.ulimits === undefined ? {} : { ulimits: action.ulimits }),
    ...(devices === undefined ? {} : { devices }),
    lend: action.lend,
    mounts: [...mounts, ...(call?.mounts ?? [])],
    ...(call === undefined ? {} : { desk: call.desk }),
    ...(timeoutMs === undefined ? {} : { timeoutMs }),
    signal: request.signal,
    onOutput: (stream, chunk) => output.write(stream, chunk),
    pressure: request.pressure,
  };
  return { spec, call };
}

/** In the file system of a failed step that was kept. What it changes is thrown away. */
export async function runInKept(
  context: WorkerContext,
  { layers, action, inputs, volumes, lentEnv, gpuPolicy, defaults, keep, ...run }: RunInFailedParams,
  request: RequestContext,
): Promise<RunResult> {
  const devices = await devicesFor(context, { ...action, gpuPolicy }, request);
  const prepared = await context.driver.prepare(layers, request.signal);
  const cleanUps: (() => Promise<void>)[] = [() => prepared.discard()];
  const params = { inputs, volumes, lentEnv, defaults, keep, secrets: {} };
  const step: Step = {
    context,
    params,
    request,
    prepared,
    cleanUps,
    devices: new Map([[devicesKey(action), devices]]),
    trees: new Map(),
  };
  try {
    const { spec } = await programOf(step, action, { write: () => undefined });
    return await runInFailed(context, { prepared, spec, secrets: [] }, run, request);
  } catch (error) {
    throw error instanceof TsbuildError ? error : fromNative(error, 'cannot open the failed step');
  } finally {
    await releaseAll(cleanUps);
  }
}

/** A literal value in a file, such as the URL with a token that `git clone` leaves in `.git/config`, goes wherever the image goes. */
async function reportSecretsIn(
  layerDir: string,
  secrets: StepParams['secrets'],
  { signal, emit }: RequestContext,
): Promise<void> {
  const values = Object.values(secrets).flatMap(valuesOf);
  const { files, count } = await filesWithValues(layerDir, values, signal);
  if (count > 0) {
    // A name may hold one too.
    const names = maskSecrets(files.map((file) => `'${file}'`).join(', '), values);
    const more = count > files.length ? ` and ${count - files.length} more` : '';
    const message = `the value of a secret is in the layer, in ${names}${more}; remove it in the same step`;
    emit({ kind: 'warning', code: 'W_SECRET_IN_LAYER', message });
  }
}

async function callOf(
  { context, params, request, prepared, cleanUps }: Step,
  { call }: ExecAction,
  env: readonly (readonly [string, string | Buffer])[],
): Promise<PreparedCall | undefined> {
  if (call === undefined) {
    return undefined;
  }
  const wire = params.functions?.[call.id];
  if (wire === undefined) {
    throw new InternalError(`the function '${call.id}' was not sent`);
  }
  const ready = await prepareCall(context, wire, { root: prepared.root(), env }, request);
  cleanUps.push(() => ready.close());
  return ready;
}

function valuesOf(secret: WireSecret): Buffer[] {
  const values = secret.kind === 'value' ? [secret.value] : Object.values(secret.values);
  return values.map((value) => Buffer.from(value, 'base64'));
}

function variableIn(secret: WireSecret, name: string): string | undefined {
  if (secret.kind === 'value') {
    return secret.value;
  }
  return Object.hasOwn(secret.values, name) ? secret.values[name] : undefined;
}

function secretVariables(
  step: Step,
  variable: SecretVariable | WholeSecret,
): readonly (readonly [string, Buffer])[] {
  if ('name' in variable) {
    return secretVariable(step, variable);
  }
  const { secretId, identity, except } = variable;
  const secret = step.params.secrets[secretId];
  if (secret?.kind !== 'variables') {
    throw new InternalError(`the values of secret '${secretId}' were not sent`);
  }
  return Object.keys(secret.values)
    .filter((name) => !except.includes(name))
    .flatMap((name) => secretVariable(step, { name, secretId, identity }));
}

function secretVariable({ params }: Step, { name, secretId, optional }: SecretVariable): [string, Buffer][] {
  const secret = params.secrets[secretId];
  const value = secret === undefined ? undefined : variableIn(secret, name);
  if (value === undefined && optional !== true) {
    // Of a secret of several variables each may be missing, if its author allows that.
    if (secret?.kind === 'variables') {
      return [];
    }
    throw new InternalError(`the value of '${name}' of secret '${secretId}' was not sent`);
  }
  const bytes = Buffer.from(value ?? '', 'base64');
  if (bytes.includes(0)) {
    throw new DefinitionError(`the secret for the variable '${name}' holds a NUL byte`, {
      code: 'E_SECRET_VALUE',
      hint: 'mount it as a file',
    });
  }
  return [[name, bytes]];
}

async function findMount(step: Step, mount: Mount, action: ExecAction): Promise<ProgramMount[]> {
  switch (mount.kind) {
    case 'cache': {
      const { target, readOnly = false, seed } = mount;
      const fill =
        seed === undefined ? {} : { fill: (directory: string) => fillCache(step, seed, target, directory) };
      return [{ kind: 'cache', request: { ...mount, ...fill }, target, readOnly }];
    }
    case 'volume':
      return [volumeMount(step, mount)];
    case 'tmpfs':
      return [mount];
    case 'inline': {
      const { target, mode, data } = mount;
      return [{ kind: 'file', data: Buffer.from(data, 'base64'), target, mode, uid: 0, gid: 0 }];
    }
    case 'ssh': {
      const { id, target, mode, uid, gid, required } = mount;
      const agent = step.params.agents?.[id];
      if (agent === undefined) {
        if (required) {
          throw new InternalError(`the ssh agent '${id}' was not sent`);
        }
        return [];
      }
      return [{ kind: 'ssh', agent, target, mode, uid, gid }];
    }
    case 'secret': {
      const secret = step.params.secrets[mount.secretId];
      const [data] = secret === undefined ? [] : valuesOf(secret);
      if (data === undefined) {
        if (mount.required) {
          throw new InternalError(`the value of secret '${mount.secretId}' was not sent`);
        }
        return [];
      }
      const { target, mode, uid, gid } = mount;
      return [{ kind: 'file', data, target, mode, uid, gid }];
    }
    case 'bind': {
      // What is mounted within it needs mountpoints, which must be nobody else's either.
      const own = !mount.readOnly || hasMountsWithin(mount.target, action);
      const tree = await bindRoot(step, mount.input, own);
      const { path, stat } = locateSource(step, mount.input, mount.source, mount.target, tree.root);
      return [
        {
          kind: 'bind',
          source: path,
          sourceKind: stat.isDirectory() ? 'directory' : 'file',
          target: mount.target,
          readOnly: mount.readOnly,
          own,
          tree,
        },
      ];
    }
  }
}

function volumeMount({ params }: Step, mount: Extract<Mount, { kind: 'volume' }>): ProgramMount {
  const { kind, volume, name, target, readOnly, subPath } = mount;
  const use = params.volumes?.[volume];
  if (use === undefined) {
    throw new InternalError(`the volume '${name}' was not sent`);
  }
  return { kind, use, target, readOnly, ...(subPath === undefined ? {} : { subPath }) };
}

function hasMountsWithin(target: string, { mounts }: ExecAction): boolean {
  const prefix = `${posix.normalize(`/${target}`).replace(/\/$/, '')}/`;
  return [LENT_DIR, ...mounts.map((mount) => posix.normalize(`/${mount.target}`))].some(
    (path) => path !== prefix && path.startsWith(prefix),
  );
}

/** The input as a directory; with `own`, one that may be written to and is thrown away. */
async function bindRoot(step: Step, number: number, own: boolean): Promise<OwnedTree> {
  const { context, params, request } = step;
  const input = params.inputs[number];
  if (own && input?.kind === 'layers') {
    const copy = await context.driver.prepare(input.layers, request.signal);
    step.cleanUps.push(() => copy.discard());
    return { root: copy.root(), owners: copy.owners };
  }
  let tree: StepInputTree;
  if (!own || input === undefined || input.kind === 'none') {
    tree = await inputOf(step, number);
  } else {
    tree = await openInput(context, input, request.signal);
    step.cleanUps.push(() => tree.close());
  }
  return { root: await tree.directory(request), owners: tree.owners };
}

/** Where a mount's source is on the host: links are followed within the input only. */
function locateSource(
  { params }: Step,
  input: number,
  source: string,
  target: string,
  root: string,
): { readonly path: string; readonly stat: Stats } {
  const { path, stat } = resolveInTree(root, posix.normalize(`/${source}`));
  if (stat === undefined || !(stat.isDirectory() || stat.isFile())) {
    const from = params.inputs[input];
    const name = from === undefined || from.kind === 'none' ? undefined : from.name;
    throw new DefinitionError(
      `cannot mount '${source}'${name === undefined ? '' : ` of ${name}`} on '${target}': ${
        stat === undefined ? 'no such file or directory there' : 'it is neither a file nor a directory'
      }`,
      { code: 'E_FILE_NOT_FOUND' },
    );
  }
  return { path: join(root, path), stat };
}

/** Owners, modes and times as in the input, the directory's own too. */
async function fillCache(step: Step, seed: CacheSeed, target: string, directory: string): Promise<void> {
  const { root } = await bindRoot(step, seed.input, false);
  const { path, stat } = locateSource(step, seed.input, seed.source, target, root);
  if (!stat.isDirectory()) {
    throw new DefinitionError(
      `cannot begin the cache on '${target}' with '${seed.source}': it is not a directory`,
      { code: 'E_FILE_NOT_FOUND' },
    );
  }
  await callNative(step.request.signal, `cannot begin the cache on '${target}'`, (cancel) =>
    native().flattenLayers({ lowers: [path], target: directory }, cancel),
  );
}

async function remove(
  { context, prepared, request }: Step,
  path: string,
  allowMissing: boolean,
): Promise<void> {
  const { root, owners } = changedTree(context, prepared);
  const removed = await callNative(request.signal, `cannot remove '${path}' from the image`, (cancel) =>
    native().removeInRoot(root, path, cancel, owners),
  );
  if (!removed && !allowMissing) {
    throw new DefinitionError(`cannot remove '${path}': no such file in the image`, {
      code: 'E_FILE_NOT_FOUND',
    });
  }
}
