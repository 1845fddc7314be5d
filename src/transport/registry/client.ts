/** The registry client that the engine holds: one for all registries, with pooled connections and shared tokens. */
import { forEachLimited, Limiter } from '../../base/limiter.ts';
import type { BlobStore } from '../../content/blob-store.ts';
import { IntegrityError, RemoteError } from '../../errors.ts';
import { discardBody, type HttpBody, HttpClient } from '../../http/http-client.ts';
import type { Descriptor } from '../../oci/descriptor.ts';
import type { Digest } from '../../oci/digest.ts';
import { type ImageConfig, parseImageConfig } from '../../oci/image-config.ts';
import { MAX_DOCUMENT_BYTES } from '../../oci/json-document.ts';
import { type Manifest, parseManifestDocument } from '../../oci/manifest.ts';
import { choosePlatform, formatPlatform, type Platform, platformDistance } from '../../oci/platform.ts';
import { apiHost, canonicalHost, formatReference, type Reference } from '../../oci/reference.ts';
import { ANONYMOUS, type CredentialSource } from './credentials.ts';
import type { Mirror } from './mirrors.ts';
import {
  type FetchedDocument,
  fetchBlob,
  getManifest,
  getSmallBlob,
  headManifest,
  type PullSource,
  type TransferOptions,
} from './pull.ts';
import {
  cancelUpload,
  type PushImage,
  type PushOptions,
  type PushSettings,
  pushImage,
  sendAhead,
} from './push.ts';
import { RangeLimits, type RangeSettings } from './ranges.ts';
import { type PingCache, RegistrySession, rootsOf } from './session.ts';

export interface RegistryClientOptions {
  /** @defaultValue anonymous */
  readonly credentials?: CredentialSource;
  /** Tried in order before the registry itself. Pulls only. */
  readonly mirrors?: readonly Mirror[];
  /** Hosts, with their ports, that may speak plain http. This machine always may. */
  readonly insecureHosts?: readonly string[];
  /** @defaultValue 'tsbuild' */
  readonly userAgent?: string;
  /** Every request fails with `E_OFFLINE`. @defaultValue false */
  readonly offline?: boolean;
  /** Tries of one request. @defaultValue 5 */
  readonly attempts?: number;
  /** The first wait before a repetition. @defaultValue 500 */
  readonly backoffBaseMs?: number;
  /** Transfers of blobs at once. @defaultValue 4 */
  readonly concurrency?: number;
  /** How a large blob comes over several connections. */
  readonly ranges?: Partial<RangeSettings>;
  /** @defaultValue 30 s */
  readonly connectTimeoutMs?: number;
  /** Without a byte for so long, a connection counts as broken. @defaultValue 5 min */
  readonly idleTimeoutMs?: number;
  /** For proxies and certificates. @defaultValue the process's */
  readonly environment?: NodeJS.ProcessEnv;
  /** Each text is told once. */
  readonly onWarning?: (text: string) => void;
}

export interface ResolveOptions {
  readonly signal?: AbortSignal | undefined;
  /** Manifests and configs that it has are not fetched again; fetched ones are put there. */
  readonly store?: BlobStore | undefined;
}

/** An image as a registry, a layout or an archive has it: all but its layers. */
export interface ResolvedImage {
  readonly reference: Reference;
  readonly manifestDescriptor: Descriptor;
  readonly manifestBytes: Buffer;
  readonly manifest: Manifest;
  readonly configBytes: Buffer;
  readonly config: ImageConfig;
  /** When the reference leads to an index: its digest. */
  readonly indexDigest?: Digest;
}

/** A manifest and its config, which need not be an image's. */
export type ResolvedManifest = Omit<ResolvedImage, 'config'>;

/** The spec lets an index hold indexes; more than this is a loop or a joke. */
const MAX_INDEX_DEPTH = 4;

export class RegistryClient {
  readonly #options: RegistryClientOptions;
  readonly #http: HttpClient;
  readonly #pings: PingCache = new Map();
  readonly #sessions = new Map<string, RegistrySession>();
  readonly #limiter: Limiter;
  readonly #concurrency: number;
  readonly #attempts: number;
  readonly #backoffBaseMs: number;
  readonly #ranges: RangeLimits;
  readonly #warned = new Set<string>();
  readonly #onWarning: (text: string) => void;

