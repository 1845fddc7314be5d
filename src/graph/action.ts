/**
 * What one vertex does to the root filesystem that it prepares: an ordered list of actions, committed once.
 *
 * Everything here is plain, frozen, serialisable data. Secret values, host paths, the clock and the uid of the user
 * never appear in it.
 */

export type Action = ExecAction | CopyAction | MkdirAction | MkfileAction | RemoveAction;

export interface ExecAction {
  readonly kind: 'exec';
  /** Executed directly; a shell is spelled out. */
  readonly argv: readonly string[];
  /** The image's environment and the step's own, in order; later wins. Part of the key. */
  readonly env: readonly (readonly [name: string, value: string])[];
  /** Proxy variables of the caller; `env` wins over them. Not part of the key. */
  readonly proxyEnv?: readonly (readonly [name: string, value: string])[];
  /** Absolute. Made if it is missing, as WORKDIR does. */
  readonly cwd: string;
  /** `user`, `user:group`, or numbers; empty is root. Looked up in the image. */
  readonly user: string;
  /**
   * `host` is the machine's, or what the builder gives in its place; `private` the step's own, through which it reaches the same. The key
   * knows only whether there is one.
   */
  readonly network: 'host' | 'none' | 'private';
  /** Of network `host`: the machine's and no other. Not part of the key. @defaultValue false */
  readonly insistsOnHost?: boolean;
  /** `insecure`: all capabilities, no masked paths, the host's devices. Part of the key. @defaultValue sandbox */
  readonly security?: 'sandbox' | 'insecure';
  /** Of the sandbox. Part of the key. @defaultValue the sandbox's own */
  readonly hostname?: string;
  /** Lines of `/etc/hosts` while the step runs. The names are in the key, the addresses are not. */
  readonly extraHosts?: readonly (readonly [name: string, address: string])[];
  /** Size of `/dev/shm` in bytes. Not part of the key. @defaultValue the sandbox's own */
  readonly shmSizeBytes?: number;
  /** Part of the key. @defaultValue those of the builder */
  readonly ulimits?: readonly Ulimit[];
  /** Devices by their names in the Container Device Interface. Part of the key. */
  readonly devices?: readonly DeviceRequest[];
  /** Alternatives, the best first; the first that this machine has is lent. Part of the key. @defaultValue none */
  readonly gpus?: readonly GpuRequest[];
  readonly mounts: readonly Mount[];
  /** Environment variables whose values come from the secret store when the step runs. Only the names are in the key. */
  readonly secretEnv: readonly (SecretVariable | WholeSecret)[];
  /** Names that its whole secrets must define; known when they are read, before anything runs. Not part of the key. @defaultValue none */
  readonly requiredVariables?: readonly string[];
  /** Build tools that the environment should please; each names a set of variables and cache mounts that never enter the key. */
  readonly lend: readonly ToolSupport[];
  /** Wall-clock limit in milliseconds. Not part of the key. */
  readonly timeoutMs?: number;
  /** Not part of the key. @defaultValue those of the builder */
  readonly limits?: ResourceLimits;
  /** How often the vertex is run again when the program fails. Not part of the key. @defaultValue that of the builder */
  readonly retries?: number;
  /** What to try when the shell does not find the command. Not part of the key. */
  readonly hintIfMissing?: string;
  /** A function of the user's that the step calls. `argv` only names it then, for display. */
  readonly call?: FunctionCall;
}

/** Its files, arguments and driver are handed to the step when it runs, and stay out of the layer. */
export interface FunctionCall {
  /** Which of the build's functions. Not part of the key. */
  readonly id: string;
  /** What counts of it: canonical JSON of its source, what that refers to, and the arguments. In the key in place of `argv`. */
  readonly key: string;
  readonly runtime: 'python' | 'node';
  /** Whose Node runs it. Not part of the key. */
  readonly node?: 'auto' | 'image' | 'host';
}

/**
 * `pip`, `uv`, `poetry` and `npm` get their caches on a cache mount, `apt-archives` has apt keep its downloads on one, and `apt` sets
 * `DEBIAN_FRONTEND` besides.
 */
export type ToolSupport = 'pip' | 'uv' | 'poetry' | 'npm' | 'apt' | 'apt-archives';

/** What a program and all that it starts may use together. */
export interface ResourceLimits {
  /** Swap included. */
  readonly memoryBytes?: number;
  /** Cores; fractions too. */
  readonly cpus?: number;
  /** Processes and threads. */
  readonly pids?: number;
}

/** setrlimit(2); -1 is no limit. */
export interface Ulimit {
  /** As Docker spells them: `nofile`, `nproc`, `core` … */
  readonly name: string;
  readonly soft: number;
  readonly hard: number;
}

/** So many GPUs of a type. The request counts for the key, never the devices that satisfy it. */
export interface GpuRequest {
  /** In capitals, such as `A100-80GB`; `ANY` is any. */
  readonly type: string;
  /** At least 1; `all` is as many as there are. */
  readonly count: number | 'all';
  /** These and no others: numbers, UUIDs, `GPU:INSTANCE`. As many as `count`. @defaultValue those that fit */
  readonly devices?: readonly string[];
  /** Of each, at least. @defaultValue any */
  readonly memoryBytes?: number;
  /** Of each, at least: CUDA's compute capability, `8.0`. @defaultValue any */
  readonly compute?: string;
}

export interface DeviceRequest {
  /** `vendor.com/class=name`, `vendor.com/class`, `vendor.com/class=*`. */
  readonly name: string;
  /** False: a device that is not there is a warning. */
  readonly required: boolean;
}

/**
 * Who owns what an action makes. `keep` is the source's owner, which for the user's own files is 0:0. `names` is
 * `user[:group]` with at least one name, looked up in the image that the action works on.
 */
