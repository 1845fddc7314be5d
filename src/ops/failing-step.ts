/** What becomes of a step that fails: somebody looks at it, or it is kept, before the build fails. */
import { StepError } from '../errors.ts';
import type { ExecAction } from '../graph/action.ts';
import type { Vertex } from '../graph/vertex.ts';
import type { LayerId } from '../solver/op.ts';
import { type FailedStep, FailedStepSession } from '../worker/failed-step-session.ts';
import type { OnFailure, SessionMessage, StepParams, WorkerEvent } from '../worker/protocol.ts';
import { fromWire } from '../worker/wire-error.ts';

export type StepFailures =
  | {
      readonly kind: 'ask';
      /** The step waits until it resolves. */
      readonly attend: (failed: FailedStep) => Promise<void>;
      readonly environment: NodeJS.ProcessEnv;
    }
  | {
      readonly kind: 'keep';
      /** Of the layer that the file system of the next failed step becomes. */
      readonly name: () => LayerId;
      /** @returns What people call it. */
      readonly keep: (step: StepToKeep, signal: AbortSignal) => Promise<string>;
    };

export interface StepToKeep {
  readonly label: string;
  readonly layer: LayerId;
  /** The stack below. */
  readonly parents: readonly LayerId[];
  readonly action: ExecAction;
  readonly inputs: StepParams['inputs'];
  readonly volumes: NonNullable<StepParams['volumes']>;
}

/** One step, from before it runs. */
export class FailingStep {
  readonly #failures: StepFailures | undefined;
  readonly #vertex: Vertex;
  /** As the build reports it. */
  readonly #locate: (error: unknown) => unknown;
  readonly #signal: AbortSignal;
  readonly params: { readonly onFailure?: OnFailure };
  #send: (message: SessionMessage) => void = () => undefined;
  #session: FailedStepSession | undefined;
  #attending: Promise<void> | undefined;
  #attendingFailed: { readonly error: unknown } | undefined;
  #kept: number | undefined;

  constructor(
    failures: StepFailures | undefined,
    vertex: Vertex,
    signal: AbortSignal,
    locate: (error: unknown) => unknown,
  ) {
    this.#failures = failures;
    this.#vertex = vertex;
    this.#signal = signal;
    this.#locate = locate;
    this.params =
      failures === undefined
        ? {}
        : { onFailure: failures.kind === 'ask' ? { kind: 'ask' } : { kind: 'keep', layer: failures.name() } };
  }

  readonly onSession = (send: (message: SessionMessage) => void): void => {
    this.#send = send;
  };

  /** What the worker says of it. */
  hear(event: WorkerEvent): void {
    if (event.kind === 'step-kept') {
      this.#kept = event.action;
    } else if (event.kind === 'step-failed') {
      this.#attending = this.#attend(this.#locate(fromWire(event.error)));
    } else {
      this.#session?.hear(event);
    }
  }

  /** @returns What the build fails with. */
  async failed(error: unknown, step: Omit<StepToKeep, 'label' | 'layer' | 'action'>): Promise<unknown> {
    this.#session?.close(error as Error);
    await this.#attending;
    const located = this.#locate(error);
    if (this.#attendingFailed !== undefined && !this.#signal.aborted) {
      return this.#attendingFailed.error;
    }
    const { onFailure } = this.params;
    const { operation, label } = this.#vertex;
    const action = operation.kind === 'build' ? operation.actions[this.#kept ?? -1] : undefined;
    if (
      this.#failures?.kind !== 'keep' ||
      onFailure?.kind !== 'keep' ||
      action?.kind !== 'exec' ||
      !(located instanceof StepError)
    ) {
      return located;
    }
    const kept = { ...step, label, layer: onFailure.layer, action };
    const keptAs = await this.#failures.keep(kept, this.#signal);
    const { message, cause } = located;
    return new StepError(message, { ...located, code: located.code, keptAs, cause });
  }

  async #attend(error: unknown): Promise<void> {
    try {
      if (this.#failures?.kind === 'ask' && error instanceof StepError) {
        const { environment, attend } = this.#failures;
        this.#session = new FailedStepSession(this.#vertex.label, error, this.#send, environment);
        await attend(this.#session);
      }
    } catch (failure) {
      this.#attendingFailed = { error: failure };
    } finally {
      this.#send({ kind: 'answer', answer: { kind: 'end' } });
    }
  }
}
