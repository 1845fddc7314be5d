/**
 * What the Node-API addon exports (`native/crates/binding`), and the one place that loads it.
 *
 * Paths are strings or, where they may hold bytes that are not UTF-8, Buffers. Everything that takes longer than about
 * a millisecond returns a promise and runs off the JavaScript thread; long ones take a {@link CancelToken}, which they
 * poll at least once per tar entry, and then reject with code `CANCELLED`. Errors are objects with `code`, `errno`,
 * `path` and a message; `native/error.ts` turns them into our classes.
 */
import { createRequire } from 'node:module';
import { provideSha256, type Sha256 } from '../base/sha256.ts';
import { HostError } from '../errors.ts';
import type { BlobFormat } from '../oci/media-type.ts';
import { nativeFile } from './native-file.ts';

/** Cancels native work that has begun. `new addon.CancelToken()`. */
export interface CancelToken {
  cancel(): void;
}

/** Called on the JavaScript thread, at most about ten times a second and once at the end. */
export type NativeProgress = (doneBytes: number) => void;

/** Where what a tree's disk cannot have is written down: docs/reference/store.md, "Owners". */
export interface RecordedOwners {
  readonly file: string;
  /** Every owner but 0:0, since there is no other id; otherwise only devices that cannot be made. */
  readonly single: boolean;
}

export interface WriteLayerOptions {
  /** The upper directory, in overlayfs form. */
  readonly root: string;
  /** The file of its owners. */
  readonly owners?: string;
  /**
   * The directories below it, topmost first. Entries that were copied up but did not change (same metadata, same
   * bytes) are left out, and whiteouts are written only for names that exist below.
   */
  readonly lowers: readonly string[];
  /** The file to create; the caller renames it. Nothing is left there after an error. */
  readonly output: string;
  readonly compression: BlobFormat;
  /** zstd 1 to 19, gzip 1 to 9. */
  readonly level: number;
  /** Worker threads; the output does not depend on it. @defaultValue the number of cores */
  readonly threads?: number;
  /** Modification times later than this become this (SOURCE_DATE_EPOCH), in seconds. */
  readonly clampMtimeSeconds?: number;
  /**
   * A blob of an earlier state of the layer: where decompressing one of its zstd frames gives the same bytes, it is taken instead of
   * compressing them. One that cannot be read is as good as none. With its `frames`, those of files whose contents an index knows are taken
   * without a look at the files.
   */
  readonly previous?: { readonly blob: string; readonly frames?: Buffer };
}

export interface WrittenLayer {
  /** `sha256:…` of the file that was written. */
  readonly digest: string;
  readonly sizeBytes: number;
  /** `sha256:…` of the uncompressed tar. */
  readonly diffId: string;
  readonly uncompressedSizeBytes: number;
  /** That its descriptor must have, so that readers find the table of contents. Empty where there is none. */
  readonly annotations: Readonly<Record<string, string>>;
  /** What frames of files were made of, for {@link WriteLayerOptions.previous}. Empty where nothing is known of them. */
  readonly frames: Buffer;
  readonly entryCount: number;
  /** Sockets have no tar form; they are left out and counted. */
  readonly skippedSockets: number;
}

export interface UnpackLayerOptions {
  readonly blob: string;
  /** It is being written, in order and elsewhere until it is complete. Whoever writes it takes its digest, and cancels when it ends early. */
  readonly arriving?: { readonly path: string; readonly sizeBytes: number };
  /** By the media type; 'auto' goes by magic bytes. */
  readonly compression: 'auto' | 'zstd' | 'gzip' | 'none';
  /** An existing empty directory. On error its contents are removed again. */
  readonly root: string;
  /** Checked while streaming: `sha256:…` of the file, and of the uncompressed tar. */
  readonly expectedDigest?: string;
  readonly expectedDiffId?: string;
  /** Limits against decompression bombs. Defaults: 1 TiB, 1000 times the blob (beyond 64 MiB), 10 million entries. */
  readonly maxUncompressedBytes?: number;
  readonly maxRatio?: number;
  readonly maxEntries?: number;
  /** How whiteouts become overlayfs's: opaque marks as `user.overlay.opaque` or `trusted.overlay.opaque`. */
  readonly overlayXattrs: 'user' | 'trusted';
  /** Real device nodes where that is permitted; otherwise they are recorded as empty regular files, and listed. */
  readonly devices: 'create' | 'record';
  /** Without it, owners that cannot be had are refused with `NEEDS_IDS`, and devices are forgotten. */
  readonly owners?: RecordedOwners;
}

