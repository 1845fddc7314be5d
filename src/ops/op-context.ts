/** What ops are handed by the composition root. */

import type { LayerRecords } from '../content/layer-records.ts';
import type { StepError } from '../errors.ts';
import type { SourceGit, SourceHttp } from '../graph/vertex.ts';
import type { LayerContext, LayerStore } from '../layer/layer-store.ts';
import type { Platform } from '../oci/platform.ts';
import type { Emit } from '../solver/event.ts';
import type { LayerId } from '../solver/op.ts';
import type { InputFile, SshAgentSocket, VolumeUse, WireFunction, Worker } from '../worker/protocol.ts';

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
  /** The list is made when somebody asks: a step that is known needs none. */
  files(): Promise<readonly InputFile[]>;
  /** Covers paths, kinds, modes, link targets and contents; no times, owners or host paths. */
  readonly contentDigest: string;
  /** What the digest covers, for explanations (`base/listing.ts`), by path: `0644 sha256hex`, or `-> target`. */
  listing(): Promise<string>;
  /** Writes a new file that says to the worker what {@link files} does, and more. False, and nothing is written, where only the list can say it. */
  saveIndex?(path: string): Promise<boolean>;
}

/** What a secret of the build holds: named variables, one value of bytes, or nothing, and why. */
export type SecretContent =
  | {
      readonly kind: 'variables';
      readonly values: Readonly<Record<string, string>>;
      /** Worth saying to whoever runs the step. @defaultValue none */
      readonly warnings?: readonly { readonly code: string; readonly message: string }[];
    }
  | { readonly kind: 'value'; readonly bytes: Uint8Array }
  | { readonly kind: 'missing'; readonly why: string };

/** By secret id. Read when a step runs that names it. */
export type SecretValues = (secretId: string) => Promise<SecretContent>;

/** Where the build's ssh agent of an id listens; undefined when it was given none. Started when a step runs that names it. */
export type AgentSockets = (id: string) => Promise<SshAgentSocket | undefined>;

/** Which directory the build's volume of an id is. */
export type VolumeUses = (id: string) => VolumeUse;

/** Functions of the user's that steps call, by the id that actions use. */
export interface FunctionCalls {
  /** Read when the step runs. */
  wire(id: string, signal: AbortSignal): Promise<WireFunction>;
  /** Adds the user's own line to a failure. */
  locate(error: StepError): StepError;
}

/** The bytes of web files, fetched if they are not in the store. */
export interface HttpFileContents {
  contents(
    file: Pick<SourceHttp, 'digest' | 'mtimeSeconds'>,
    context: { readonly signal: AbortSignal; readonly emit: Emit },
  ): Promise<{ readonly path: string; readonly mtimeSeconds: number }>;
}

/** Puts the files of a commit below `directory`, which exists; they are what the returned path holds. */
export type GitCheckout = (
  source: SourceGit,
  directory: string,
  context: { readonly signal: AbortSignal; readonly emit: Emit },
) => Promise<string>;
