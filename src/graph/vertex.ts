/**
 * The one intermediate representation. A vertex is an operation and the edges that it reads; its digest covers both, so
 * that equal work has equal digests and is done once.
 */
import { canonicalJson } from '../base/canonical-json.ts';
import { sha256Hex } from '../base/sha256.ts';
import { type Digest, sha256Digest } from '../oci/digest.ts';
import type { Platform } from '../oci/platform.ts';
import type { Action } from './action.ts';

export type Operation =
  | SourceImage
  | SourceOciLayout
  | SourceStored
  | SourceDebian
  | SourceLocal
  | SourceTool
  | SourcePython
  | SourceHttp
  | SourceGit
  | { readonly kind: 'scratch' }
  /** The layers of all inputs, stacked in their order: what `COPY --link` made goes above a base that it never saw. */
  | { readonly kind: 'merge' }
  | { readonly kind: 'build'; readonly actions: readonly Action[] };

/** An image of a registry. The frontend resolved the tag, so that the content is named by digest. */
export interface SourceImage {
  readonly kind: 'source-image';
  /** As the user wrote it, for display. Not part of the key. */
  readonly reference: string;
  /** Of the manifest for the wanted platform. */
  readonly manifestDigest: Digest;
}

/** An image of an OCI layout that was handed to the build under `layout`. */
export interface SourceOciLayout {
  readonly kind: 'source-oci-layout';
  /** Which of the build's layouts; not part of the key. */
  readonly layout: string;
  readonly manifestDigest: Digest;
}

/** An image of this machine's store. */
export interface SourceStored {
  readonly kind: 'source-stored';
  readonly image: string;
  /** Of the image, bottom first. Not part of the key: the id stands for them. */
  readonly layers: readonly string[];
}

/** A root filesystem assembled from Debian's archive. */
export interface SourceDebian {
  readonly kind: 'source-debian';
  readonly suite: string;
  readonly components: readonly string[];
  /** Beyond the essential set and apt; sorted. */
  readonly packages: readonly string[];
  /** `20261015T000000Z`, or the archive as it is now. */
  readonly snapshot?: string;
  readonly architecture: string;
}

/** Files of the user's machine, handed to the build under `input`; keyed by content. */
export interface SourceLocal {
  readonly kind: 'source-local';
  /** Which of the build's local inputs; not part of the key. */
  readonly input: string;
}

/** A tool that the engine provides as a small tree of files, such as uv. */
export interface SourceTool {
  readonly kind: 'source-tool';
  readonly tool: 'uv';
  /** `latest` or an exact version. */
  readonly version: string;
  readonly architecture: string;
}

/** The tree of a relocatable CPython, at the path at which its archive has it. */
export interface SourcePython {
  readonly kind: 'source-python';
  /** Of python-build-standalone, and the name of the archive there: where it is fetched. Not part of the key. */
  readonly release: string;
  readonly file: string;
  /** Of the archive. */
  readonly digest: Digest;
}

/** A file of a web server. It was fetched, or found unchanged, before the graph was made. Results in files: `/NAME`. */
export interface SourceHttp {
  readonly kind: 'source-http';
  /** As the user wrote it, without credentials, for display. Not part of the key. */
  readonly url: string;
  /** Of the body, which is in the blob store. */
  readonly digest: Digest;
  /** What the file is called. */
  readonly name: string;
  /** Seconds since the epoch, from Last-Modified; 0 when the server gave none. Not part of the key. */
  readonly mtimeSeconds: number;
}

/** Files of a commit of a git repository. The frontend's resolver found out which commit a branch or tag is. */
export interface SourceGit {
  readonly kind: 'source-git';
  /** Remote URL without credentials. Part of the key only with `keepGitDir` or `submodules`. */
  readonly remote: string;
  /** Full hexadecimal id of the commit. */
  readonly commit: string;
  /**
   * Full name of what was asked for, such as `refs/heads/main`: fetched where a server refuses to give a commit by its id.
   * Part of the key only with `keepGitDir`, whose `.git` has it.
   */
  readonly ref?: string;
  /** Directory of the repository that becomes `/`. @defaultValue all of it */
  readonly subdir?: string;
  readonly keepGitDir: boolean;
  readonly submodules: boolean;
  /** Modification times of the files: that of the commit, or of the checkout. @defaultValue checkout */
  readonly mtime?: 'checkout' | 'commit';
}

export interface Edge {
  readonly vertex: Vertex;
  /** Which output of the vertex. 0 is its root filesystem. */
  readonly output: number;
}

export interface VertexOptions {
  readonly platform: Platform;
  /** What progress calls it, for example `aptInstall git`. Not part of the digest. */
  readonly label: string;
  /** Where the user asked for it. Not part of the digest. */
  readonly origin?: VertexOrigin;
  /** Run it even if a result is known (B3 of the Image API). Not part of the digest. */
  readonly force?: boolean;
}

export interface VertexOrigin {
  readonly method: string;
  /** Position of the call in the chain; 0 is the base. */
  readonly layer: number;
  /** Which definition it belongs to, so that an explanation can find the last run of the same step. */
  readonly definition?: string;
  /** Which step of the call, where one call makes many: `builder/3`. */
  readonly position?: string;
  /** Where the user's text asks for it. */
  readonly source?: {
    readonly file: string;
    /** From 1. */
    readonly line: number;
    /** The lines around it, numbered. */
    readonly excerpt: string;
  };
}

export interface Vertex extends VertexOptions {
  readonly operation: Operation;
  readonly inputs: readonly Edge[];
  /** Of the canonical encoding of operation, platform and the inputs' digests. */
  readonly digest: Digest;
}

const ENCODING_VERSION = 1;

export function vertex(operation: Operation, inputs: readonly Edge[], options: VertexOptions): Vertex {
  const encoded = canonicalJson({
    v: ENCODING_VERSION,
    operation,
    platform: options.platform,
    inputs: inputs.map((edge) => [edge.vertex.digest, edge.output]),
  });
  return deepFreeze({
    ...options,
    operation,
    inputs: [...inputs],
    digest: sha256Digest(sha256Hex(encoded)),
  });
}

export function firstOutput(of: Vertex): Edge {
  return Object.freeze({ vertex: of, output: 0 });
}

/** Every vertex that `tips` need, inputs before those who read them, each once. */
export function topologicalOrder(tips: readonly Vertex[]): Vertex[] {
  const order: Vertex[] = [];
  const seen = new Set<Digest>();
  const stack: { vertex: Vertex; next: number }[] = [];
  for (const tip of tips) {
    stack.push({ vertex: tip, next: 0 });
    while (stack.length > 0) {
      const frame = stack[stack.length - 1] as { vertex: Vertex; next: number };
      if (seen.has(frame.vertex.digest)) {
        stack.pop();
        continue;
      }
      const input = frame.vertex.inputs[frame.next];
      if (input !== undefined) {
        frame.next += 1;
        stack.push({ vertex: input.vertex, next: 0 });
        continue;
      }
      seen.add(frame.vertex.digest);
      order.push(frame.vertex);
      stack.pop();
    }
  }
  return order;
}

function deepFreeze<T>(value: T): T {
  if (value !== null && typeof value === 'object' && !Object.isFrozen(value)) {
    Object.freeze(value);
    for (const part of Object.values(value)) {
      deepFreeze(part);
    }
  }
  return value;
}
