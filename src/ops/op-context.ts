/** What ops are handed by the composition root. */
import type { LayerRecords } from '../content/layer-records.ts';
import type { LayerContext, LayerStore } from '../layer/layer-store.ts';
import type { Platform } from '../oci/platform.ts';
import type { LayerId } from '../solver/op.ts';
import type { InputFile, Worker } from '../worker/protocol.ts';

export interface OpTools {
  readonly storeDir: string;
  readonly layers: LayerStore;
  readonly records: LayerRecords;
  /** Starts the worker the first time that it is called. */
  readonly worker: () => Promise<Worker>;
  /**
   * Called before programs of that platform run on a stack.
   *
   * @throws {HostError} `E_PLATFORM_EMULATION` when this machine cannot execute them.
   */
  readonly ensureExecutable: (
    platform: Platform,
    layers: readonly LayerId[],
    context: LayerContext,
  ) => Promise<void>;
}

/** Local inputs of one build, selected, stat'ed and hashed the first time that somebody asks. */
export interface LocalInputs {
  scanned(input: string, signal: AbortSignal): Promise<ScannedInput>;
}

export interface ScannedInput {
  readonly files: readonly InputFile[];
  /** Covers paths, kinds, modes, link targets and contents; no times, owners or host paths. */
  readonly contentDigest: string;
  /** What the key sees, by path: `0644 sha256hex`, or `-> target`. */
  readonly summary: Readonly<Record<string, string>>;
}

/** Values of the secrets of one build: name → value, by secret id. Read when a step runs that names them. */
export type SecretValues = (secretId: string) => Promise<Readonly<Record<string, string>>>;
