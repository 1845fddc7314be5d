/**
 * What front and worker say to each other: JSON messages, each after its length as four big-endian bytes, over the
 * worker's standard input and output. Bulk bytes never cross; they are files in the store.
 *
 * A request has an id; the worker answers with a result or an error of the same id, and may send `event` messages for
 * it before. `cancel` asks for the end of a request, which then fails with reason `cancelled`; `session` is what somebody who
 * sits before the program of a request does. When standard input ends, the worker ends.
 */
import type { Isolation, IsolationChoice } from '../base/isolation.ts';
import type { AssemblyStep } from '../debian/assembly.ts';
import type { ErrorCode } from '../errors.ts';
import type { CgroupPlace } from '../executor/cgroup-place.ts';
import type { WantedSandbox } from '../executor/choose-sandbox.ts';
import type { NetworkMode } from '../executor/sandbox.ts';
import type { Action, ExecAction, GpuRequest, ResourceLimits } from '../graph/action.ts';
import type { BlobFormat, LayerCompression } from '../oci/media-type.ts';
import type { SshAgentSocket } from '../secret/ssh-agents.ts';
import type { Activity } from '../solver/event.ts';
import type { LayerId, PathRead } from '../solver/op.ts';
import type { CacheMountFacts, WhenInUse } from '../volume/cache-mounts.ts';
import type { VolumePlace, VolumeUse } from '../volume/named-volumes.ts';

export type { SshAgentSocket } from '../secret/ssh-agents.ts';
export type { VolumePlace, VolumeUse } from '../volume/named-volumes.ts';

export const PROTOCOL_VERSION = 1;
/** A longer message is a bug or an attack. */
export const MAX_MESSAGE_BYTES = 64 * 1024 * 1024;

export type ToWorker =
  | {
      readonly kind: 'request';
      readonly id: number;
      readonly method: keyof WorkerMethods;
      readonly params: unknown;
    }
  | { readonly kind: 'cancel'; readonly id: number }
  | { readonly kind: 'session'; readonly id: number; readonly message: SessionMessage };

export type SessionMessage =
  /** For the program's standard input; without bytes its end. The next one is sent after `input-taken`. */
  | { readonly kind: 'input'; readonly base64?: string }
  | ({ readonly kind: 'resize' } & TerminalSize)
  /** To `step-failed`. */
  | { readonly kind: 'answer'; readonly answer: FailedStepAnswer };

export interface TerminalSize {
  readonly columns: number;
  readonly rows: number;
}

/** How the input of a program comes: as `session` messages. */
export interface InputParams {
  /** Its standard streams are a pseudo-terminal. @defaultValue its standard input is a pipe */
  readonly terminal?: TerminalSize;
}

/** What is done in the file system of a step that failed. */
export type FailedStepAnswer =
  | { readonly kind: 'end' }
  | {
      readonly kind: 'run';
      /** Absent: the best shell that is there. */
      readonly argv?: readonly string[];
      readonly env: readonly (readonly [string, string])[];
      readonly input: InputParams;
    };

export type FromWorker =
  | { readonly kind: 'result'; readonly id: number; readonly value: unknown }
  | { readonly kind: 'error'; readonly id: number; readonly error: WireError }
  | { readonly kind: 'event'; readonly id: number; readonly event: WorkerEvent };

/** One of our errors as data; the front makes the class again. */
export interface WireError {
  readonly class: string;
  readonly message: string;
  readonly code: ErrorCode | 'CANCELLED';
  readonly details: Readonly<Record<string, unknown>>;
}

export type WorkerEvent =
  | {
      readonly kind: 'log';
      readonly timeMs: number;
      readonly stream: 'stdout' | 'stderr';
      readonly text: string;
    }
  | {
      readonly kind: 'progress';
      readonly id: string;
      readonly activity: Activity;
      readonly subject: string;
      readonly doneBytes: number;
      readonly totalBytes?: number;
      readonly state: 'running' | 'done' | 'exists' | 'failed';
    }
  | { readonly kind: 'warning'; readonly code: string; readonly message: string }
  /** What a container of `run` writes, as it is; a step's output comes as `log` lines. */
  | { readonly kind: 'output'; readonly stream: 'stdout' | 'stderr'; readonly base64: string }
  /** The program has taken the last piece of its input. */
  | { readonly kind: 'input-taken' }
  /** The step waits for an answer before it fails. */
  | { readonly kind: 'step-failed'; readonly error: WireError }
  | { readonly kind: 'step-kept'; readonly action: number }
  /** What was asked for by the last answer is over. */
  | { readonly kind: 'ran-in-failed'; readonly result: RunResult | WireError };