export type Owner =
  | { readonly kind: 'keep' }
  | { readonly kind: 'ids'; readonly uid: number; readonly gid: number }
  | { readonly kind: 'names'; readonly names: string };

export const ROOT_OWNER: Owner = Object.freeze({ kind: 'ids', uid: 0, gid: 0 });

export interface SecretVariable {
  readonly name: string;
  /** Set the variable to nothing where the secret has no value, instead of failing. @defaultValue false */
  readonly optional?: boolean;
  /** Which secret of the build provides it. Not part of the key; the identity is. */
  readonly secretId: string;
  /** What the key sees of the secret: its kind and names, never values. Canonical JSON. */
  readonly identity: string;
}

/** All variables of a secret whose names only whoever reads it knows. */
export interface WholeSecret {
  /** Not part of the key. */
  readonly secretId: string;
  /** Canonical JSON. */
  readonly identity: string;
  /** Variables that the step has from elsewhere all the same. */
  readonly except: readonly string[];
}

export type Mount =
  | {
      readonly kind: 'cache';
      readonly id: string;
      readonly target: string;
      readonly sharing: 'shared' | 'private' | 'locked';
      readonly mode?: number;
      readonly uid?: number;
      readonly gid?: number;
      /** @defaultValue false */
      readonly readOnly?: boolean;
      /** What an empty cache begins with: a directory of an input. */
      readonly seed?: CacheSeed;
    }
  /** A directory that outlives builds. What it holds is in no key and no layer. */
  | {
      readonly kind: 'volume';
      /** Which of the build's volumes. Not part of the key; the name is. */
      readonly volume: string;
      readonly name: string;
      readonly target: string;
      readonly readOnly: boolean;
      /** Directory of the volume, relative. @defaultValue all of it */
      readonly subPath?: string;
    }
  | { readonly kind: 'tmpfs'; readonly target: string; readonly sizeBytes?: number }
  /** A file that the definition itself holds, such as the script of a RUN heredoc. Read-only. */
  | {
      readonly kind: 'inline';
      readonly target: string;
      readonly mode: number;
      /** Base64. */
      readonly data: string;
    }
  /** The socket of an agent of the build that speaks ssh-agent's protocol. */
  | {
      readonly kind: 'ssh';
      /** Which of the build's agents. */
      readonly id: string;
      readonly target: string;
      readonly mode: number;
      readonly uid: number;
      readonly gid: number;
      readonly required: boolean;
    }
  | {
      readonly kind: 'bind';
      readonly input: number;
      readonly source: string;
      readonly target: string;
      readonly readOnly: boolean;
    }
  | {
      readonly kind: 'secret';
      readonly secretId: string;
      readonly identity: string;
      readonly target: string;
      readonly mode: number;
      readonly uid: number;
      readonly gid: number;
      readonly required: boolean;
    };

export interface CacheSeed {
  readonly input: number;
  readonly source: string;
}

/** Copies from another input of the vertex (`input` counts in `Vertex.inputs`) into the prepared root. */
export interface CopyAction {
  readonly kind: 'copy';
  readonly input: number;
  /** Path in the input, never outside of it; `/` is all of it. With `select`, what it selects. */
  readonly source: string;
  /** Absolute path in the image; the contents of a directory land in it, a file lands at it (inside, if it ends in `/` or is a directory). */
  readonly destination: string;
  /** Directories that are made on the way get it too; `keep` gives those to 0:0. */
  readonly owner: Owner;
  /**
   * `normalise` is 0755 for directories and whatever is executable by anyone, else 0644; `keep` keeps the source's. `chmod`
   * is octal or symbolic as chmod(1) takes it, applied to directories and files; to those on the way too.
   */
  readonly modes: 'normalise' | 'keep' | Chmod;
  /** `epoch` is 0; `keep` is the source's. */
  readonly times: 'epoch' | 'keep';
  /** How a Dockerfile's COPY selects. Absent: `source` is one path that must exist. */
  readonly select?: CopySelection;
  /** Unpack what is an archive by its content: tar, also compressed by gzip, bzip2, xz or zstd. @defaultValue false */
  readonly unpack?: boolean;
}

/** Octal or symbolic, as chmod(1) takes it. */
export interface Chmod {
  readonly chmod: string;
}

/** Source: reference of the Dockerfile, "COPY". */
export interface CopySelection {
  /**
   * Whether `source` may be a pattern of Go's `filepath.Match`, component by component; with `parents` also `**`. A pattern
   * may match nothing, a literal must exist.
   */
  readonly wildcards: boolean;
  /** Recreate the source's path below the destination, from after the first `/./` on. */
  readonly parents: boolean;
  /** Patterns of the ignore kind, relative to each selected directory. */
  readonly exclude: readonly string[];
}

/** WORKDIR's: makes a directory and those above it, unless it exists. */
export interface MkdirAction {
  readonly kind: 'mkdir';
  readonly path: string;
  /** Of what is made. */
  readonly mode: number;
  readonly owner: Owner;
  /** Seconds since the epoch. @defaultValue the clock's */
  readonly mtimeSeconds?: number;
}

export interface MkfileAction {
  readonly kind: 'mkfile';
  /** Absolute; ending in `/`, or a directory: the file `name` in it. */
  readonly path: string;
  /** @defaultValue the last component of `path` */
  readonly name?: string;
  readonly mode: number | Chmod;
  readonly owner: Owner;
  /** Base64. For what the frontend itself writes; files of the user are copied. */
  readonly data: string;
}

export interface RemoveAction {
  readonly kind: 'rm';
  readonly path: string;
  readonly allowMissing: boolean;
}
