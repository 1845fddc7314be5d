/** Steps that fail, as the caller of a build wants it. */

import type { LayerContext } from '../layer/layer-store.ts';
import type { StepFailures } from '../ops/failing-step.ts';
import type { FailedStep, FailedStepRunOptions, FailedStepRunResult } from '../worker/failed-step-session.ts';
import { InputPump, inputParams, terminalVariables } from '../worker/program-streams.ts';
import { workerEvents } from '../worker/worker-events.ts';
import { type KeptStep, KeptSteps } from './kept-steps.ts';
import type { EngineParts } from './parts.ts';

export type { FailedStep } from '../worker/failed-step-session.ts';

/**
 * `keep`: what the step left is kept, and the error's `keptAs` names it. A function is handed the step, in whose file system it may
 * run programs; the build fails when it resolves. Other steps go on meanwhile; when several fail, only the first is handed over.
 */
export type OnError = 'fail' | 'keep' | ((failed: FailedStep) => Promise<void>);

export function stepFailures(parts: EngineParts, onError: OnError): StepFailures | undefined {
  if (onError === 'fail') {
    return undefined;
  }
  if (onError === 'keep') {
    const kept = new KeptSteps(parts);
    return { kind: 'keep', name: KeptSteps.layerName, keep: (step, signal) => kept.keep(step, signal) };
  }
  let first: Promise<void> | undefined;
  return {
    kind: 'ask',
    environment: parts.environment,
    attend: async (failed) => {
      if (first === undefined) {
        first = onError(failed);
        await first;
      } else {
        // Its failure would end the build, and with it what is being looked at.
        await first.catch(() => undefined);
      }
    },
  };
}

export interface KeptStepRunOptions extends FailedStepRunOptions {
  readonly user?: string;
  readonly workdir?: string;
  readonly network?: 'host' | 'none' | 'private';
  /** Called once, when the program is about to start. */
  readonly onStart?: (step: KeptStep) => void;
}

/** @throws {UsageError} `E_FAILED_STEP_NOT_FOUND`; {DefinitionError} `E_NO_SHELL` */
export async function runInKeptStep(
  parts: EngineParts,
  name: string,
  command: readonly string[] | undefined,
  options: KeptStepRunOptions,
  context: LayerContext,
): Promise<FailedStepRunResult> {
  const kept = new KeptSteps(parts);
  await kept.expire(context.signal);
  const step = kept.find(name);
  const { terminal, user, workdir, network, onOutput } = options;
  const stacks = step.inputs.flatMap((input) => (input.kind === 'layers' ? [input.layers] : []));
  for (const layers of [step.layers, ...stacks]) {
    await parts.layers.ensureSnapshots(layers, context);
  }
  const { defaults } = parts.programs;
  const worker = await parts.worker();
  options.onStart?.(step);
  const pump = new InputPump(options);
  const forward = workerEvents(context.emit);
  const running = worker.call(
    'runInKept',
    {
      layers: step.layers,
      action: {
        ...step.action,
        ...(user === undefined ? {} : { user }),
        ...(workdir === undefined ? {} : { cwd: workdir }),
        ...(network === undefined ? {} : { network, insistsOnHost: network === 'host' }),
      },
      inputs: step.inputs,
      volumes: step.volumes,
      lentEnv: { TSBUILD_IS_CONTAINER: '1' },
      gpuPolicy: parts.settings.gpuPolicy,
      defaults,
      keep: parts.programs.keep([defaults.limits, step.action.limits]),
      ...(command === undefined ? {} : { argv: command }),
      env: [
        ['TSBUILD_FAILED_COMMAND', step.command],
        ...(terminal === undefined ? [] : terminalVariables(parts.environment)),
        ...Object.entries(options.env ?? {}),
      ],
      input: inputParams(terminal),
    },
    {
      signal: context.signal,
      onSession: (send) => pump.start(send),
      onEvent: (event) => {
        if (event.kind === 'output') {
          onOutput?.(event.stream, Buffer.from(event.base64, 'base64'));
        } else {
          pump.hear(event);
          forward(event);
        }
      },
    },
  );
  const { exitCode = 1, signal } = await running.finally(() => pump.stop());
  return { exitCode, ...(signal === undefined ? {} : { signal }) };
}