/** Entries that are no directories, and how large the files among them are. */
export interface ExportedTrees {
  readonly written: number;
  readonly unchanged: number;
  /** What was in no tree, counted where it was found: a directory is one. */
  readonly removed: number;
  readonly sizeBytes: number;
}

export interface UnpackedLayer {
  readonly digest: string;
  readonly diffId: string;
  readonly uncompressedSizeBytes: number;
  readonly entryCount: number;
  /** Directories that had no entry of their own and were made for their children, shallowest first. */
  readonly implicitDirectories: readonly Buffer[];
  readonly recordedDevices: readonly Buffer[];
}

export interface FileFacts {
  readonly sha256: string;
  readonly sizeBytes: number;
  readonly mode: number;
  readonly dev: string;
  readonly ino: string;
  readonly mtimeNs: string;
  readonly ctimeNs: string;
}

/** One row of {@link NativeAddon.scanTree}. Numbers that may exceed 2^53 are strings. */
export interface ScanEntry {
  /** Relative, `/`-separated, no leading `./`. Bytes. */
  readonly path: Buffer;
  readonly kind: 'file' | 'directory' | 'symlink' | 'fifo' | 'socket' | 'char' | 'block';
  /** Permission bits, 07777. */
  readonly mode: number;
  readonly sizeBytes: number;
  readonly dev: string;
  readonly ino: string;
  readonly mtimeNs: string;
  readonly ctimeNs: string;
  /** Target of a symlink. */
  readonly link?: Buffer;
}

/**
 * One row of {@link NativeAddon.scanDirectories}: as {@link ScanEntry}, the last absent but for a symlink. A byte that is not
 * UTF-8 is a lone surrogate, as `base/path-bytes.ts` has it.
 */
export type ListingRow = readonly [
  name: string,
  kind: ScanEntry['kind'],
  mode: number,
  sizeBytes: number,
  dev: string,
  ino: string,
  mtimeNs: string,
  ctimeNs: string,
  link?: string,
];

export interface CopyEntry {
  /** Below `sourceRoot`, or an absolute path of the host. Not followed if it is a link, unless `follow`. */
  readonly source: Buffer | string;
  /** Path below `root`, resolved inside it: links of the image are followed, but never out of the root. */
  readonly destination: Buffer | string;
  /**
   * `node` is a FIFO or device as the source is one; a socket becomes an empty file. `empty` is a file with nothing in it, whose
   * source is only named in messages.
   */
  readonly kind: 'file' | 'directory' | 'symlink' | 'node' | 'empty';
  /** Target for `symlink`. */
  readonly link?: Buffer | string;
  /** Permission bits to set; absent keeps the source's. */
  readonly mode?: number;
  /** Absent keeps the source's owner; both or neither. */
  readonly uid?: number;
  readonly gid?: number;
  /** Nanoseconds since the epoch as a string; absent keeps the source's. */
  readonly mtimeNs?: string;
  readonly follow?: boolean;
  /** Whether `user.*` attributes and file capabilities come along; from other images, never from the user's disk. */
  readonly xattrs?: boolean;
  /** The source must still have these, before and after it was copied; otherwise `SOURCE_CHANGED`. */
  readonly expect?: Expectation;
  /** Files with one number that are one file in the source (hard links) are one in the root too. */
  readonly tree?: number;
  /** A directory that exists keeps mode, owner and attributes; its time is set all the same. */
  readonly keepsExisting?: boolean;
}

/** All that is below a directory of an index, as the {@link CopyEntry}s that it means. Pipes and devices are left out. */
export interface CopyBelow {
  readonly kind: 'below';
  /** The directory, relative to the index's root. */
  readonly below: string;
  readonly destination: string;
  /** What kinds and modes become. Those that are not there stay as they are. */
  readonly modes: readonly (readonly [kind: string, from: number, to: number])[];
  readonly uid: number;
  readonly gid: number;
  /** As for {@link CopyEntry}. */
  readonly mtimeNs?: string;
  readonly tree?: number;
}

/** What a file was when it was hashed. */
export interface Expectation {
  readonly sizeBytes: number;
  readonly mtimeNs: string;
  readonly ctimeNs: string;
}

