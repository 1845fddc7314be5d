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
  /** Absolute. Made if it is missing, as WORKDIR does. */
  readonly cwd: string;
  /** `user`, `user:group`, or numbers; empty is root. Looked up in the image. */
  readonly user: string;
  readonly network: 'host' | 'none';
  readonly mounts: readonly Mount[];
  /** Environment variables whose values come from the secret store when the step runs. Only the names are in the key. */
  readonly secretEnv: readonly SecretVariable[];
  /** Build tools that the environment should please; each names a set of variables and cache mounts that never enter the key. */
  readonly lend: readonly ToolSupport[];
  /** Wall-clock limit in milliseconds. Not part of the key. */
  readonly timeoutMs?: number;
}

/**
 * `pip`, `uv` and `npm` get their caches on a cache mount, `apt-archives` has apt keep its downloads on one, and `apt` sets
 * `DEBIAN_FRONTEND` besides.
 */
export type ToolSupport = 'pip' | 'uv' | 'npm' | 'apt' | 'apt-archives';

export interface SecretVariable {
  readonly name: string;
  /** Which secret of the build provides it. Not part of the key; the identity is. */
  readonly secretId: string;
  /** What the key sees of the secret: its kind and names, never values. Canonical JSON. */
  readonly identity: string;
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
    }
  | { readonly kind: 'tmpfs'; readonly target: string; readonly sizeBytes?: number }
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

/** Copies from another input of the vertex (`input` counts in `Vertex.inputs`) into the prepared root. */
export interface CopyAction {
  readonly kind: 'copy';
  readonly input: number;
  /** Path in the input; `/` is all of it. */
  readonly source: string;
  /** Absolute path in the image; the contents of a directory land in it, a file lands at it (inside, if it ends in `/` or is a directory). */
  readonly destination: string;
  readonly uid: number;
  readonly gid: number;
  /** `normalise` is 0755 for directories and whatever is executable by anyone, else 0644; `keep` keeps the source's. */
  readonly modes: 'normalise' | 'keep';
  /** `epoch` is 0; `keep` is the source's. */
  readonly times: 'epoch' | 'keep';
}

export interface MkdirAction {
  readonly kind: 'mkdir';
  readonly path: string;
  /** Of the last component, if it is made. */
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
}

export interface MkfileAction {
  readonly kind: 'mkfile';
  readonly path: string;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  /** Base64. For what the frontend itself writes; files of the user are copied. */
  readonly data: string;
}

export interface RemoveAction {
  readonly kind: 'rm';
  readonly path: string;
  readonly allowMissing: boolean;
}
