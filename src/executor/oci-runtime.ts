/**
 * The sandbox that runc or crun makes. Other than bubblewrap, they leave set-user-ID programs their effect. All that they are given lies in
 * the worker's memory, and they run in its namespaces: both end with the worker, however it ends.
 */
import { execFile } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { HostError } from '../errors.ts';
import { native } from '../native/addon.ts';
import { type Bundle, type BundleOptions, makeBundle } from './oci-bundle.ts';
import type { Outcome, Sandbox, SandboxSpec } from './sandbox.ts';
import { runStepProcess, stepDescriptors } from './step-process.ts';

export type OciRuntimeKind = BundleOptions['kind'];

export interface OciRuntimeOptions extends BundleOptions {
  readonly program: string;
  /** Bundles and the runtime's own state lie there. */
  readonly memoryDir: string;
}

/** The launcher, and the runtime with its threads: Go's has one for each processor and some more. */
const OWN_TASKS = { runc: 8 + availableParallelism(), crun: 3 } as const;

let count = 0;

export class OciRuntime implements Sandbox {
  readonly kind: OciRuntimeKind;
  readonly newPrivileges: boolean;
  readonly ownTasks: number;
  readonly #options: OciRuntimeOptions;

  constructor(options: OciRuntimeOptions) {
    this.kind = options.kind;
    this.newPrivileges = options.newPrivileges;
    this.ownTasks = OWN_TASKS[options.kind];
    this.#options = options;
  }

  async run(spec: SandboxSpec): Promise<Outcome> {
    spec.signal.throwIfAborted();
    const { memoryDir } = this.#options;
    count += 1;
    const id = `step-${count}`;
    const directory = join(memoryDir, `${this.kind}-${id}`);
    mkdirSync(directory, { mode: 0o700 });
    let bundle: Bundle | undefined;
    try {
      bundle = makeBundle(directory, spec, this.#options);
      return await this.#runBundle(id, spec, bundle);
    } finally {
      if (existsSync(join(this.#stateDir, id))) {
        // Somebody killed the runtime.
        await this.#delete(id);
      }
      bundle?.release();
      await native().removeTree(directory);
    }
  }

  async #runBundle(id: string, spec: SandboxSpec, { directory, pidFile, logFile }: Bundle): Promise<Outcome> {
    const { kind } = this;
    const { hostLauncher } = this.#options;
    return await runStepProcess(spec, {
      argv: [
        hostLauncher,
        'enclose',
        ...this.#command(logFile),
        'run',
        '--bundle',
        directory,
        '--pid-file',
        pidFile,
        '--preserve-fds',
        String(stepDescriptors(spec)),
        // The launcher joins one where that is allowed.
        '--no-new-keyring',
        id,
      ],
      filters: true,
      childPid: () => readPid(pidFile),
      abandon: () => void this.#delete(id),
      missing: (cause) =>
        new HostError(`cannot start ${kind}: ${cause.message}`, {
          code: 'E_SANDBOX_MISSING',
          errno: (cause as NodeJS.ErrnoException).code,
          cause,
          hint: `sudo apt-get install ${kind}`,
        }),
      failed: (complaint) =>
        new HostError(`${kind} failed: ${lastError(logFile, complaint)}`, {
          code: 'E_SANDBOX_MISSING',
          hint: '`tsbuild doctor` tries what the sandbox needs, and says how to mend it',
        }),
    });
  }

  /** Its words up to the subcommand. No manager of control groups: which one a step is in is for the worker to say. */
  #command(logFile: string): [string, ...string[]] {
    return runtimeCommand(this.#options, this.#stateDir, logFile);
  }

  get #stateDir(): string {
    return join(this.#options.memoryDir, this.kind);
  }

  /** Kills what is left of the container and forgets it. */
  async #delete(id: string): Promise<void> {
    const [program, ...words] = this.#command('/dev/null');
    await new Promise<void>((resolve) => {
      execFile(program, [...words, 'delete', '--force', id], { cwd: '/' }, () => resolve());
    });
  }
}

export function runtimeCommand(
  { kind, program }: Pick<OciRuntimeOptions, 'kind' | 'program'>,
  stateDir: string,
  logFile: string,
): [string, ...string[]] {
  const groups = kind === 'runc' ? '--rootless=true' : '--cgroup-manager=disabled';
  return [program, groups, '--root', stateDir, '--log', logFile, '--log-format', 'json'];
}

function readPid(path: string): number | undefined {
  try {
    return Number(readFileSync(path, 'utf8')) || undefined;
  } catch {
    return undefined;
  }
}

/** What it says last: in its log, or where it could not open that, on standard error. One JSON object a line. */
export function lastError(logFile: string, complaint: string): string {
  for (const text of [readLog(logFile), complaint]) {
    try {
      const { msg } = JSON.parse(text.trim().split('\n').at(-1) ?? '') as { msg?: unknown };
      if (typeof msg === 'string') {
        return msg;
      }
    } catch {
      // Killed in the middle of it, or somebody else's words.
    }
  }
  return complaint;
}

function readLog(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}