export interface CopyOptions {
  readonly root: string;
  /** Where `root` is an overlay, its upper directory: the kernel clones into that, and into no overlay. */
  readonly upper?: string;
  /** A directory that all sources are below; no link on their way is followed, whoever puts one there meanwhile. */
  readonly sourceRoot?: string;
  /** {@link CopyEntry} and {@link CopyBelow}, by `encodeCopyEntries`. */
  readonly entries: Buffer;
  /** Rejects with `NOT_A_DIRECTORY` where a directory would replace something else. @defaultValue false */
  readonly strict?: boolean;
  /** Of `root`. Without it, owners that cannot be had are refused with `NEEDS_IDS`. */
  readonly owners?: RecordedOwners;
  /** The file of the owners of `sourceRoot`. */
  readonly sourceOwners?: string;
}

/** A file that may be an archive. */
export interface ArchiveFile {
  /** Absolute; not followed if it is a link. */
  readonly path: Buffer | string;
  readonly expect?: Expectation;
  /** Limits against decompression bombs. Defaults: 1 TiB, 1000 times the file (beyond 64 MiB). */
  readonly maxUncompressedBytes?: number;
  readonly maxRatio?: number;
}

export interface UnpackArchiveOptions {
  readonly archive: ArchiveFile;
  readonly root: string;
  /** An existing directory below the root. */
  readonly directory: Buffer | string;
  /** Owner of everything, instead of what the archive says; both or neither. */
  readonly uid?: number;
  readonly gid?: number;
  /** Modification time of directories that the archive only implies. */
  readonly madeAtNs: string;
  /** @defaultValue 10 million */
  readonly maxEntries?: number;
  readonly devices: 'create' | 'record';
  /** Of `root`. */
  readonly owners?: RecordedOwners;
}

export interface OverlayMount {
  /** Topmost first. */
  readonly lowers: readonly string[];
  readonly upper?: string;
  readonly work?: string;
  readonly target: string;
  /** `userxattr` in a user namespace; metacopy, redirect_dir and index off otherwise. */
  readonly userXattr: boolean;
  /** Skip syncing: the upper is thrown away after a crash anyway. */
  readonly volatile?: boolean;
}

export type SeccompAction =
  | { readonly kind: 'allow' | 'trap' | 'kill' | 'log' }
  | { readonly kind: 'errno'; readonly errno: number };

/** On one argument of a call; numbers of 64 bits as text. */
export interface SeccompCondition {
  /** From 0 to 5. */
  readonly argument: number;
  readonly mask: string;
  readonly test: 'equal' | 'not-equal' | 'greater' | 'greater-or-equal' | 'less' | 'less-or-equal';
  readonly value: string;
}

export interface SeccompFilter {
  /** Of calls without a rule that fits. */
  readonly otherwise: SeccompAction;
  /** Of architectures that this machine's programs do not have; x32 is one. */
  readonly foreign: SeccompAction;
  /** Of calls that are newer than all that we know. */
  readonly beyond: SeccompAction;
  /** The first whose conditions all hold decides. One for a call that no architecture has is left out. */
  readonly rules: readonly {
    readonly name: string;
    readonly conditions: readonly SeccompCondition[];
    readonly action: SeccompAction;
  }[];
}

/** A file that is hashed while it is written. After an error, what is in the file is not what was hashed. */
export interface HashedFile {
  /** Hashes what is in the file; what is appended then comes behind it. The number of bytes. One call at a time. */
  takeIn(): Promise<number>;
  /** `bytes` are read until the promise is settled. */
  append(bytes: Uint8Array): Promise<number>;
  /** Empties it. */
  restart(): Promise<number>;
  /** Of all bytes so far: lower-case hex. */
  sha256(): string;
  /** Nothing can be done with it then. What runs is done first. */
  close(): void;
}

export interface NativeAddon extends Sha256 {
  CancelToken: new () => CancelToken;

