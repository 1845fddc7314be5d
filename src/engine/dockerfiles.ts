/**
 * Dockerfiles of one build: reads them and their contexts, and answers what the frontend asks of the outside. What came from
 * elsewhere lies below the engine's scratch directory until the build is over.
 */
import { randomUUID } from 'node:crypto';
import { mkdir, readFile, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { DefinitionError, HostError } from '../errors.ts';
import type { ContextIgnore } from '../frontend/dockerfile/context-input.ts';
import { type DockerfileGraph, dockerfileToGraph } from '../frontend/dockerfile/convert.ts';
import type { DockerfileDeclaration } from '../frontend/dockerfile/declaration.ts';
import type { GitSource } from '../frontend/dockerfile/git-url.ts';
import type { NamedContextSpec } from '../frontend/dockerfile/named-context.ts';
import type {
  BuildContext,
  DockerfileRequest,
  DockerfileResolver,
  NamedContext,
} from '../frontend/dockerfile/request.ts';
import type { ConvertDockerfile } from '../frontend/fluent/to-graph.ts';
import { findIgnoreFile } from '../local/find-ignore-file.ts';
import { hostPlatform } from '../oci/platform.ts';
import { ignoringPattern, parseIgnoreFile } from '../patterns/ignore-file.ts';
import { buildSecretReader } from '../secret/build-secret.ts';
import type { Emit } from '../solver/event.ts';
import { resolveBaseImage } from './base-resolver.ts';
import { resolveLayout } from './layouts.ts';
import type { EngineParts } from './parts.ts';
import { type OpenedContext, openRemoteContext } from './remote-context.ts';
import { RemoteSources } from './remote-sources.ts';

/** A larger one is something else. */
const MAX_DOCKERFILE_BYTES = 16 * 1024 * 1024;

export interface DockerfilesOptions {
  readonly signal: AbortSignal;
  readonly emit: Emit;
  /** Ask registries again what tags mean. */
  readonly again: boolean;
  readonly severalPlatforms: boolean;
}

/** A Dockerfile and its context, read. */
interface Opened {
  readonly text: string;
  readonly name: string;
  readonly context: BuildContext | undefined;
}

export class Dockerfiles implements AsyncDisposable {
  readonly #parts: EngineParts;
  readonly #options: DockerfilesOptions;
  readonly #opened = new Map<DockerfileDeclaration, Promise<Opened>>();
  readonly #named = new Map<NamedContextSpec, Promise<NamedContext>>();
  readonly #remote: OpenedContext[] = [];
  readonly #declarations = new Set<DockerfileDeclaration>();
  /** Web files and git repositories, with the credentials of all Dockerfiles of the build. */
  readonly sources: RemoteSources;

  constructor(parts: EngineParts, options: DockerfilesOptions) {
    this.#parts = parts;
    this.#options = options;
    this.sources = new RemoteSources(parts, { secrets: (id) => this.#secretText(id) });
  }

  /** Text and name of a Dockerfile on this machine; undefined for one in a remote context. */
  async read(
    declaration: DockerfileDeclaration,
  ): Promise<{ readonly text: string; readonly name: string } | undefined> {
    return declaration.file.kind === 'in-context' && declaration.context.kind !== 'directory'
      ? undefined
      : await this.#open(declaration);
  }

  readonly convert: ConvertDockerfile = async (declaration, options) => {
    const request = await this.request(declaration, options);
    const graph = await dockerfileToGraph(request, this.#resolver());
    if (graph.checkFailure !== undefined) {
      for (const { rule, message } of graph.findings) {
        this.#options.emit({ kind: 'warning', code: rule, message });
      }
      throw graph.checkFailure;
    }
    return graph;
  };

  /** As {@link convert}, for all stages: what the checks look at. */
  async describe(declaration: DockerfileDeclaration, request: DockerfileRequest): Promise<DockerfileGraph> {
    this.#declarations.add(declaration);
    return await dockerfileToGraph(request, this.#resolver());
  }

  async request(
    declaration: DockerfileDeclaration,
    { platform, platformAsked, begin, forced, secretEnv, definition }: Parameters<ConvertDockerfile>[1],
  ): Promise<DockerfileRequest> {
    this.#declarations.add(declaration);
    const { text, name, context } = await this.#open(declaration);
    const namedContexts = await Promise.all(
      Object.entries(declaration.contexts).map(
        async ([key, spec]) => [key, await this.#namedContext(key, spec)] as const,
      ),
    );
    const { target, shmSizeBytes } = declaration;
    return {
      text,
      name,
      ...(target === undefined ? {} : { target }),
      buildArgs: declaration.buildArgs,
      labels: declaration.labels,
      platform,
      platformAsked,
      buildPlatform: hostPlatform(),
      severalPlatforms: this.#options.severalPlatforms,
      context,
      namedContexts: new Map(namedContexts),
      forced,
      noCacheStages: declaration.noCacheStages,
      network: declaration.network,
      extraHosts: declaration.extraHosts,
      ...(shmSizeBytes === undefined ? {} : { shmSizeBytes }),
      ulimits: declaration.ulimits,
      devices: declaration.devices,
      allow: new Set(declaration.allow),
      stepEnv: declaration.stepEnv,
      stepSecretEnv: secretEnv,
      definition,
      ...(begin === undefined ? {} : { begin }),
    };
  }

  /** Removes what was fetched for the build. */
  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.allSettled([...this.#opened.values(), ...this.#named.values()]);
    await Promise.all(this.#remote.map((context) => context.close()));
    await this.sources.close();
  }

  #open(declaration: DockerfileDeclaration): Promise<Opened> {
    let opened = this.#opened.get(declaration);
    if (opened === undefined) {
      opened = this.#openNow(declaration);
      this.#opened.set(declaration, opened);
    }
    return opened;
  }

  async #openNow(declaration: DockerfileDeclaration): Promise<Opened> {
    const { file, context } = declaration;
    switch (context.kind) {
      case 'none':
        return { ...(await this.#readFile(declaration, undefined)), context: undefined };
      case 'directory': {
        const read = await this.#readFile(declaration, context.path);
        const dockerfile = file.kind === 'path' ? file.path : undefined;
        const ignore = declaration.ignore ?? (await findIgnoreFile(context.path, dockerfile));
        return { ...read, context: directoryContext('context', context.path, ignore) };
      }
      case 'remote':
      case 'stream': {
        const opened = await this.#openRemote(context.kind === 'remote' ? context.url : context.stream);
        if (opened.kind === 'dockerfile') {
          return { text: opened.text, name: 'Dockerfile', context: undefined };
        }
        const read = await this.#readFile(declaration, opened.path);
        return {
          ...read,
          context: {
            // What lies elsewhere has no ignore file: it was made to be a context.
            ...directoryContext('context', opened.path, declaration.ignore),
            ...(opened.sourceEpochSeconds === undefined
              ? {}
              : { sourceEpochSeconds: opened.sourceEpochSeconds }),
          },
        };
      }
    }
  }

  async #readFile(
    { file }: DockerfileDeclaration,
    directory: string | undefined,
  ): Promise<{ readonly text: string; readonly name: string }> {
    switch (file.kind) {
      case 'text':
        return { text: file.text, name: file.name };
      case 'path':
        return { text: await readDockerfile(file.path), name: file.path };
      case 'in-context': {
        const base = directory ?? '.';
        if (file.path !== undefined) {
          return { text: await readDockerfile(join(base, join('/', file.path))), name: file.path };
        }
        const usual = join(base, 'Dockerfile');
        const lower = join(base, 'dockerfile');
        const name = !(await exists(usual)) && (await exists(lower)) ? 'dockerfile' : 'Dockerfile';
        return { text: await readDockerfile(join(base, name)), name };
      }
    }
  }

  async #openRemote(argument: string | AsyncIterable<Uint8Array>): Promise<OpenedContext> {
    const opened = await openRemoteContext(argument, {
      parts: this.#parts,
      sources: this.sources,
      signal: this.#options.signal,
      emit: this.#options.emit,
    });
    this.#remote.push(opened);
    return opened;
  }

  #namedContext(name: string, spec: NamedContextSpec): Promise<NamedContext> {
    let context = this.#named.get(spec);
    if (context === undefined) {
      context = this.#openNamed(name, spec);
      this.#named.set(spec, context);
    }
    return context;
  }

  async #openNamed(name: string, spec: NamedContextSpec): Promise<NamedContext> {
    switch (spec.kind) {
      case 'directory':
        return {
          kind: 'directory',
          context: directoryContext(name, spec.path, await findIgnoreFile(spec.path)),
        };
      case 'image':
      case 'stage':
        return spec;
      case 'layout': {
        const form = (await isDirectory(spec.path)) ? 'directory' : 'archive';
        const { path: hostPath, tag } = spec;
        return { kind: 'layout', layout: { form, hostPath, ...(tag === undefined ? {} : { tag }) } };
      }
      case 'remote': {
        const opened = await this.#openRemote(spec.url);
        if (opened.kind === 'dockerfile') {
          throw new DefinitionError(`the context '${name}' is neither a git repository nor an archive`, {
            code: 'E_CONTEXT',
          });
        }
        const { path, sourceEpochSeconds } = opened;
        return {
          kind: 'directory',
          context: {
            ...directoryContext(name, path, undefined),
            ...(sourceEpochSeconds === undefined ? {} : { sourceEpochSeconds }),
          },
        };
      }
    }
  }

  #resolver(): DockerfileResolver {
    const { store, registries } = this.#parts;
    const { signal, emit, again } = this.#options;
    const ignoreFiles = new Map<string, ReturnType<typeof parseIgnoreFile>>();
    return {
      resolveImage: (reference, platform) =>
        resolveBaseImage({ blobs: store.blobs, images: store.images, registries }, reference, platform, {
          again,
          signal,
        }),
      resolveLayout: (layout, platform) => resolveLayout(store, layout, platform, signal),
      resolveHttp: (url, checksum) =>
        this.sources.http.resolve({ url, ...(checksum === undefined ? {} : { checksum }) }, { signal, emit }),
      resolveGit: (source, wishes) => this.sources.git.resolve(source, wishes, { signal, emit }),
      gitTimeSeconds: (source) => this.#gitTimeSeconds(source),
      ignoredBy: async ({ ignore }, source) => {
        if (ignore === undefined) {
          return undefined;
        }
        const parsed = ignoreFiles.get(ignore.name) ?? parseIgnoreFile(ignore.text, ignore.name);
        ignoreFiles.set(ignore.name, parsed);
        return ignoringPattern(parsed, source)?.text;
      },
    };
  }

  async #gitTimeSeconds(source: GitSource): Promise<number> {
    const { signal, emit } = this.#options;
    const directory = this.#parts.store.scratchDir(`epoch-${randomUUID()}`);
    try {
      await mkdir(directory, { recursive: true, mode: 0o700 });
      const resolved = await this.sources.git.resolve(source, {}, { signal, emit });
      const alone = { ...resolved, submodules: false };
      return (await this.sources.git.checkout(alone, directory, { signal, emit })).commitSeconds;
    } finally {
      await rm(directory, { recursive: true, force: true });
    }
  }

  /** Credentials of web servers and git hosts are secrets with fixed names. */
  async #secretText(id: string): Promise<string | undefined> {
    for (const { secrets } of this.#declarations) {
      const found = await buildSecretReader(secrets, {
        environment: this.#parts.environment,
        cwd: process.cwd(),
      })(id);
      if (found.kind === 'value') {
        return Buffer.from(found.bytes).toString('utf8');
      }
    }
    return undefined;
  }
}

function directoryContext(name: string, directory: string, ignore: ContextIgnore | undefined): BuildContext {
  return { directory: { name, directory, ignore } };
}

/** @throws {DefinitionError} `E_LOCAL_FILE_MISSING`, `E_FILE_TOO_LARGE`. @throws {HostError} `E_IO` */
async function readDockerfile(path: string): Promise<string> {
  try {
    const found = await stat(path);
    if (found.isDirectory()) {
      throw new DefinitionError(`the Dockerfile '${path}' is a directory`, { code: 'E_LOCAL_FILE_MISSING' });
    }
    if (found.size > MAX_DOCKERFILE_BYTES) {
      throw new DefinitionError(`'${path}' has ${found.size} bytes, which is no Dockerfile`, {
        code: 'E_FILE_TOO_LARGE',
      });
    }
    return await readFile(path, 'utf8');
  } catch (cause) {
    if (cause instanceof DefinitionError) {
      throw cause;
    }
    const { code } = cause as NodeJS.ErrnoException;
    if (code === 'ENOENT' || code === 'ENOTDIR') {
      throw new DefinitionError(`there is no Dockerfile '${path}'`, {
        code: 'E_LOCAL_FILE_MISSING',
        cause,
        hint: 'name it with --file',
      });
    }
    throw new HostError(`cannot read the Dockerfile '${path}'`, { code: 'E_IO', errno: code, path, cause });
  }
}

async function exists(path: string): Promise<boolean> {
  return (await stat(path).catch(() => undefined)) !== undefined;
}

async function isDirectory(path: string): Promise<boolean> {
  return (await stat(path).catch(() => undefined))?.isDirectory() === true;
}
