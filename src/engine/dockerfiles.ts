/**
 * Dockerfiles of one build: reads them and their contexts, and answers what the frontend asks of the outside. What came from
 * elsewhere lies below the engine's scratch directory until the build is over.
 */
import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { DefinitionError } from '../errors.ts';
import { findingWarning } from '../frontend/dockerfile/check-report.ts';
import type { ContextIgnore, ContextInput } from '../frontend/dockerfile/context-input.ts';
import {
  type CheckedDockerfile,
  checkDockerfile,
  dockerfileToGraph,
} from '../frontend/dockerfile/convert.ts';
import type { DockerfileDeclaration, DockerfileSource } from '../frontend/dockerfile/declaration.ts';
import type { NamedContextSpec } from '../frontend/dockerfile/named-context.ts';
import type {
  BuildContext,
  DockerfileRequest,
  DockerfileResolver,
  NamedContext,
} from '../frontend/dockerfile/request.ts';
import type { ConvertDockerfile } from '../frontend/fluent/to-graph.ts';
import { findIgnoreFile } from '../local/find-ignore-file.ts';
import { randomName } from '../native/random-name.ts';
import { hostPlatform } from '../oci/platform.ts';
import { ignoringPattern, parseIgnoreFile } from '../patterns/ignore-file.ts';
import type { BuildSecretValue } from '../secret/build-secret.ts';
import { secretValues } from '../secret/secret.ts';
import type { SshAgentSocket } from '../secret/ssh-agents.ts';
import type { Emit } from '../solver/event.ts';
import { resolveBaseImage } from './base-resolver.ts';
import { type GivenById, openGivenById } from './given-by-id.ts';
import { resolveLayout } from './layouts.ts';
import type { EngineParts } from './parts.ts';
import {
  type DockerfilePlace,
  type DockerfileText,
  readDockerfile,
  readDockerfileWithin,
} from './read-dockerfile.ts';
import type { OpenRemoteContext } from './remote-context.ts';
import type { RemoteSources } from './remote-sources.ts';

export interface DockerfilesOptions {
  readonly signal: AbortSignal;
  readonly emit: Emit;
  /** Ask registries again what tags mean. */
  readonly again: boolean;
  readonly severalPlatforms: boolean;
  /** Called with a directory that instructions may copy from, before they are read. @defaultValue nobody is told */
  readonly onContext?: (context: Omit<ContextInput, 'kind' | 'selections'>) => void;
}

/** A Dockerfile and its context, read. */
interface Opened extends DockerfileText {
  readonly context: BuildContext | undefined;
}

export class Dockerfiles implements AsyncDisposable {
  readonly #parts: EngineParts;
  readonly #options: DockerfilesOptions;
  readonly #opened = new Map<DockerfileDeclaration, Promise<Opened>>();
  readonly #named = new Map<NamedContextSpec, Promise<NamedContext>>();
  readonly #remote: OpenRemoteContext[] = [];
  #sources: Promise<RemoteSources> | undefined;
  /** Secrets and agents that the declarations bring, by id. */
  readonly given: GivenById;
  readonly #givenTo = new Map<DockerfileDeclaration, ReturnType<typeof openGivenById>>();

  constructor(parts: EngineParts, options: DockerfilesOptions) {
    this.#parts = parts;
    this.#options = options;
    this.given = { secret: (id) => this.#secret(id), agent: (id) => this.#agent(id) };
  }

  /** Web files and git repositories, with the credentials of all Dockerfiles of the build. Most builds need none. */
  readonly openSources = (): Promise<RemoteSources> => {
    this.#sources ??= import('./remote-sources.ts').then(
      ({ RemoteSources }) =>
        new RemoteSources(this.#parts, {
          secrets: (id) => this.#secretText(id),
          sshAuthSock: async () => (await this.#agent('default'))?.path,
        }),
    );
    return this.#sources;
  };

  /** Text and name of a Dockerfile on this machine; undefined for one in a remote context. */
  async read(declaration: DockerfileDeclaration): Promise<DockerfileText | undefined> {
    return declaration.file.kind === 'in-context' && declaration.context.kind !== 'directory'
      ? undefined
      : await this.#open(declaration);
  }

