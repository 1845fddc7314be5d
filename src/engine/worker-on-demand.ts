/** The worker of an engine and the mirror that its steps may need: started by the first step, ended with the engine. */
import { readFile } from 'node:fs/promises';
import { UsageError } from '../errors.ts';
import type { Settings } from '../settings.ts';
import type { EventDraft } from '../solver/event.ts';
import type { SeccompChoice, Worker } from '../worker/protocol.ts';
import type { AptMirror } from './apt-mirror.ts';
import { isolationEvent } from './isolation-limits.ts';

export interface WorkerSettings {
  readonly storeDir: string;
  /** @defaultValue auto, or TSBUILD_SNAPSHOT */
  readonly snapshotter?: 'auto' | 'overlay' | 'copy';
  /** @defaultValue auto */
  readonly hostCa?: 'auto' | 'always' | 'never';
  /** @defaultValue the standard ones, and those of the settings */
  readonly cdiDirs?: readonly string[];
  /** @defaultValue that of the settings */
  readonly driverRoot?: string;
  readonly signal?: AbortSignal;
  /** Told how steps are kept apart, once. @defaultValue nobody is told */
  readonly emit?: (event: EventDraft) => void;
  readonly environment: NodeJS.ProcessEnv;
  readonly settings: Settings;
}

export class WorkerOnDemand {
  readonly #settings: WorkerSettings;
  #worker: Promise<Worker> | undefined;
  readonly #waiting = new Set<() => void>();
  #aptMirror: Promise<AptMirror> | undefined;

  constructor(settings: WorkerSettings) {
    this.#settings = settings;
  }

  /** The same one every time. @throws {HostError} what starting it throws. */
  get(): Promise<Worker> {
    if (this.#worker === undefined) {
      this.#worker = this.#start();
      this.#worker.then(
        () => {
          for (const then of this.#waiting) {
            then();
          }
          this.#waiting.clear();
        },
        () => undefined,
      );
    }
    return this.#worker;
  }

  /**
   * Starts nothing. `then` is called once when the worker runs; never, if nobody asks for it.
   *
   * @returns Takes it back.
   */
  whenRunning(then: () => void): () => void {
    if (this.#worker === undefined) {
      this.#waiting.add(then);
    } else {
      this.#worker.then(then, () => undefined);
    }
    return () => this.#waiting.delete(then);
  }

  /** Ends the worker, if there is one; whoever asks for one again gets another. */
  async stop(): Promise<void> {
    const worker = this.#worker;
    this.#worker = undefined;
    await (await worker?.catch(() => undefined))?.close();
  }

  /** Whether nobody waits for anything of it. */
  async isIdle(): Promise<boolean> {
    const worker = await this.#worker?.catch(() => undefined);
    return worker?.isIdle ?? true;
  }

  /** Starts nothing. */
  async close(): Promise<void> {
    await this.stop();
    await (await this.#aptMirror?.catch(() => undefined))?.close();
  }

  async #start(): Promise<Worker> {
    const { storeDir, snapshotter, hostCa, signal, environment, settings } = this.#settings;
    // A build of which everything is known starts none, and should not wait for what that needs.
    const [{ startWorker }, { discoverHostTrust }, { cdiDirsOf }] = await Promise.all([
      import('../worker/client.ts'),
      import('../executor/host-trust.ts'),
      import('../executor/cdi.ts'),
    ]);
    if (settings.aptMirror !== undefined) {
      const { startAptMirror } = await import('./apt-mirror.ts');
      this.#aptMirror = startAptMirror(settings.aptMirror, environment);
    }
    const aptMirror = await this.#aptMirror;
    const worker = await startWorker({
      storeDir,
      isolation: settings.isolation,
      snapshotter: snapshotter ?? snapshotterOf(environment),
      hostTrust: () => ({
        ...discoverHostTrust(hostCa ?? 'auto', environment, settings),
        ...(aptMirror === undefined ? {} : { aptProxy: aptMirror.proxy }),
      }),
      cdiDirs: this.#settings.cdiDirs ?? cdiDirsOf(settings.cdiDirs),
      driverRoot: this.#settings.driverRoot ?? settings.driverRoot,
      seccomp: await seccompOf(settings.seccomp),
      sandbox: settings.sandbox,
      signal: signal ?? new AbortController().signal,
    });
    this.#settings.emit?.(isolationEvent(worker.hello));
    return worker;
  }
}

/** Its start takes as long as what is left to do before it is needed. Who needs it is told when it fails. */
export function startAhead(worker: () => Promise<Worker>): void {
  worker().catch(() => undefined);
}

async function seccompOf(given: string): Promise<SeccompChoice> {
  if (given === 'default' || given === 'unconfined') {
    return { kind: given };
  }
  try {
    return { kind: 'file', path: given, text: await readFile(given, 'utf8') };
  } catch (cause) {
    throw new UsageError(`cannot read the seccomp profile '${given}': ${(cause as Error).message}`, {
      code: 'E_SECCOMP_PROFILE',
      cause,
      hint: 'it is `default`, `unconfined` or a file of JSON',
    });
  }
}

function snapshotterOf({ TSBUILD_SNAPSHOT: text }: NodeJS.ProcessEnv): 'auto' | 'overlay' | 'copy' {
  switch (text) {
    case undefined:
    case '':
    case 'auto':
      return 'auto';
    case 'overlay':
    case 'copy':
      return text;
    default:
      throw new UsageError(`TSBUILD_SNAPSHOT is '${text}'; it can be auto, overlay, copy`, {
        code: 'E_USAGE',
      });
  }
}
