/** Runs a container on a stack and throws its changes away. */
import { releaseAll } from '../base/release-all.ts';
import { TsbuildError } from '../errors.ts';
import { findShell } from '../executor/find-shell.ts';
import { runProgram } from '../executor/run-program.ts';
import type { SandboxKind } from '../executor/sandbox.ts';
import { StepOutput } from '../executor/step-output.ts';
import { ROOT_OWNER } from '../graph/action.ts';
import { fromNative } from '../native/error.ts';
import { changedTree } from './changed-tree.ts';
import type { RequestContext, WorkerContext } from './context.ts';
import { copyFromInput } from './copy.ts';
import { devicesFor, warnOfLoader } from './devices.ts';
import { functionError, prepareCall } from './function-call.ts';
import { limitsFor, warnOfLoopbackProxies } from './limits.ts';
import { maskedOutput, rawOutput } from './program-output.ts';
import type { RunParams, RunResult } from './protocol.ts';
import { stepError } from './step-error.ts';
import { openInput } from './step-input.ts';

export async function runContainer(
  context: WorkerContext,
  params: RunParams,
  request: RequestContext,
): Promise<RunResult> {
  const { keep = {} } = params;
  const limits = limitsFor(context, params.limits ?? {}, keep, request);
  warnOfLoopbackProxies(context, params.network, request);
  const devices = await devicesFor(context, params, request);
  let closeCall: (() => Promise<void>) | undefined;
  const prepared = await context.driver.prepare(params.layers, request.signal);
  // Its bytes go out as they are; the lines are only kept for an error's last words.
  const output = new StepOutput({ secrets: params.secretValues, onText: () => undefined });
  const { input } = params;
  const shown =
    input?.terminal === undefined ? maskedOutput(request, params.secretValues) : rawOutput(request);
  try {
    if (params.files.length > 0) {
      const input = await openInput(context, { kind: 'files', files: params.files }, request.signal);
      try {
        await copyFromInput(
          context,
          {
            kind: 'copy',
            input: 0,
            source: '/',
            destination: '/',
            owner: ROOT_OWNER,
            modes: 'keep',
            times: 'keep',
          },
          input,
          changedTree(context, prepared),
          request,
        );
      } finally {
        await input.close();
      }
    }
    if (devices !== undefined) {
      warnOfLoader(prepared.root(), devices, request);
    }
    const call =
      params.call === undefined
        ? undefined
        : await prepareCall(context, params.call, { root: prepared.root(), env: params.env }, request);
    closeCall = call?.close;
    const path = params.env.findLast(([name]) => name === 'PATH')?.[1] ?? '';
    const named = params.argv.length === 0 ? [findShell(prepared.root(), path)] : params.argv;
    const argv = call?.argv ?? named;
    let ranIn: SandboxKind | undefined;
    const outcome = await runProgram(context.executor, prepared, {
      argv,
      env: params.env,
      lentEnv: { TSBUILD_IS_CONTAINER: '1', ...call?.lentEnv },
      cwd: params.cwd,
      user: params.user,
      network: params.network,
      limits,
      ...(keep.cgroups === undefined ? {} : { cgroups: keep.cgroups }),
      lend: [],
      mounts: [
        ...(params.volumes ?? []).map((volume) => ({ kind: 'volume' as const, ...volume })),
        ...(call?.mounts ?? []),
      ],
      ...(call === undefined ? {} : { desk: call.desk }),
      ...(devices === undefined ? {} : { devices }),
      ...(params.timeoutMs === undefined ? {} : { timeoutMs: params.timeoutMs }),
      ...(input === undefined ? {} : { input: request.session.input(input.terminal) }),
      signal: request.signal,
      onSandbox: (kind) => {
        ranIn = kind;
      },
      onOutput: (stream, chunk) => {
        output.write(stream, chunk);
        shown.write(stream, chunk);
      },
      pressure: request.pressure,
    });
    shown.end();
    const { cwd, user, timeoutMs } = params;
    const failed = () => {
      output.endExec();
      const action = { argv, cwd, user, limits, ...(timeoutMs === undefined ? {} : { timeoutMs }) };
      return stepError(action, outcome, output, undefined, context.executor.ownerKeeping, ranIn);
    };
    if (outcome.reason === 'not-started' || outcome.reason === 'memory') {
      throw failed();
    }
    if (call === undefined) {
      return outcome;
    }
    const report = call.report();
    if (outcome.reason !== 'exit' || outcome.exitCode !== 0) {
      throw functionError(failed(), report, params.secretValues);
    }
    return report?.ok === true ? { ...outcome, resultJson: report.json } : outcome;
  } catch (error) {
    throw error instanceof TsbuildError ? error : fromNative(error, 'cannot run the container');
  } finally {
    output.close();
    await releaseAll([() => prepared.discard(), ...(closeCall === undefined ? [] : [closeCall])]);
  }
}