  constructor(options: RegistryClientOptions = {}) {
    this.#options = options;
    this.#http = new HttpClient(options);
    this.#concurrency = options.concurrency ?? 4;
    this.#limiter = new Limiter(this.#concurrency);
    this.#attempts = options.attempts ?? 5;
    this.#backoffBaseMs = options.backoffBaseMs ?? 500;
    this.#ranges = new RangeLimits(options.ranges);
    this.#onWarning = (text) => {
      if (!this.#warned.has(text)) {
        this.#warned.add(text);
        options.onWarning?.(text);
      }
    };
  }

  /**
   * Finds the image that a reference means for a platform: manifest and config, checked against their digests.
   *
   * @throws {DefinitionError} `E_NO_PLATFORM`
   * @throws {RemoteError} `E_REGISTRY_NOT_FOUND`, `E_AUTH`, `E_REGISTRY`, `E_NETWORK`, `E_OFFLINE`
   * @throws {IntegrityError}
   */
  async resolve(
    reference: Reference,
    platform: Platform,
    options: ResolveOptions = {},
  ): Promise<ResolvedImage> {
    const found = await this.resolveManifest(reference, platform, options);
    const config = parseImageConfig(found.configBytes, found.manifest.config.mediaType);
    if (found.indexDigest === undefined && platformDistance(config, platform) === undefined) {
      // Without an index there is no choice; running it would fail in a less readable way.
      this.#onWarning(
        `${formatReference(reference)} is for ${formatPlatform(config)}, not for ${formatPlatform(platform)}`,
      );
    }
    return { ...found, config };
  }

  /** The same for any artifact: what kind of config it has is the caller's to look at. */
  async resolveManifest(
    reference: Reference,
    platform: Platform,
    options: ResolveOptions = {},
  ): Promise<ResolvedManifest> {
    const what = formatReference(reference);
    let found = await this.#document(reference, reference.digest ?? reference.tag ?? 'latest', options);
    let indexDigest: Digest | undefined;
    for (let depth = 0; ; depth += 1) {
      const document = parseManifestDocument(found.bytes, found.descriptor.mediaType);
      if (document.kind === 'manifest') {
        const { manifest } = document;
        const configBytes = await this.#config(reference, manifest.config, options);
        return {
          reference,
          manifestDescriptor: found.descriptor,
          manifestBytes: found.bytes,
          manifest,
          configBytes,
          ...(indexDigest === undefined ? {} : { indexDigest }),
        };
      }
      if (depth >= MAX_INDEX_DEPTH) {
        throw new IntegrityError(`${what} is an index of indexes, deeper than ${MAX_INDEX_DEPTH}`, {
          code: 'E_BAD_MANIFEST',
        });
      }
      indexDigest ??= found.descriptor.digest;
      const chosen = choosePlatform(document.index, platform, what);
      found = await this.#document(reference, chosen.digest, options);
    }
  }

  /** The digest that a tag has now, without fetching what is there. */
  async resolveDigest(reference: Reference, options: ResolveOptions = {}): Promise<Digest> {
    const tagOrDigest = reference.digest ?? reference.tag ?? 'latest';
    return this.#fromSources(reference, options, async (source, attempts) => {
      const head = await headManifest(source, tagOrDigest, { signal: options.signal, attempts });
      return (
        head ?? (await getManifest(source, tagOrDigest, { signal: options.signal, attempts })).descriptor
      ).digest;
    });
  }

  /** Brings a blob of the reference's repository into the store, unless it is there. */
  async fetchBlob(
    reference: Reference,
    descriptor: Descriptor,
    store: BlobStore,
    options: TransferOptions = {},
  ): Promise<void> {
    if ((await store.stat(descriptor.digest))?.size === descriptor.size) {
      const { digest, size } = descriptor;
      options.onProgress?.({ digest, doneBytes: size, totalBytes: size, state: 'exists' });
      return;
    }
    options.onProgress?.({
      digest: descriptor.digest,
      doneBytes: 0,
      totalBytes: descriptor.size,
      state: 'waiting',
    });
    const sources = this.#sources(reference, true);
    await this.#limiter.run(
      () =>
        fetchBlob(
          sources,
          descriptor,
          store,
          { backoffBaseMs: this.#backoffBaseMs, ranges: this.#ranges },
          options,
        ),
      options.signal,
    );
  }

  /** Several blobs at once. The first failure ends the others; what they got so far is kept for the next time. */
  async fetchBlobs(
    reference: Reference,
    descriptors: readonly Descriptor[],
    store: BlobStore,
    options: TransferOptions = {},
  ): Promise<void> {
    const unique = [...new Map(descriptors.map((descriptor) => [descriptor.digest, descriptor])).values()];
    await forEachLimited(
      unique,
      this.#concurrency,
      (descriptor, signal) => this.fetchBlob(reference, descriptor, store, { ...options, signal }),
      options.signal,
    );
  }

  /**
   * Pushes an image, or an index with all that it lists, and gives it the reference's tag and `tags`. What the registry
   * has is not sent again.
   */
  async push(
    image: PushImage,
    reference: Reference,
    options: PushOptions & {
      readonly tags?: readonly string[];
      readonly mountFromReferences?: readonly Reference[];
    } = {},
  ): Promise<{ readonly digest: Digest }> {
    this.#refuseOffline(reference);
    if (reference.digest !== undefined && reference.digest !== image.manifestDescriptor.digest) {
      throw new IntegrityError(
        `cannot push to '${reference.text}': the image has the digest ${image.manifestDescriptor.digest}`,
        {
          code: 'E_DIGEST_MISMATCH',
          expected: reference.digest,
          actual: image.manifestDescriptor.digest,
        },
      );
    }
    const tags = [...(reference.tag === undefined ? [] : [reference.tag]), ...(options.tags ?? [])];
    const sameRegistry = (options.mountFromReferences ?? [])
      .filter(({ host }) => apiHost(host) === apiHost(reference.host))
      .map(({ repository }) => repository);
    return pushImage(this.#pushSettings(reference), image, [...new Set(tags)], {
      ...options,
      mountFrom: [...new Set([...(options.mountFrom ?? []), ...sameRegistry])],
    });
  }

  /**
   * Sends a blob of the reference's repository whose digest is not known yet, for {@link PushOptions.ahead} of a later push.
   *
   * @throws {RemoteError} Then nothing of it is left there.
   */
  async sendAhead(reference: Reference, open: () => HttpBody, signal: AbortSignal): Promise<URL> {
    this.#refuseOffline(reference);
    return await sendAhead(this.#pushSettings(reference), open, signal);
  }

  /** Gives up what {@link sendAhead} made. Best effort. */
  async cancelUpload(reference: Reference, upload: URL): Promise<void> {
    await cancelUpload(this.#pushSettings(reference), upload);
  }

  /** Connects to the registry, so that what follows need not. Nothing is said of the repository. @throws {RemoteError} */
  async greet(reference: Reference, options: { readonly signal?: AbortSignal } = {}): Promise<void> {
    this.#refuseOffline(reference);
    await this.#session(reference.host, reference.repository).greet(options.signal);
  }

  /** Checks the credentials for a host. @throws {RemoteError} `E_AUTH` when they are refused */
  async login(host: string, options: { readonly signal?: AbortSignal } = {}): Promise<void> {
    const session = new RegistrySession(
      this.#settings(),
      canonicalHost(host),
      '',
      rootsOf(host, this.#options.insecureHosts ?? []),
    );
    const response = await session.send({
      method: 'GET',
      target: '/v2/',
      scopes: [],
      accept: [200],
      doing: `log in to ${host}`,
      signal: options.signal,
    });
    await discardBody(response);
  }

  /** Ends all connections. */
  async close(): Promise<void> {
    await this.#http.close();
  }

  async #document(
    reference: Reference,
    tagOrDigest: string,
    options: ResolveOptions,
  ): Promise<FetchedDocument> {
    const { store, signal } = options;
    const known = await this.#stored(tagOrDigest, store);
    if (known !== undefined) {
      return known;
    }
    const byDigest = tagOrDigest.startsWith('sha256:');
    const fetched = await this.#fromSources({ ...reference, byDigest }, options, async (source, attempts) => {
      // A HEAD costs nothing against rate limits, and often the rest is here already.
      const head =
        byDigest || store === undefined
          ? undefined
          : await headManifest(source, tagOrDigest, { signal, attempts });
      const stored = head && (await this.#stored(head.digest, store));
      return stored ?? getManifest(source, head?.digest ?? tagOrDigest, { signal, attempts });
    });
    await store?.put(fetched.bytes);
    return fetched;
  }

  async #stored(tagOrDigest: string, store: BlobStore | undefined): Promise<FetchedDocument | undefined> {
    if (store === undefined || !tagOrDigest.startsWith('sha256:')) {
      return undefined;
    }
    const digest = tagOrDigest as Digest;
    if (!(await store.has(digest))) {
      return undefined;
    }
    const bytes = await store.read(digest, MAX_DOCUMENT_BYTES);
    const document = parseManifestDocument(bytes);
    const { mediaType } = document.kind === 'index' ? document.index : document.manifest;
    return { descriptor: { mediaType, digest, size: bytes.byteLength }, bytes };
  }

  async #config(reference: Reference, descriptor: Descriptor, options: ResolveOptions): Promise<Buffer> {
    const { store, signal } = options;
    if (store !== undefined && (await store.has(descriptor.digest))) {
      return store.read(descriptor.digest, MAX_DOCUMENT_BYTES);
    }
    const bytes = await this.#fromSources({ ...reference, byDigest: true }, options, (source, attempts) =>
      getSmallBlob(source, descriptor, { signal, attempts }),
    );
    await store?.put(bytes);
    return bytes;
  }

  /** Mirrors once each, the registry itself with repetition. The last error is told. */
  async #fromSources<T>(
    reference: Reference & { readonly byDigest?: boolean },
    options: ResolveOptions,
    task: (source: PullSource, attempts: number) => Promise<T>,
  ): Promise<T> {
    const sources = this.#sources(reference, reference.byDigest ?? reference.digest !== undefined);
    let lastError: unknown;
    for (const [index, source] of sources.entries()) {
      try {
        return await task(source, index === sources.length - 1 ? this.#attempts : 1);
      } catch (error) {
        options.signal?.throwIfAborted();
        lastError = error;
      }
    }
    throw lastError;
  }

  #sources(reference: Reference, byDigest: boolean): readonly PullSource[] {
    this.#refuseOffline(reference);
    const host = canonicalHost(reference.host);
    const mirrors = (this.#options.mirrors ?? []).filter(
      (mirror) =>
        canonicalHost(mirror.host) === host && mirror.pull !== (byDigest ? 'tag-only' : 'digest-only'),
    );
    return [
      ...mirrors.map((mirror) => this.#mirrorSource(mirror, reference)),
      { session: this.#session(host, reference.repository), query: '' },
    ];
  }

  #mirrorSource(mirror: Mirror, reference: Reference): PullSource {
    const url = new URL(mirror.url);
    const prefix = url.pathname.replace(/^\/(?:v2(?=\/|$))?\/?|\/+$/g, '');
    const repository = prefix === '' ? reference.repository : `${prefix}/${reference.repository}`;
    const key = `${url.origin} ${repository}`;
    let session = this.#sessions.get(key);
    if (session === undefined) {
      session = new RegistrySession(this.#settings(), url.host, repository, [new URL(url.origin)]);
      this.#sessions.set(key, session);
    }
    return { session, query: `?${new URLSearchParams({ ns: reference.host })}` };
  }

  #session(host: string, repository: string): RegistrySession {
    const key = `${host}/${repository}`;
    let session = this.#sessions.get(key);
    if (session === undefined) {
      session = new RegistrySession(
        this.#settings(),
        host,
        repository,
        rootsOf(host, this.#options.insecureHosts ?? []),
      );
      this.#sessions.set(key, session);
    }
    return session;
  }

  #pushSettings(reference: Reference): PushSettings {
    return {
      session: this.#session(reference.host, reference.repository),
      limiter: this.#limiter,
      concurrency: this.#concurrency,
      attempts: this.#attempts,
      backoffBaseMs: this.#backoffBaseMs,
      onWarning: this.#onWarning,
    };
  }

  #settings() {
    return {
      http: this.#http,
      pings: this.#pings,
      credentials: this.#options.credentials ?? ANONYMOUS,
      attempts: this.#attempts,
      backoffBaseMs: this.#backoffBaseMs,
      onWarning: this.#onWarning,
    };
  }

  #refuseOffline(reference: Reference): void {
    if (this.#options.offline) {
      throw new RemoteError(`cannot use ${formatReference(reference)}: the network is forbidden`, {
        code: 'E_OFFLINE',
        hint: 'unset TSBUILD_OFFLINE, or use an image that the store has',
      });
    }
  }
}
