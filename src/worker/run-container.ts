/** Runs a container on a stack and throws its changes away. */
import { DefinitionError } from '../errors.ts';
import { runProgram } from '../executor/run-program.ts';
import { StepOutput } from '../executor/step-output.ts';
import { fromNative } from '../native/error.ts';
import type { RequestContext, WorkerContext } from './context.ts';
import { copyFromInput, openInput } from './copy.ts';
import type { RunParams, RunResult } from './protocol.ts';
import { stepError } from './step.ts';

export async function runContainer(
  context: WorkerContext,
  params: RunParams,
  request: RequestContext,
): Promise<RunResult> {
  const prepared = await context.driver.prepare(params.layers, request.signal);
  const output = new StepOutput({
    secrets: params.secretValues,
    onText: (stream, text, timeMs) => request.emit({ kind: 'log', timeMs, stream, text }),
  });
  try {
    if (params.files.length > 0) {
      const input = await openInput(context, { kind: 'files', files: params.files }, request.signal);
      try {
        await copyFromInput(
          {
            kind: 'copy',
            input: 0,
            source: '/',
            destination: '/',
            uid: 0,
            gid: 0,
            modes: 'keep',
            times: 'keep',
          },
          input,
          prepared.root(),
          request,
        );
      } finally {
        await input.close();
      }
    }
    const outcome = await runProgram(context.executor, prepared, {
      argv: params.argv,
      env: params.env,
      lentEnv: { TSBUILD_IS_CONTAINER: '1' },
      cwd: params.cwd,
      user: params.user,
      network: params.network,
      lend: [],
      mounts: [],
      ...(params.timeoutMs === undefined ? {} : { timeoutMs: params.timeoutMs }),
      ...(params.stdinBase64 === undefined ? {} : { stdin: Buffer.from(params.stdinBase64, 'base64') }),
      signal: request.signal,
      onOutput: (stream, chunk) => output.write(stream, chunk),
      pressure: request.pressure,
    });
    if (outcome.reason === 'not-started') {
      output.endExec();
      const error = stepError(
        { argv: params.argv, cwd: params.cwd, user: params.user },
        outcome,
        output,
        undefined,
        context.executor.idMode,
      );
      request.emit({ kind: 'log', timeMs: Date.now(), stream: 'stderr', text: error.message });
      return { reason: 'not-started' };
    }
    return outcome;
  } catch (error) {
    throw error instanceof DefinitionError ? error : fromNative(error, 'cannot run the container');
  } finally {
    output.close();
    await prepared.discard();
  }
}
