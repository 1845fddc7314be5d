/** Runs a container on a stack and throws its changes away. */
import { releaseAll } from '../base/release-all.ts';
import { TsbuildError } from '../errors.ts';
import { runProgram } from '../executor/run-program.ts';
import { StepOutput } from '../executor/step-output.ts';
import { ROOT_OWNER } from '../graph/action.ts';
import { fromNative } from '../native/error.ts';
import { SecretMask } from '../secret/mask.ts';
import { changedTree } from './changed-tree.ts';
import type { RequestContext, WorkerContext } from './context.ts';
import { copyFromInput } from './copy.ts';
import { devicesFor, warnOfLoader } from './devices.ts';
import { functionError, prepareCall } from './function-call.ts';
import { limitsFor, warnOfLoopbackProxies } from './limits.ts';
import type { RunParams, RunResult } from './protocol.ts';
import { stepError } from './step.ts';
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
  const masks = { stdout: new SecretMask(params.secretValues), stderr: new SecretMask(params.secretValues) };
  const send = (stream: 'stdout' | 'stderr', masked: string) => {
    if (masked !== '') {
      request.emit({ kind: 'output', stream, base64: Buffer.from(masked, 'latin1').toString('base64') });
    }
  };
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
    warnOfLoader(prepared.root(), devices, request);
    const call =
      params.call === undefined
        ? undefined
        : await prepareCall(context, params.call, { root: prepared.root(), env: params.env }, request);
    closeCall = call?.close;
    const argv = call?.argv ?? params.argv;
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
      ...(params.stdinBase64 === undefined ? {} : { stdin: Buffer.from(params.stdinBase64, 'base64') }),
      signal: request.signal,
      onOutput: (stream, chunk) => {
        output.write(stream, chunk);
        send(stream, masks[stream].push(chunk.toString('latin1')));
      },
      pressure: request.pressure,
    });
    send('stdout', masks.stdout.end());
    send('stderr', masks.stderr.end());
    const { cwd, user, timeoutMs } = params;
    const failed = () => {
      output.endExec();
      const action = { argv, cwd, user, limits, ...(timeoutMs === undefined ? {} : { timeoutMs }) };
      return stepError(action, outcome, output, undefined, context.executor.idMode);
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
