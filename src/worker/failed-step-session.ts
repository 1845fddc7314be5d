/** The front's half of a step that failed and whose file system waits for somebody to look at it. */
import type { StepError } from '../errors.ts';
import { InputPump, inputParams, type ProgramStreams, terminalVariables } from './program-streams.ts';
import type { RunResult, SessionMessage, WireError, WorkerEvent } from './protocol.ts';
import { fromWire } from './wire-error.ts';

export interface FailedStepRunOptions extends ProgramStreams {
  /** Added to the step's environment. */
  readonly env?: Readonly<Record<string, string>>;
  /** What the program writes, as it comes. On a terminal secrets are not masked. */
  readonly onOutput?: (stream: 'stdout' | 'stderr', chunk: Buffer) => void;
}

/** How a program in a failed step ended. */
export interface FailedStepRunResult {
  readonly exitCode: number;
  /** `SIGKILL`, … when a signal ended it. */
  readonly signal?: string;
}

/** A step that has failed. What it left can be looked at until the function that was given this resolves. */
export interface FailedStep {
  /** What the step is called in progress. */
  readonly label: string;
  /** What the build fails with. */
  readonly error: StepError;
  /** The command as a shell takes it. */
  readonly command: string;
  /**
   * Runs a program in the step's file system, with its user, directory, environment, secrets, mounts, network and devices, and the
   * command in `TSBUILD_FAILED_COMMAND`. One at a time. What they change is thrown away with the step.
   *
   * @param command - Run directly; undefined is the best shell of the image.
   * @example
   * ```ts
   * await engine.build([image], {
   *   onError: async (failed) => {
   *     await failed.run(['cat', 'config.log'], { onOutput: (_stream, chunk) => process.stderr.write(chunk) });
   *   },
   * });
   * ```
   * @throws {DefinitionError} `E_NO_SHELL`
   */
  run(command: readonly string[] | undefined, options?: FailedStepRunOptions): Promise<FailedStepRunResult>;
}

export class FailedStepSession implements FailedStep {
  readonly label: string;
  readonly error: StepError;
  readonly #send: (message: SessionMessage) => void;
  readonly #environment: NodeJS.ProcessEnv;
  #running:
    | {
        readonly pump: InputPump;
        readonly options: FailedStepRunOptions;
        readonly end: (result: RunResult | WireError | Error) => void;
      }
    | undefined;

  constructor(
    label: string,
    error: StepError,
    send: (message: SessionMessage) => void,
    environment: NodeJS.ProcessEnv,
  ) {
    this.label = label;
    this.error = error;
    this.#send = send;
    this.#environment = environment;
  }

  get command(): string {
    return shellCommand(this.error.argv);
  }

  async run(
    command: readonly string[] | undefined,
    options: FailedStepRunOptions = {},
  ): Promise<FailedStepRunResult> {
    const pump = new InputPump(options);
    const ended = new Promise<RunResult | WireError | Error>((end) => {
      this.#running = { pump, options, end };
    });
    const env = {
      TSBUILD_FAILED_COMMAND: this.command,
      ...(options.terminal === undefined ? {} : Object.fromEntries(terminalVariables(this.#environment))),
      ...options.env,
    };
    this.#send({
      kind: 'answer',
      answer: {
        kind: 'run',
        env: Object.entries(env),
        input: inputParams(options.terminal),
        ...(command === undefined ? {} : { argv: command }),
      },
    });
    pump.start(this.#send);
    try {
      const result = await ended;
      if (result instanceof Error) {
        throw result;
      }
      if ('class' in result) {
        throw fromWire(result);
      }
      const { exitCode = 1, signal } = result;
      return { exitCode, ...(signal === undefined ? {} : { signal }) };
    } finally {
      pump.stop();
      this.#running = undefined;
    }
  }

  /** What the worker says of the step. */
  hear(event: WorkerEvent): void {
    switch (event.kind) {
      case 'output':
        this.#running?.options.onOutput?.(event.stream, Buffer.from(event.base64, 'base64'));
        break;
      case 'ran-in-failed':
        this.#running?.end(event.result);
        break;
      default:
        this.#running?.pump.hear(event);
    }
  }

  /** The step is over, whatever runs. */
  close(reason: Error): void {
    this.#running?.end(reason);
  }
}

/** A script is its own command; other words are quoted where a shell would read them otherwise. */
export function shellCommand(argv: readonly string[]): string {
  const [program = '', flag, script] = argv;
  if (argv.length === 3 && /(^|\/)(ba|da|a)?sh$/.test(program) && /^-[a-z]*c$/.test(flag ?? '')) {
    return script ?? '';
  }
  return argv
    .map((word) => (/^[\w%+,./:=@-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`))
    .join(' ');
}