  // crates/layer
  writeLayer(
    options: WriteLayerOptions,
    cancel?: CancelToken,
    progress?: NativeProgress,
  ): Promise<WrittenLayer>;
  /**
   * What {@link copyInto} an overlay of `lowers` and {@link writeLayer} of its changes would write, with nothing copied. Null where only a
   * tree can say what comes of it, for example because a link below leads elsewhere.
   */
  writeCopiedLayer(
    options: Omit<WriteLayerOptions, 'root' | 'owners'> & {
      /** As for `copyInto`, with absolute sources. */
      readonly entries: Buffer;
      /** The modification time of directories in which something is made, in seconds. */
      readonly nowSeconds: number;
    },
    cancel?: CancelToken,
    progress?: NativeProgress,
    index?: NativeTreeIndex,
  ): Promise<WrittenLayer | null>;
  /** Reads a blob of any compression and writes its tar again with another; nothing is left in `output` after an error. */
  recompressLayer(
    options: {
      readonly blob: string;
      readonly expectedDiffId: string;
      readonly output: string;
      readonly compression: BlobFormat;
      readonly level: number;
      readonly threads?: number;
    },
    cancel?: CancelToken,
    progress?: NativeProgress,
  ): Promise<Omit<WrittenLayer, 'entryCount' | 'skippedSockets' | 'frames'>>;
  unpackLayer(
    options: UnpackLayerOptions,
    cancel?: CancelToken,
    progress?: NativeProgress,
  ): Promise<UnpackedLayer>;
  /** Whether a file is a tar, bare or compressed by gzip, bzip2, xz or zstd: by its content up to the first header. */
  isArchive(archive: ArchiveFile, cancel?: CancelToken): Promise<boolean>;
  /**
   * Unpacks an archive of the user's into a directory below a mounted root. An entry for the directory itself is left out,
   * names that a layer cannot hold reject with `LAYER_UNREPRESENTABLE`. What was unpacked stays after an error.
   */
  unpackArchive(
    options: UnpackArchiveOptions,
    cancel?: CancelToken,
    progress?: NativeProgress,
  ): Promise<{ readonly entryCount: number; readonly recordedDevices: number }>;
  /**
   * Mends a layer that was unpacked by itself, now that the layers below it are known: an implicit directory takes the
   * metadata that it has below; where there is a symlink below, the children move to where it points inside the root.
   */
  reconcileLayer(options: {
    root: string;
    lowers: readonly string[];
    implicitDirectories: readonly Buffer[];
    overlayXattrs: 'user' | 'trusted';
    /** The file of the layer's owners. */
    owners?: string;
  }): Promise<{ readonly changed: number }>;
  /** A digest of everything in a layer directory but times: paths, types, modes, owners, xattrs, links, contents. */
  treeDigest(
    root: string,
    /** The owners of the tree in which the digested one is, and where in it. */
    owners?: { readonly file: string; readonly path: Buffer | string },
    cancel?: CancelToken,
  ): Promise<string>;
  /** Modification times later than `epochSeconds` become it, directories included. */
  clampTimes(root: string, epochSeconds: number, cancel?: CancelToken): Promise<number>;
  /** For hosts without overlay: the stack of layer directories as one plain tree, cloned where the filesystem can. */
  flattenLayers(
    options: {
      lowers: readonly string[];
      target: string;
      /** Where what the layers record of owners goes; without it that is left out. */
      owners?: string;
    },
    cancel?: CancelToken,
  ): Promise<void>;
  /**
   * Brings a directory of the user's up to date with stacks of layers: what is there and right, by all that `stat` says,
   * is left alone; the rest is written under another name and renamed. Rejects with `OUTPUT_CONFLICT` when two trees hold
   * the same file, with `OUTPUT_EXISTS` when a directory that is not empty, a mount or another export is in the way.
   */
  exportTrees(
    options: {
      /** `prefix` is one name below the target, or empty. `lowers` are topmost first. */
      trees: readonly { lowers: readonly string[]; prefix: string }[];
      target: string;
      /** Whether what is in no tree is removed. */
      delete: boolean;
      /** Everything gets this owner instead of its own. */
      uid?: number;
      gid?: number;
      /** Whether the target itself gets mode, owner and time of the tree's root. */
      ownRoot: boolean;
      clampMtimeSeconds?: number;
      /** Where what the layers record of owners goes; without it that is left out. */
      owners?: string;
    },
    cancel?: CancelToken,
  ): Promise<ExportedTrees>;
  /** For hosts without overlay: what differs between the stack and the changed tree, moved to `upper` in overlayfs form. */
  diffTree(
    options: {
      lowers: readonly string[];
      changed: string;
      /** The file of the owners of `changed`. */
      owners?: string;
      upper: string;
      overlayXattrs: 'user' | 'trusted';
    },
    cancel?: CancelToken,
  ): Promise<void>;
  /** Writes to `file` what the stack `lowers`, topmost first, records of its merged tree. */
  mergeOwners(lowers: readonly string[], file: string): Promise<void>;
  /** Writes to `output` what `merged` says of the paths in `tree`. Gives whether the root has another record than below. */
  writeLayerOwners(options: {
    merged: string;
    tree: string;
    lowers: readonly string[];
    output: string;
  }): Promise<boolean>;
  /** Forgets what `file` records of paths that the merged `tree` has no more, and devices where there is no empty file. */
  pruneOwners(tree: string, file: string): Promise<void>;
  /**
   * Gives the files of a layer the owners that `sidecar` records, and devices their nodes, as far as this process can; the
   * sidecar keeps the rest. Done again after it was killed, it comes to the same end.
   */
  settleOwners(
    tree: string,
    sidecar: string,
    overlayXattrs: 'user' | 'trusted',
    cancel?: CancelToken,
  ): Promise<number>;
  /** Marks directories that are opaque under either name space under this one too. */
  markOpaqueFor(tree: string, overlayXattrs: 'user' | 'trusted', cancel?: CancelToken): Promise<number>;