/** Every method: its parameters and what it resolves to. */
export interface WorkerMethods {
  /** First message. Opens the store, checks the user id map against the store's, sweeps what a killed process left. */
  hello: { params: HelloParams; result: HelloResult };
  /** Makes a layer: the stack below is prepared, the actions are run in order, what changed is committed as `layer`. */
  step: { params: StepParams; result: StepResult };
  /**
   * A blob becomes a layer's snapshot. Requests for the layers below must have been sent before; they may still be
   * running, and this one waits for them before it mends the layer by them.
   */
  unpack: { params: UnpackParams; result: UnpackResult };
  /** A layer's snapshot becomes a blob file in `tmp/`; the front moves it into the blob store. */
  compress: { params: CompressParams; result: CompressResult };
  /** A blob is written again with another compression; its tar, and so its diffId, stays. */
  recompress: { params: RecompressParams; result: CompressResult };
  /** Debian packages become a layer's snapshot: unpacked, configured in the sandbox, cleaned, clamped. */
  assembleDebian: { params: AssembleDebianParams; result: StepResult };
  /** Digest of a layer's snapshot without times. */
  treeDigest: { params: { readonly layer: LayerId }; result: { readonly digest: string } };
  /** Digest of paths of a stack without times; none where one of them is not there. */
  readsDigest: {
    params: { readonly layers: readonly LayerId[]; readonly reads: readonly PathRead[] };
    result: { readonly digest?: string };
  };
  /** Runs a container on a stack and throws its changes away. */
  run: { params: RunParams; result: RunResult };
  /** The same in the file system of a failed step that was kept. */
  runInKept: { params: RunInFailedParams; result: RunResult };
  readFile: {
    params: { readonly layers: readonly LayerId[]; readonly path: string; readonly maxBytes: number };
    result: { readonly base64: string };
  };
  exists: {
    params: { readonly layers: readonly LayerId[]; readonly path: string };
    result: { readonly exists: boolean };
  };
  listFiles: {
    params: { readonly layers: readonly LayerId[]; readonly prefix: string };
    result: { readonly paths: readonly string[] };
  };
  /** Merged root filesystems as a directory or a tar file outside of the store. */
  exportTree: { params: ExportTreeParams; result: ExportTreeResult };
  /** Removes snapshots; those that are missing are fine. */
  removeLayers: { params: { readonly layers: readonly LayerId[] }; result: { readonly removed: number } };
  /** Removes what lies in `tmp/` and belongs to nobody who lives. */
  sweep: { params: Record<string, never>; result: { readonly swept: number } };
  /** Sizes on disk of snapshots, and what is known of cache mounts. */
  usage: {
    params: Record<string, never>;
    result: {
      readonly layers: Readonly<Record<string, number>>;
      readonly mounts: readonly CacheMountFacts[];
      /** By `ENVIRONMENT/NAME`. */
      readonly volumes: Readonly<Record<string, number>>;
    };
  };
  listMounts: { params: Record<string, never>; result: { readonly mounts: readonly CacheMountFacts[] } };
  /** Removes cache mounts by id; all when absent. */
  removeMounts: {
    params: {
      readonly ids?: readonly string[];
      /** @defaultValue keep */
      readonly whenInUse?: WhenInUse;
    };
    result: { readonly removed: number };
  };
  /** What a cache mount holds as a tar, with owners as steps see them. */
  exportMount: {
    params: {
      readonly id: string;
      /** Absolute; a file outside of the store, which is made or replaced when all is written. */
      readonly output: string;
      readonly compression: LayerCompression;
    };
    result: { readonly sizeBytes: number };
  };
  /** Makes a cache mount of a tar in any compression, in the place of what it held. */
  importMount: {
    params: { readonly id: string; readonly input: string };
    result: { readonly sizeBytes: number };
  };
  /** Everything at or below a path of a volume. Paths in these are absolute within it. */
  listVolume: {
    params: { readonly use: VolumeUse; readonly path: string };
    result: { readonly paths: readonly string[] };
  };
  /** Copies a file, or what a directory holds, of the user's into a volume. */
  putVolume: {
    params: { readonly use: VolumeUse; readonly source: string; readonly path: string };
    result: { readonly sizeBytes: number };
  };
  /** Copies a file, or what a directory holds, out of a volume. */
  getVolume: {
    params: { readonly use: VolumeUse; readonly path: string; readonly destination: string };
    result: { readonly sizeBytes: number };
  };
  removeFromVolume: {
    params: { readonly use: VolumeUse; readonly path: string };
    result: Record<string, never>;
  };
  deleteVolume: { params: { readonly place: VolumePlace }; result: { readonly existed: boolean } };
}

