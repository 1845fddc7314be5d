/** A function of an app, called in a container (Image API, A4.5). */
import type { Json } from '../base/canonical-json.ts';
import { fromPortable } from '../base/portable-value.ts';
import { redactText } from '../base/redact.ts';
import { DefinitionError, StepError } from '../errors.ts';
import type { AppFunctionSpec, CallArguments } from '../frontend/fluent/app.ts';
import type { LayerContext } from '../layer/layer-store.ts';
import { FunctionReader } from '../local/read-function.ts';
import { locateFailure, wireFunction } from './functions.ts';
import { BuildInputs } from './local-inputs.ts';
import type { EngineParts } from './parts.ts';
import { type Container, type ContainerOptions, runContainer } from './run-image.ts';

export interface CallOptions
  extends Omit<ContainerOptions, 'secrets' | 'stdin' | 'terminal' | 'shell' | 'onStart' | 'volumes'> {
  readonly onOutput: (stream: 'stdout' | 'stderr', chunk: Buffer) => void;
}

/** @param build - Makes the container's image; asked after the function was read, so that its mistakes show first. */
export async function callInContainer(
  parts: EngineParts,
  spec: AppFunctionSpec,
  values: CallArguments,
  options: CallOptions,
  context: LayerContext,
  build: () => Promise<Container>,
): Promise<unknown> {
  const { carried, image, secrets, env, gpu, volumes, resources, diagnostics } = spec;
  for (const { code, message } of diagnostics) {
    context.emit({ kind: 'warning', code, message });
  }
  const reader = new FunctionReader(parts.environment);
  await reader.read(carried);
  const container = await build();
  const inputs = new BuildInputs(parts.store.stats, parts.now);
  const call = { carried, recipe: image.recipeHash };
  const wire = await wireFunction(reader, inputs, call, { ...values, wantsResult: true }, context.signal);
  const { name } = carried.target;
  const timeoutMs = options.timeoutMs ?? resources.timeoutMs;
  try {
    const result = await runContainer(
      parts,
      { ...container, call: { name, wire } },
      undefined,
      {
        ...options,
        env: { ...env, ...options.env },
        secrets,
        timeoutMs,
        limits: { ...resources.limits, ...options.limits },
        gpus: options.gpus ?? gpu,
        volumes: Object.fromEntries(volumes.map(({ path, volume }) => [path, volume])),
      },
      context,
      options.onOutput,
    );
    if (result.resultJson === undefined) {
      throw new StepError(`'${name}' ended its process before it returned`, {
        code: 'E_BUILD_FAILED',
        argv: ['tsbuild-function', name],
        reason: 'exit',
        exitCode: result.exitCode,
        logTail: '',
      });
    }
    return received(name, result.resultJson);
  } catch (error) {
    throw error instanceof StepError && error.remoteStack !== undefined
      ? locateFailure(error, reader)
      : error;
  }
}

const MAX_REASON_LENGTH = 200;

/** A container may write what it wants. @throws {DefinitionError} `E_FN_RESULT` */
function received(name: string, json: string): unknown {
  try {
    return fromPortable(JSON.parse(json) as Json);
  } catch (cause) {
    const why = redactText((cause as Error).message, MAX_REASON_LENGTH);
    throw new DefinitionError(`the result of '${name}' is of no use here: ${why}`, {
      code: 'E_FN_RESULT',
      cause,
    });
  }
}
