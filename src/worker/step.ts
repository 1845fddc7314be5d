/** Makes a layer: the stack below is prepared, the actions are done in order, what changed is committed. */
import type { Stats } from 'node:fs';
import { join, posix } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { releaseAll } from '../base/release-all.ts';
import { backoffMs } from '../base/retry.ts';
import { DefinitionError, HostError, InternalError, StepError, TsbuildError } from '../errors.ts';
import type { DeviceEdits } from '../executor/device-edits.ts';
import { LENT_DIR } from '../executor/lent.ts';
import { type ProgramMount, runProgram, subuidHint } from '../executor/run-program.ts';
import type { Outcome } from '../executor/sandbox.ts';
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
import { devicesFor, warnOfLoader } from './devices.ts';
import { functionError, type PreparedCall, prepareCall } from './function-call.ts';
import { limitsFor, warnOfLoopbackProxies } from './limits.ts';
import { makeDirectory, makeFile } from './make.ts';
import type { StepParams, StepResult, WireSecret } from './protocol.ts';
import { filesWithValues } from './secrets-in-layer.ts';
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
      return await makeLayer(context, params, request, output);
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
  const step: Step = { context, params, request, prepared, cleanUps, devices, trees: new Map() };
  try {
    for (const each of new Set(devices.values())) {
      warnOfLoader(prepared.root(), each, request);
    }
    for (const action of params.actions) {
      request.signal.throwIfAborted();
      switch (action.kind) {
        case 'exec':
          await exec(step, action, output);
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
  readonly params: StepParams;
  readonly request: RequestContext;
  readonly prepared: Prepared;
  /** Called in reverse order, whatever happens. */
  readonly cleanUps: (() => Promise<void>)[];
  /** By what commands ask for. */
  readonly devices: ReadonlyMap<string, DeviceEdits | undefined>;
  /** Inputs that are mounted. */
  readonly trees: Map<number, StepInputTree>;
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

async function exec(step: Step, action: ExecAction, output: StepOutput): Promise<void> {
  const { context, params, request, prepared } = step;
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
  let outcome: Outcome;
  try {
    outcome = await runProgram(context.executor, prepared, {
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
    });
  } catch (error) {
    throw fromNative(error, 'cannot prepare the step');
  } finally {
    output.endExec();
  }
  if (outcome.reason !== 'exit' || outcome.exitCode !== 0) {
    const error = stepError(
      {
        ...action,
        limits,
        argv: call?.argv ?? action.argv,
        ...(timeoutMs === undefined ? {} : { timeoutMs }),
      },
      outcome,
      output,
      params.logPath,
      context.executor.idMode,
    );
    throw functionError(error, call?.report(), Object.values(params.secrets).flatMap(valuesOf));
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

/** What a shell ends with (POSIX, Shell Command Language, 2.8.2). */
const COMMAND_NOT_FOUND = 127;

export function stepError(
  action: Pick<ExecAction, 'argv' | 'timeoutMs' | 'limits' | 'cwd' | 'user' | 'ulimits' | 'hintIfMissing'>,
  outcome: Outcome,
  output: StepOutput,
  logPath: string | undefined,
  idMode: 'root' | 'multi' | 'single',
): Error {
  const program = action.argv[0] ?? '';
  const details = { argv: action.argv, logTail: output.tail(), logPath };
  switch (outcome.reason) {
    case 'exit':
      return new StepError(`the step ended with status ${outcome.exitCode}`, {
        ...details,
        code: 'E_BUILD_FAILED',
        reason: 'exit',
        exitCode: outcome.exitCode,
        hint:
          (outcome.exitCode === COMMAND_NOT_FOUND ? action.hintIfMissing : undefined) ??
          (outcome.reachedPids === true
            ? `it had the ${action.limits?.pids} processes that it may have; give it more with --pids-limit`
            : undefined) ??
          (idMode === 'single' ? singleIdHint(output.tail()) : undefined),
      });
    case 'signal':
      return new StepError(`the step was ended by ${outcome.signal}`, {
        ...details,
        code: 'E_BUILD_SIGNAL',
        reason: 'signal',
        signal: outcome.signal,
        hint: outcome.signal === 'SIGKILL' ? 'the machine may have run out of memory' : undefined,
      });
    case 'memory':
      return new StepError(
        `the step needs more than the ${formatMemory(action.limits?.memoryBytes ?? 0)} of memory that it may use`,
        {
          ...details,
          code: 'E_BUILD_MEMORY',
          reason: 'memory',
          hint: 'give it more: --memory, or the option memory of the call',
        },
      );
    case 'timeout':
      return new StepError(`the step ran longer than ${action.timeoutMs} ms`, {
        ...details,
        code: 'E_BUILD_TIMEOUT',
        reason: 'timeout',
      });
    case 'not-started':
      if (outcome.stage === 'user') {
        return new HostError(`cannot become user '${action.user}': ${outcome.errno}`, {
          code: 'E_SUBUID_MISSING',
          errno: outcome.errno,
          hint: subuidHint(),
        });
      }
      if (outcome.stage === 'limit') {
        return limitError(action, outcome.detail ?? '', outcome.errno);
      }
      if (outcome.detail === 'seccomp') {
        return new HostError(`the kernel does not take the seccomp profile: ${outcome.errno}`, {
          code: 'E_SECCOMP',
          errno: outcome.errno,
          hint: 'with --seccomp unconfined steps run without one',
        });
      }
      return new StepError(notStarted(program, action.cwd, outcome), {
        ...details,
        code: 'E_STEP_NOT_STARTED',
        reason: 'not-started',
        hint: action.hintIfMissing ?? noShellHint(program, outcome),
      });
  }
}

const MIB = 1024 ** 2;

function formatMemory(bytes: number): string {
  return `${Number((bytes / MIB).toFixed(1))} MiB`;
}

function limitError({ ulimits = [] }: Pick<ExecAction, 'ulimits'>, name: string, errno: string): Error {
  const asked = ulimits.findLast((limit) => limit.name === name);
  const text = `${name}=${asked?.soft ?? ''}:${asked?.hard ?? ''}`;
  switch (errno) {
    case 'ENOENT':
      return new DefinitionError(`there is no resource limit '${name}'`, { code: 'E_ARG_TYPE' });
    case 'EINVAL':
      return new DefinitionError(`cannot set the resource limit ${text}: the first is above the second`, {
        code: 'E_ARG_TYPE',
      });
    default:
      return new HostError(
        `cannot set the resource limit ${text}: this machine gives a build less than that`,
        {
          code: 'E_ULIMIT',
          errno,
          hint: `\`prlimit --${name}\` shows what you have; ask for no more, or have it raised in /etc/security/limits.conf`,
        },
      );
  }
}

function notStarted(program: string, cwd: string, outcome: Outcome & { reason: 'not-started' }): string {
  if (outcome.stage === 'cwd') {
    return `cannot enter the working directory '${cwd}': ${outcome.errno}`;
  }
  if (outcome.detail === 'interpreter') {
    return `cannot run '${program}': the interpreter or loader that it names is not in the image`;
  }
  switch (outcome.errno) {
    case 'ENOENT':
      return `cannot run '${program}': not found in the image${program.includes('/') ? '' : ' on its PATH'}`;
    case 'EACCES':
      return `cannot run '${program}': permission denied (is it executable?)`;
    case 'ENOEXEC':
      return `cannot run '${program}': not a program of this machine's architecture, and no script with #!`;
    default:
      return `cannot run '${program}': ${outcome.errno}`;
  }
}

/** Of images that only hold files, such as those from scratch. */
function noShellHint(program: string, outcome: Outcome & { reason: 'not-started' }): string | undefined {
  const isMissing = outcome.stage !== 'cwd' && outcome.detail !== 'interpreter' && outcome.errno === 'ENOENT';
  return isMissing && /(^|\/)(ba|da|a)?sh$/.test(program)
    ? 'the image has no shell: begin with one that has, or write the command as a JSON array of strings'
    : undefined;
}

/** With one id, chown to another is EINVAL, which few programs explain. */
function singleIdHint(tail: string): string | undefined {
  return /Invalid argument|EINVAL|chown|chgrp|setgroups|setegid|seteuid/i.test(tail)
    ? `only one user id is available here, so that files cannot be given to other users: ${subuidHint()}`
    : undefined;
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
      const root = await bindRoot(step, mount.input, own);
      const { path, stat } = locateSource(step, mount.input, mount.source, mount.target, root);
      return [
        {
          kind: 'bind',
          source: path,
          sourceKind: stat.isDirectory() ? 'directory' : 'file',
          target: mount.target,
          readOnly: mount.readOnly,
          own,
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
async function bindRoot(step: Step, number: number, own: boolean): Promise<string> {
  const { context, params, request } = step;
  const input = params.inputs[number];
  if (!own || input === undefined || input.kind === 'none') {
    return await (await inputOf(step, number)).directory(request);
  }
  if (input.kind === 'layers') {
    const copy = await context.driver.prepare(input.layers, request.signal);
    step.cleanUps.push(() => copy.discard());
    return copy.root();
  }
  const copy = await openInput(context, input, request.signal);
  step.cleanUps.push(() => copy.close());
  return await copy.directory(request);
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
  const root = await bindRoot(step, seed.input, false);
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
