/** Makes a layer: the stack below is prepared, the actions are done in order, what changed is committed. */
import { join } from 'node:path';
import { DefinitionError, HostError, InternalError, StepError } from '../errors.ts';
import { type ProgramMount, runProgram, subuidHint } from '../executor/run-program.ts';
import type { Outcome } from '../executor/sandbox.ts';
import { StepOutput } from '../executor/step-output.ts';
import type { ExecAction, Mount } from '../graph/action.ts';
import { native } from '../native/addon.ts';
import { callNative } from '../native/call-native.ts';
import { fromNative } from '../native/error.ts';
import type { Prepared } from '../snapshot/driver.ts';
import { resolveInTree } from '../snapshot/resolve.ts';
import type { RequestContext, WorkerContext } from './context.ts';
import { copyFromInput } from './copy.ts';
import { makeDirectory, makeFile } from './make.ts';
import type { StepParams, StepResult } from './protocol.ts';
import { openInput, type StepInputTree } from './step-input.ts';

export async function runStep(
  context: WorkerContext,
  params: StepParams,
  request: RequestContext,
): Promise<StepResult> {
  if (context.snapshots.has(params.layer)) {
    return { existed: true, empty: false };
  }
  const prepared = await context.driver.prepare(params.parents, request.signal);
  const cleanUps: (() => Promise<void>)[] = [() => prepared.discard()];
  const step: Step = { context, params, request, prepared, cleanUps, trees: new Map() };
  const output = new StepOutput({
    logPath: params.logPath,
    secrets: Object.values(params.secrets).flatMap((values) => Object.values(values)),
    onText: (stream, text, timeMs) => request.emit({ kind: 'log', timeMs, stream, text }),
  });
  try {
    for (const action of params.actions) {
      request.signal.throwIfAborted();
      switch (action.kind) {
        case 'exec':
          await exec(step, action, output);
          break;
        case 'copy':
          await copyFromInput(context, action, await inputOf(step, action.input), prepared.root(), request);
          break;
        case 'mkdir':
          makeDirectory(prepared.root(), action);
          break;
        case 'mkfile':
          await makeFile(context, action, prepared.root(), request);
          break;
        case 'rm':
          await remove(step, action.path, action.allowMissing);
          break;
      }
    }
    return await prepared.commit(params.layer);
  } finally {
    output.close();
    for (const cleanUp of cleanUps.reverse()) {
      await cleanUp();
    }
  }
}

interface Step {
  readonly context: WorkerContext;
  readonly params: StepParams;
  readonly request: RequestContext;
  readonly prepared: Prepared;
  /** Called in reverse order, whatever happens. */
  readonly cleanUps: (() => Promise<void>)[];
  /** Inputs that are mounted. */
  readonly trees: Map<number, StepInputTree>;
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
  const secretEnv = action.secretEnv.map(({ name, secretId }): [string, string] => {
    const value = params.secrets[secretId]?.[name];
    if (value === undefined) {
      throw new InternalError(`the value of '${name}' of secret '${secretId}' was not sent`);
    }
    return [name, value];
  });
  const mounts: ProgramMount[] = [];
  for (const mount of action.mounts) {
    mounts.push(...(await findMount(step, mount)));
  }
  let outcome: Outcome;
  try {
    outcome = await runProgram(context.executor, prepared, {
      argv: action.argv,
      env: [...(action.proxyEnv ?? []), ...action.env, ...secretEnv],
      lentEnv: params.lentEnv,
      cwd: action.cwd,
      user: action.user,
      network: action.network,
      lend: action.lend,
      mounts,
      ...(action.timeoutMs === undefined ? {} : { timeoutMs: action.timeoutMs }),
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
    throw stepError(action, outcome, output, params.logPath, context.executor.idMode);
  }
}

export function stepError(
  action: Pick<ExecAction, 'argv' | 'timeoutMs' | 'cwd' | 'user'>,
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
        hint: idMode === 'single' ? singleIdHint(output.tail()) : undefined,
      });
    case 'signal':
      return new StepError(`the step was ended by ${outcome.signal}`, {
        ...details,
        code: 'E_BUILD_SIGNAL',
        reason: 'signal',
        signal: outcome.signal,
        hint: outcome.signal === 'SIGKILL' ? 'the machine may have run out of memory' : undefined,
      });
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
      return new StepError(notStarted(program, action.cwd, outcome), {
        ...details,
        code: 'E_STEP_NOT_STARTED',
        reason: 'not-started',
      });
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

/** With one id, chown to another is EINVAL, which few programs explain. */
function singleIdHint(tail: string): string | undefined {
  return /Invalid argument|EINVAL|chown|chgrp|setgroups|setegid|seteuid/i.test(tail)
    ? `only one user id is available here, so that files cannot be given to other users: ${subuidHint()}`
    : undefined;
}

async function findMount(step: Step, mount: Mount): Promise<ProgramMount[]> {
  switch (mount.kind) {
    case 'cache':
      return [{ kind: 'cache', request: mount, target: mount.target }];
    case 'tmpfs':
      return [mount];
    case 'inline':
    case 'ssh':
      throw new InternalError(`mounts of kind '${mount.kind}' are not made yet`);
    case 'secret': {
      const values = step.params.secrets[mount.secretId];
      const value = values === undefined ? undefined : Object.values(values)[0];
      if (value === undefined) {
        if (mount.required) {
          throw new DefinitionError(`secret '${mount.secretId}' is required and has no value`, {
            code: 'E_SECRET_MISSING',
          });
        }
        return [];
      }
      const { target, mode, uid, gid } = mount;
      return [{ kind: 'secret', value, target, mode, uid, gid }];
    }
    case 'bind': {
      const { context, params, request } = step;
      const input = params.inputs[mount.input];
      let root: string;
      if (!mount.readOnly && input?.kind === 'layers') {
        // Written to and thrown away.
        const copy = await context.driver.prepare(input.layers, request.signal);
        step.cleanUps.push(() => copy.discard());
        root = copy.root();
      } else {
        const tree = await inputOf(step, mount.input);
        root = await tree.directory(request);
      }
      const { path, stat } = resolveInTree(root, mount.source);
      if (stat === undefined) {
        throw new DefinitionError(`cannot mount '${mount.source}': no such file in the input`, {
          code: 'E_FILE_NOT_FOUND',
        });
      }
      return [
        {
          kind: 'bind',
          source: join(root, path),
          sourceKind: stat.isDirectory() ? 'directory' : 'file',
          target: mount.target,
          readOnly: mount.readOnly,
        },
      ];
    }
  }
}

async function remove({ prepared, request }: Step, path: string, allowMissing: boolean): Promise<void> {
  const removed = await callNative(request.signal, `cannot remove '${path}' from the image`, (cancel) =>
    native().removeInRoot(prepared.root(), path, cancel),
  );
  if (!removed && !allowMissing) {
    throw new DefinitionError(`cannot remove '${path}': no such file in the image`, {
      code: 'E_FILE_NOT_FOUND',
    });
  }
}