  // crates/debian
  /**
   * Unpacks `.deb` files into `root` in parallel and registers them with dpkg as unpacked: `data.tar` below `root`,
   * maintainer scripts and lists below `var/lib/dpkg/info`, stanzas in `var/lib/dpkg/status`. No script is run. Links
   * that are in `root` already (merged /usr) are followed. Where several packages hold a directory, the first in the
   * list decides its mode and owner. Rejects with `FILE_CONFLICT` when two hold the same file and neither replaces the
   * other. A package that `mayDefer` and whose preinst must run before its files are there is only laid down in
   * `var/tmp/tsbuild-deferred`, for dpkg to unpack.
   */
  unpackDebs(
    options: {
      root: string;
      packages: readonly { path: string; sha256: string; mayDefer?: boolean }[];
      threads?: number;
      /** Of `root`. */
      owners?: RecordedOwners;
    },
    cancel?: CancelToken,
    progress?: NativeProgress,
  ): Promise<{
    readonly entryCount: number;
    /** Names of the packages that were laid down only. */
    readonly deferred: readonly string[];
  }>;

  // crates/recorder
  readonly Recorder: new () => NativeRecorder;
  /** Why owners cannot be recorded here; null where they can. */
  probeRecorder(): string | null;

  // crates/sys
  /** Makes the file, or opens one that is there; its hash is that of nothing in either case. */
  HashedFile: new (
    path: string,
    create: boolean,
  ) => HashedFile;
  /** Ends this process: nothing that was to run at its end runs, and none of its threads is waited for. */
  exitNow(status: number): never;
  /** Hex, of that many random bytes, at most 256. */
  randomHex(bytes: number): string;
  hashFile(path: string, cancel?: CancelToken): Promise<FileFacts>;
  /** In parallel; the result has the order of `paths`. A missing file rejects with its path. */
  hashFiles(paths: readonly (string | Buffer)[], cancel?: CancelToken): Promise<readonly FileFacts[]>;
  /** Walks `root`. `skip` are paths relative to it (`pathList`) of which only kinds and names count. */
  walkTree(root: string, skip: string, cancel?: CancelToken): Promise<NativeWalk>;
  /** An index that was saved. Rejects with `DAMAGED_INDEX` for any other file. */
  openTreeIndex(path: string): Promise<NativeTreeIndex>;
  /**
   * Begins a walk for the next call of {@link walkTree} with the same arguments, which then tells what was seen between the two calls. For
   * `bin/tsbuild.js`, whose process has just begun.
   */
  beginWalk(root: string, skip: string): void;
  /** The last walk that was not begun before it was asked for. */
  lastWalk(): { readonly root: string; readonly skip: string; readonly tookMs: number } | null;
  /** Every entry below `root` (not itself), sorted by path bytes; never follows links. */
  scanTree(root: string, cancel?: CancelToken): Promise<readonly ScanEntry[]>;
  /**
   * The entries of each of `directories` (relative to `root`; empty is `root` itself), not of those below them, so that a
   * caller decides level by level where to go. Never follows links. JSON of an array with one element for each of them, in
   * their order: {@link ListingRow}s, sorted by the bytes of their names, or null where this process may not look.
   */
  scanDirectories(root: string, directories: readonly Buffer[], cancel?: CancelToken): Promise<string>;
  /** Copies in order; files are cloned where the filesystem can, and holes stay holes. Parents are made as 0755 root. */
  copyInto(
    options: CopyOptions,
    cancel?: CancelToken,
    progress?: NativeProgress,
    index?: NativeTreeIndex,
  ): Promise<{
    readonly sizeBytes: number;
    /** Device nodes that became empty files, where making them is not permitted. */
    readonly recordedDevices: number;
  }>;
  /** Makes a directory and its parents below `root`; an existing one is left as it is. */
  mkdirInRoot(root: string, path: string, mode: number, uid: number, gid: number): void;
  /** The same, and the parents that are made are made alike. Times only where they are given. */
  makeDirectories(
    root: string,
    path: Buffer | string,
    like: {
      readonly mode: number;
      readonly uid: number;
      readonly gid: number;
      readonly mtimeNs?: string;
      /** Of `root`. */
      readonly owners?: RecordedOwners;
    },
  ): void;
  /** The whole file below `root`, links resolved inside the root. Rejects above `maxBytes`. */
  readInRoot(root: string, path: string, maxBytes: number): Promise<Buffer>;
  /** What the path is after resolving links inside the root; undefined where nothing is. */
  statInRoot(root: string, path: string): ScanEntry | undefined;
  /** Removes what is at `path` below `root`, never following a link in the last place. False when nothing was there. */
  removeInRoot(
    root: string,
    path: string,
    cancel?: CancelToken,
    /** Of `root`. */
    owners?: RecordedOwners,
  ): Promise<boolean>;
  /** Makes a directory look like another: owner, mode, attributes, times. */
  copyAttributes(source: string, target: string): void;
  /** To the nanosecond, which `utimes` of Node is not. Links are not followed. */
  setMtime(path: string, mtimeNs: string): void;
  setXattr(path: string, name: string, value: Buffer): void;
  /** Removes a tree, whatever its modes, never following links. Missing is fine. */
  removeTree(path: string, cancel?: CancelToken): Promise<void>;
  /** The same at once: for a few files in memory, which are gone before a thread has started. */
  removeSmallTree(path: string): void;
  mountOverlay(mount: OverlayMount): void;
  mountBind(source: string, target: string, readOnly: boolean, recursive: boolean): void;
  /** Device nodes in it can be opened if `devices`. */
  mountTmpfs(target: string, mode: number, sizeBytes?: number, devices?: boolean): void;
  /**
   * Moves a mount to a path below `root` that others may be changing meanwhile: what is missing is made; where a link is in the way it throws.
   */
  moveMountWithin(from: string, root: string, path: string, directory: boolean): void;
  /** A node for the device that `source` is a node of, with its mode and owner; links are followed. */
  makeDeviceLike(source: string, target: string): void;
  /** Lazy when `detach`. */
  unmount(target: string, detach: boolean): void;
  /**
   * Starts `argv[0]`, a path, in the root directory, with these streams under the numbers from 0 on: `null` is /dev/null, `read` and
   * `write` are what we do with a pipe, a number is a descriptor of ours. `ends` are ours of the pipes, -1 for what is none; they are
   * the caller's to close. Node's own way forks, which takes two milliseconds in a process that has worked.
   */
  spawnProgram(
    argv: readonly string[],
    environment: readonly string[],
    streams: readonly ('null' | 'read' | 'write' | number)[],
  ): { readonly pid: number; readonly ends: readonly number[] };
  /** To be called once for each program, which is a zombie until then. One of the two is there. */
  programEnd(pid: number): Promise<{ readonly status?: number; readonly signal?: NodeJS.Signals }>;
  /** For the machine's own programs and its 32-bit ones: instructions of eight bytes, as `step.rs` reads them. */
  seccompProgram(filter: SeccompFilter): Buffer;
  /** What the kernel has: filters that answer calls, and Landlock's scopes (6.12). */
  confinement(): { readonly seccomp: boolean; readonly scopes: boolean };
  /**
   * What is written to this terminal reaches it as it is. Node's raw mode, which also takes this back, leaves line feeds as they
   * are for lines of text. False: it is no terminal.
   */
  writeAsIs(fd: number): boolean;
  /** An advisory lock on a file, which is made if missing; undefined when somebody else holds it. Ends with the process. */
  tryLock(path: string, shared: boolean): NativeLock | undefined;
  /** The same, waiting without blocking the JavaScript thread. */
  lock(path: string, shared: boolean, cancel?: CancelToken): Promise<NativeLock>;
}