export interface HelloParams {
  readonly protocol: number;
  readonly storeDir: string;
  /** What the launcher was asked for. */
  readonly isolation: IsolationChoice;
  readonly snapshotter: 'auto' | 'overlay' | 'copy';
  readonly hostTrust: HostTrust;
  /** `auto`: bubblewrap, unless a step needs what that cannot give. */
  readonly sandbox: WantedSandbox;
  /** With one id only, owners are pretended though they could be recorded: for tests of hosts where they cannot. */
  readonly ownerKeeping?: 'pretended';
  /** Where devices are described (Container Device Interface); later directories stand over earlier ones. */
  readonly cdiDirs: readonly string[];
  /** Where NVIDIA's driver is, for GPUs that are not described. */
  readonly driverRoot: string;
  readonly seccomp: SeccompChoice;
}

/** Which system calls steps get. In no key. */
export type SeccompChoice =
  | { readonly kind: 'default' }
  | { readonly kind: 'unconfined' }
  /** A profile of the user's, as a text of JSON. */
  | { readonly kind: 'file'; readonly path: string; readonly text: string };

/** What is lent to steps so that they reach the network as the host does. It enters no key, no layer, no history. */
export interface HostTrust {
  /** PEM files on the host; steps see one file with the certificates of all of them. Absent lends none. */
  readonly caBundles?: readonly string[];
  /** Proxy variables as the host has them. */
  readonly proxies: Readonly<Record<string, string>>;
  /** Mirrors of A5.2 of the Image API, as environment variables of the tools. */
  readonly mirrors: Readonly<Record<string, string>>;
  /** Proxy for what apt fetches from `deb.debian.org`. */
  readonly aptProxy?: string;
}

export interface HelloResult {
  readonly protocol: number;
  readonly pid: number;
  readonly isolation: Isolation;
  /** `root`: no user namespace. `multi`: subordinate ids. `single`: one id only. */
  readonly idMode: 'root' | 'multi' | 'single';
  readonly snapshotter: 'overlay' | 'copy';
  /** Why it is not the better one, for `doctor`. */
  readonly notes: readonly string[];
}

/** Where a copy action or bind mount reads from, by input number of the vertex. The label is for errors. */
export type StepInput =
  | {
      readonly kind: 'layers';
      readonly layers: readonly LayerId[];
      /** What messages call it. */
      readonly name?: string;
    }
  | { readonly kind: 'files'; readonly files: readonly InputFile[]; readonly name?: string }
  /** A file of `NativeTreeIndex`: all that the front knows of a directory of the user's, for steps that only copy. */
  | { readonly kind: 'index'; readonly path: string; readonly name?: string }
  /** A directory of the front's, as it is; nobody else changes it. Owners and extended attributes do not count. */
  | { readonly kind: 'directory'; readonly hostPath: string; readonly name?: string }
  | { readonly kind: 'none' };

/** A file of the user's machine that the front has hashed. */
export interface InputFile {
  /** Path in the input, `/`-rooted. */
  readonly path: string;
  readonly kind: 'file' | 'directory' | 'symlink';
  /** Absolute path on the host; of files and directories. A file without one is empty. */
  readonly hostPath?: string;
  readonly link?: string;
  readonly mode: number;
  /** Where times are kept. Of files, directories and links; in no key. */
  readonly mtimeNs?: string;
  /** What it was when it was hashed; a file that differs now fails the step with E_FILE_CHANGED_DURING_BUILD. */
  readonly expect?: { readonly sizeBytes: number; readonly mtimeNs: string; readonly ctimeNs: string };
}