  readonly convert: ConvertDockerfile = async (declaration, options) => {
    const request = await this.request(declaration, options);
    const graph = await dockerfileToGraph(request, this.#resolver());
    if (graph.checkFailure !== undefined) {
      for (const finding of graph.findings) {
        this.#options.emit({ kind: 'warning', ...findingWarning(graph.name, finding) });
      }
      throw graph.checkFailure;
    }
    return graph;
  };

  /** As {@link convert}, for a request of one's own, with what the checks found before an error. */
  async check(declaration: DockerfileDeclaration, request: DockerfileRequest): Promise<CheckedDockerfile> {
    this.#give(declaration);
    return await checkDockerfile(request, this.#resolver());
  }

  async request(
    declaration: DockerfileDeclaration,
    {
      platform,
      platformAsked,
      begin,
      forced,
      secretEnv,
      definition,
      layer,
    }: Parameters<ConvertDockerfile>[1],
  ): Promise<DockerfileRequest> {
    this.#give(declaration);
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
      stepGpus: declaration.stepGpus,
      definition,
      layer,
      ...(begin === undefined ? {} : { begin }),
    };
  }

  /** Removes what was fetched for the build. */
  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.allSettled([...this.#opened.values(), ...this.#named.values()]);
    await Promise.all([
      ...this.#remote.map((context) => context.close()),
      ...[...this.#givenTo.values()].map((given) => given[Symbol.asyncDispose]()),
    ]);
    await (await this.#sources)?.close();
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
        return { ...(await this.#readFile(file, ownPlace('.'))), context: undefined };
      case 'directory': {
        const read = await this.#readFile(file, ownPlace(context.path));
        const dockerfile = file.kind === 'text' ? undefined : read.name;
        const ignore =
          declaration.ignore ?? (await findIgnoreFile(context.path, dockerfile, declaration.ignoreFiles));
        const directory = { name: 'context', directory: context.path, ignore, ...filesOf(declaration) };
        this.#options.onContext?.(directory);
        return { ...read, context: { directory } };
      }
      case 'mount': {
        const { parts } = context;
        const directory = { name: 'contextMount', directory: '/', ignore: undefined, parts };
        return {
          ...(await this.#readFile(file, ownPlace('.'))),
          context: { directory: { ...directory, ...filesOf(declaration) } },
        };
      }
      case 'remote':
      case 'stream': {
        const opened = await this.#openRemote(
          context.kind === 'remote' ? context.url : context.stream,
          declaration.buildArgs,
        );
        if (opened.kind === 'dockerfile') {
          return { text: opened.text, name: 'Dockerfile', context: undefined };
        }
        // Where it lies for now is nobody's business.
        const read = await this.#readFile(file, { directory: opened.path, shown: (name) => name });
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

  async #readFile(file: DockerfileSource, place: DockerfilePlace): Promise<DockerfileText> {
    switch (file.kind) {
      case 'text':
        return { text: file.text, name: file.name };
      case 'path':
        return await readDockerfile(file.path);
      case 'in-context':
        return await readDockerfileWithin(place, file.path, this.#options.signal);
    }
  }

  async #openRemote(
    argument: string | AsyncIterable<Uint8Array>,
    buildArgs: Readonly<Record<string, string>>,
  ): Promise<OpenRemoteContext> {
    const { openRemoteContext } = await import('./remote-context.ts');
    const { store, environment } = this.#parts;
    const opened = await openRemoteContext(argument, {
      sources: await this.openSources(),
      scratchDir: store.scratchDir(`context-${randomName()}`),
      environment,
      keepGitDir: /^(1|t|true)$/i.test(buildArgs.BUILDKIT_CONTEXT_KEEP_GIT_DIR ?? ''),
      commitTimes: (buildArgs.SOURCE_DATE_EPOCH ?? '') !== '',
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
        const opened = await this.#openRemote(spec.url, {});
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
      resolveHttp: async (url, checksum) => {
        const { http } = await this.openSources();
        return await http.resolve({ url, ...(checksum === undefined ? {} : { checksum }) }, { signal, emit });
      },
      resolveGit: async (source, wishes) =>
        await (await this.openSources()).git.resolve(source, wishes, { signal, emit }),
      gitTimeSeconds: async (source) => {
        const { git } = await this.openSources();
        return await git.commitTime(await git.resolve(source, {}, { signal, emit }), { signal, emit });
      },
      ignoredBy: async ({ ignore }, source) => {
        if (ignore === undefined || !('text' in ignore)) {
          return undefined;
        }
        const parsed = ignoreFiles.get(ignore.name) ?? parseIgnoreFile(ignore.text, ignore.name);
        ignoreFiles.set(ignore.name, parsed);
        return ignoringPattern(parsed, source)?.text;
      },
    };
  }

  /** Credentials of web servers and git hosts are secrets with fixed names. */
  async #secretText(id: string): Promise<string | undefined> {
    const found = await this.#secret(id);
    return found.kind === 'value' ? Buffer.from(found.bytes).toString('utf8') : undefined;
  }

  #give(declaration: DockerfileDeclaration): void {
    if (!this.#givenTo.has(declaration)) {
      const { environment } = this.#parts;
      this.#givenTo.set(declaration, openGivenById(declaration, { environment, cwd: process.cwd() }));
    }
  }

  /** Of the Dockerfiles of one build the first that has it. A variable of a Secret of the call is one too, under its name. */
  async #secret(id: string): Promise<BuildSecretValue> {
    let missing: BuildSecretValue = { kind: 'missing', why: 'it was not given to the build' };
    for (const [{ stepSecrets }, given] of this.#givenTo) {
      const found = await given.secret(id);
      if (found.kind === 'value') {
        return found;
      }
      missing = found;
      for (const secret of stepSecrets.toReversed()) {
        const value =
          secret.keys?.includes(id) === false
            ? undefined
            : (await secretValues(secret, this.#parts.secretSources))[id];
        if (value !== undefined) {
          return { kind: 'value', bytes: Buffer.from(value, 'utf8') };
        }
      }
    }
    return missing;
  }

  async #agent(id: string): Promise<SshAgentSocket | undefined> {
    for (const given of this.#givenTo.values()) {
      const socket = await given.agent(id);
      if (socket !== undefined) {
        return socket;
      }
    }
    return undefined;
  }
}

function directoryContext(name: string, directory: string, ignore: ContextIgnore | undefined): BuildContext {
  return { directory: { name, directory, ignore } };
}

function filesOf({ contextFiles }: DockerfileDeclaration): Pick<ContextInput, 'files'> {
  return Object.keys(contextFiles).length === 0 ? {} : { files: contextFiles };
}

function ownPlace(directory: string): DockerfilePlace {
  return { directory, shown: (name) => join(directory, name) };
}

async function isDirectory(path: string): Promise<boolean> {
  return (await stat(path).catch(() => undefined))?.isDirectory() === true;
}
