/**
 * A step that has failed, before its file system is thrown away: somebody may look around in it, with all that the step had, or it
 * is kept.
 */
import { StepError } from '../errors.ts';
import { findShell } from '../executor/find-shell.ts';
import { DEFAULT_PATH, type ProgramSpec, runProgram } from '../executor/run-program.ts';
import { StepOutput } from '../executor/step-output.ts';
import type { Prepared } from '../snapshot/driver.ts';
import type { RequestContext, WorkerContext } from './context.ts';
import { maskedOutput, rawOutput } from './program-output.ts';
import type { FailedStepAnswer, OnFailure, RunResult } from './protocol.ts';
import { stepError } from './step-error.ts';
import { toWire } from './wire-error.ts';

export interface FailedProgram {
  readonly prepared: Prepared;
  /** Of the program that failed. */
  readonly spec: ProgramSpec;
  /** Position among the step's actions. */
  readonly action: number;
  readonly secrets: readonly Buffer[];
}

type Run = Extract<FailedStepAnswer, { readonly kind: 'run' }>;

/** Resolves when the step may fail. @throws `signal.reason` when aborted meanwhile. */
export async function attend(
  context: WorkerContext,
  failed: FailedProgram,
  error: unknown,
  onFailure: OnFailure | undefined,
  request: RequestContext,
): Promise<'kept' | 'thrown away'> {
  if (onFailure === undefined || !(error instanceof StepError)) {
    return 'thrown away';
  }
  if (onFailure.kind === 'keep') {
    await failed.prepared.commit(onFailure.layer);
    request.emit({ kind: 'step-kept', action: failed.action });
    return 'kept';
  }
  request.emit({ kind: 'step-failed', error: toWire(error) });
  for (;;) {
    const answer = await request.session.answer(request.signal);
    if (answer.kind === 'end') {
      return 'thrown away';
    }
    request.emit({ kind: 'ran-in-failed', result: await outcomeOf(context, failed, answer, request) });
  }
}

async function outcomeOf(...given: Parameters<typeof runInFailed>) {
  try {
    return await runInFailed(...given);
  } catch (error) {
    const [, , , { signal }] = given;
    signal.throwIfAborted();
    return toWire(error);
  }
}

/** @throws {DefinitionError} `E_NO_SHELL`, and what a step throws. */
export async function runInFailed(
  context: WorkerContext,
  { prepared, spec, secrets }: Omit<FailedProgram, 'action'>,
  { argv: asked, env, input }: Omit<Run, 'kind'>,
  request: RequestContext,
): Promise<RunResult> {
  const path = spec.env.findLast(([name]) => name === 'PATH')?.[1].toString() ?? DEFAULT_PATH;
  const argv = asked ?? [findShell(prepared.root(), path)];
  const output = input.terminal === undefined ? maskedOutput(request, secrets) : rawOutput(request);
  const { timeoutMs: _limit, desk, ...like } = spec;
  const outcome = await runProgram(context.executor, prepared, {
    ...like,
    argv,
    env: [...spec.env, ...env],
    // The function's files lie there; what it reports now is of no interest.
    ...(desk === undefined ? {} : { desk: { ...desk, onReport: () => undefined } }),
    input: request.session.input(input.terminal),
    signal: request.signal,
    onOutput: output.write,
    pressure: request.pressure,
  });
  output.end();
  if (outcome.reason === 'not-started' || outcome.reason === 'memory') {
    const nothing = new StepOutput({ secrets: [], onText: () => undefined });
    const { ownerKeeping } = context.executor;
    throw stepError({ ...spec, argv }, outcome, nothing, undefined, ownerKeeping);
  }
  return outcome;
}