export interface StepParams {
  /** The name of the layer to commit. If it is there already, the step is not run and `existed` is true. */
  readonly layer: LayerId;
  /** The stack below, bottom first. */
  readonly parents: readonly LayerId[];
  readonly actions: readonly Action[];
  /** By input number; 0 is the root itself and is `none`. */
  readonly inputs: readonly StepInput[];
  /** Values of the secrets that the actions name, by id; one that is missing has none. In memory only. */
  readonly secrets: Readonly<Record<string, WireSecret>>;
  /** Agents that the actions name, by id; one that is missing was not given to the build. @defaultValue none */
  readonly agents?: Readonly<Record<string, SshAgentSocket>>;
  /** Volumes that the actions name, by id. @defaultValue none */
  readonly volumes?: Readonly<Record<string, VolumeUse>>;
  /** Functions that the actions call, by id. @defaultValue none */
  readonly functions?: Readonly<Record<string, WireFunction>>;
  /** Complete output of the step, secrets masked, `TIME STREAM TEXT` a line. Below the store's `logs/`. */
  readonly logPath: string;
  /** Variables that every exec of this step sees and that are in no key: TSBUILD_IS_BUILD and the like. */
  readonly lentEnv: Readonly<Record<string, string>>;
  /** Of actions that ask for GPUs. @defaultValue auto */
  readonly gpuPolicy?: GpuPolicy;
  /** Of programs that do not say themselves. In no key. @defaultValue none */
  readonly defaults?: ProgramDefaults;
  /** @defaultValue none are kept */
  readonly keep?: LimitsToKeep;
  /** Of programs that fail. @defaultValue what they leave is thrown away */
  readonly onFailure?: OnFailure;
  /**
   * Of a step that only copies files of the user's, and whose layer nobody mounts soon: a blob is written straight from them, where that can be,
   * and no snapshot is made. @defaultValue a snapshot is made
   */
  readonly blob?: BlobParams;
}

/** The front is asked (`step-failed`); or the file system becomes a layer, which is no result (`step-kept`). */
export type OnFailure = { readonly kind: 'ask' } | { readonly kind: 'keep'; readonly layer: LayerId };

/** A program in the file system of a step that was kept, with what can be had of what the step had. */
export interface RunInFailedParams {
  /** The last one is what was kept. */
  readonly layers: readonly LayerId[];
  /** Without secrets and agents. */
  readonly action: ExecAction;
  readonly inputs: readonly StepInput[];
  readonly volumes: Readonly<Record<string, VolumeUse>>;
  readonly lentEnv: Readonly<Record<string, string>>;
  readonly gpuPolicy: GpuPolicy;
  /** As of {@link StepParams}. */
  readonly defaults: ProgramDefaults;
  readonly keep: LimitsToKeep;
  /** Absent: the best shell that is there. */
  readonly argv?: readonly string[];
  readonly env: readonly (readonly [string, string])[];
  readonly input: InputParams;
}

/** What programs get that do not say. */
export interface ProgramDefaults {
  /** One by one. */
  readonly limits?: ResourceLimits;
  readonly timeoutMs?: number;
  readonly retries?: number;
  /** In place of the machine's. */
  readonly network?: 'host' | 'private';
}

export interface LimitsToKeep {
  /** Where groups of programs can be made. Absent where nobody wants limits. */
  readonly cgroups?: CgroupPlace;
  /** Of limits that cannot be kept: `warn` once, or `require` them. @defaultValue warn */
  readonly limitsPolicy?: LimitsPolicy;
}

export type LimitsPolicy = 'warn' | 'require';

/**
 * What a request for GPUs takes (Image API, B7): any that are there in number, only those of the type, or none at all.
 */
export type GpuPolicy = 'auto' | 'strict' | 'ignore';

/** A function of the user's, with everything that its container needs and does not keep. */
export interface WireFunction {
  readonly runtime: 'node' | 'python';
  /** Whose Node. */
  readonly node: 'auto' | 'image' | 'host';
  /** Of the image that the function runs in, for TSBUILD_IMAGE_RECIPE. */
  readonly recipe: string;
  /** In `/run/tsbuild/function`. */
  readonly files: readonly { readonly name: string; readonly base64: string }[];
  /** Mounted read-only at `path`, which is their path in the input too. */
  readonly sources: readonly { readonly input: StepInput; readonly path: string }[];
}

/** In base64: named variables, or one value that has no name. */
export type WireSecret =
  | { readonly kind: 'variables'; readonly values: Readonly<Record<string, string>> }
  | { readonly kind: 'value'; readonly value: string };

export interface StepResult {
  readonly existed: boolean;
  /** Whether the upper directory stayed empty. */
  readonly empty: boolean;
  /** Written instead of the snapshot. */
  readonly blob?: CompressResult;
}

export interface UnpackParams {
  readonly layer: LayerId;
  readonly blobPath: string;
  /** The front is still downloading it, to another path until it is complete, and checks its digest. */
  readonly arriving?: { readonly path: string; readonly sizeBytes: number };
  readonly mediaType: string;
  readonly digest: string;
  readonly diffId: string;
  readonly parents: readonly LayerId[];
}