/** Both ends of a socket: a thread that records is at one, the step at the other. */
export interface NativeRecorder {
  /** The step's end, to be given to it under the number 6. */
  readonly fd: number;
  /**
   * Once. Starts the thread, which reads what is recorded before the step, and writes what is recorded after it. Resolves when no
   * process of the step is left and nobody has the other end.
   */
  record(options: {
    readonly root: string;
    readonly changes: string;
    readonly owners: string;
    readonly mounted: readonly { readonly path: string; readonly uid: number; readonly gid: number }[];
    readonly trees: readonly { readonly root: string; readonly owners: string }[];
    /** Whom the step runs as; absent where its ids are real and only devices are recorded. */
    readonly user?: { readonly uid: number; readonly gid: number; readonly groups: readonly number[] };
  }): Promise<{ readonly listened: boolean; readonly calls: number }>;
  /** Our copy of the step's end. */
  close(): void;
}

export interface NativeLock {
  release(): void;
}

/** What a walk saw. */
export interface NativeWalk {
  /** One digest of all of it, as docs/reference/store.md describes it; equal ones mean that no file changed. */
  readonly fingerprint: string;
  /** The same of kinds and names alone. */
  readonly names: string;
  /** The latest time of a file's, of both kinds; of none, a time long ago. */
  readonly newestNs: string;
  /**
   * Once. What was seen, without the paths in `hidden` (`pathList`). Contents are taken over from files of earlier indexes where nothing changed; one that cannot be
   * read is as good as none.
   */
  index(hidden: string, known: readonly string[]): Promise<NativeTreeIndex>;
}

/**
 * All that is known of the files below a directory, so that few rows of many thousands need cross. Paths are relative to it, in bytes. A choice
 * (`choiceOf`) names some of the entries; what is said of it leaves out pipes and devices. Text is JSON.
 */
export interface NativeTreeIndex {
  readonly root: string;
  /** Directories that this process may not look into. */
  denied(): readonly Buffer[];
  /** {@link ListingRow}. */
  entry(path: Buffer): string | null;
  /** Of {@link ListingRow}, sorted by name. */
  children(directory: Buffer): string;
  /** The different kinds and modes below a directory, as pairs. */
  modes(directory: Buffer): string;
  /** Reads files of the choice whose content is not known. What is younger than `settledNs` is not trusted by a later walk. */
  hash(
    choice: Buffer,
    settledNs: string,
    cancel?: CancelToken,
  ): Promise<{
    readonly filesRead: number;
    /** Whether they were as the walk saw them. */
    readonly isAsSeen: boolean;
  }>;
  summarize(choice: Buffer): {
    /** Hex SHA-256 of what a key sees. */
    readonly contentDigest: string;
    /** `/`-rooted paths of the pipes and devices. */
    readonly leftOut: string;
    /** The `/`-rooted path of the first entry that is not UTF-8, or whose target is not. */
    readonly notText?: string;
  };
  /** Pairs of what a key sees of each. */
  summary(choice: Buffer): string;
  /** The same, as `base/listing.ts` has it. */
  listing(choice: Buffer): string;
  /** `InputFile`s of `worker/protocol.ts`. */
  files(choice: Buffer): string;
  /** The host's paths of files both of whose times are later. */
  later(choice: Buffer, ns: string): string;
  /** Into a new file. @param settled - Only contents that a later walk may trust. */
  save(path: string, settled: boolean): Promise<void>;
}

let loaded: NativeAddon | undefined;

/** @throws {HostError} `E_NATIVE_MISSING` when there is no binary for this platform, or none that it can load. */
export function native(): NativeAddon {
  if (loaded === undefined) {
    const path = nativeFile('tsbuild', '.node');
    try {
      loaded = createRequire(path)(path) as NativeAddon;
    } catch (cause) {
      throw new HostError(`cannot load the native helper '${path}': ${(cause as Error).message}`, {
        code: 'E_NATIVE_MISSING',
        path,
        cause,
        hint: 'it needs the C library of a Debian 12 or later; in a checkout, run `npm run build:native`',
      });
    }
  }
  return loaded;
}

/** Undefined where nobody needed it yet. */
export function loadedNative(): NativeAddon | undefined {
  return loaded;
}

provideSha256(() => {
  try {
    return native();
  } catch {
    // Whoever needs the addon for more is told why it is not there.
    return undefined;
  }
});