export interface UnpackResult {
  readonly existed: boolean;
  readonly uncompressedSizeBytes: number;
}

export interface CompressParams extends BlobParams {
  readonly layer: LayerId;
  readonly parents: readonly LayerId[];
}

export interface BlobParams {
  /** Absolute, below the store's `tmp/`. */
  readonly output: string;
  readonly compression: BlobFormat;
  readonly level: number;
  readonly clampMtimeSeconds?: number;
  /** A blob of what the layer was before: what is the same in it need not be compressed again. */
  readonly previous?: {
    readonly blob: string;
    /** As {@link CompressResult} gave it. */
    readonly notes?: string;
  };
}

export interface RecompressParams extends Omit<BlobParams, 'clampMtimeSeconds' | 'previous'> {
  readonly blobPath: string;
  /** Checked while the blob is read. */
  readonly diffId: string;
}

export interface CompressResult {
  readonly digest: string;
  readonly sizeBytes: number;
  readonly diffId: string;
  readonly uncompressedSizeBytes: number;
  readonly annotations: Readonly<Record<string, string>>;
  /** For the layer's next state (`blob-notes.ts`). Absent where there is nothing to say. */
  readonly notes?: string;
}

export interface ExportTreeParams {
  /** Where more than one goes to the same place, their directories merge. */
  readonly trees: readonly {
    readonly layers: readonly LayerId[];
    /** One name below the destination, or empty for the destination itself. */
    readonly prefix: string;
  }[];
  readonly destination: string;
  readonly form: 'directory' | 'tar';
  /** What a destination that is a directory holds besides. */
  readonly extraFiles: 'keep' | 'remove';
  readonly clampMtimeSeconds?: number;
}

export interface ExportTreeResult {
  readonly sizeBytes: number;
  /** Entries of a directory; of a tar, which is always written whole, none. */
  readonly written: number;
  readonly unchanged: number;
  readonly removed: number;
}

export interface AssembleDebianParams {
  readonly layer: LayerId;
  readonly packages: readonly { readonly path: string; readonly sha256: string }[];
  /** To be done in this order on an empty root. */
  readonly steps: readonly AssemblyStep[];
  readonly logPath: string;
}

export interface RunParams {
  readonly layers: readonly LayerId[];
  /** Empty: the best shell that is there. */
  readonly argv: readonly string[];
  readonly env: readonly (readonly [string, string])[];
  readonly cwd: string;
  readonly user: string;
  readonly network: NetworkMode;
  readonly timeoutMs?: number;
  /** @defaultValue none */
  readonly limits?: ResourceLimits;
  /** @defaultValue none are kept */
  readonly keep?: LimitsToKeep;
  /** Files put above the image for this run (pending mounts), in order. */
  readonly files: readonly InputFile[];
  readonly secretValues: readonly string[];
  /** @defaultValue none */
  readonly volumes?: readonly MountedVolume[];
  /** Alternatives, the best first. @defaultValue none */
  readonly gpus?: readonly GpuRequest[];
  /** @defaultValue auto */
  readonly gpuPolicy?: GpuPolicy;
  /** @defaultValue its standard input is closed */
  readonly input?: InputParams;
  /** Takes the place of `argv`, which only names it then. */
  readonly call?: WireFunction;
}

/** A volume of a container. */
export interface MountedVolume {
  readonly use: VolumeUse;
  readonly target: string;
  readonly readOnly: boolean;
  readonly subPath?: string;
}

/** A program that cannot be started is a StepError, not a result. */
export interface RunResult {
  readonly reason: 'exit' | 'signal' | 'timeout';
  readonly exitCode?: number;
  readonly signal?: string;
  /** What a function returned, as JSON of `base/portable-value.ts`. */
  readonly resultJson?: string;
}

/** The half that the front holds. Every call may be cancelled; events arrive while it runs. */
export interface Worker {
  call<M extends keyof WorkerMethods>(
    method: M,
    params: WorkerMethods[M]['params'],
    options: {
      readonly signal: AbortSignal;
      readonly onEvent?: (event: WorkerEvent) => void;
      /** Called when the request was sent; what it is given sends to its program, and nowhere when the request is over. */
      readonly onSession?: (send: (message: SessionMessage) => void) => void;
    },
  ): Promise<WorkerMethods[M]['result']>;
  readonly hello: HelloResult;
  /** Every call was answered. */
  readonly isIdle: boolean;
  /** Ends the worker and waits for it. */
  close(): Promise<void>;
}
