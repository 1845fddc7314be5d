/** An engine without a store: it plays events and answers, so that the command line can be tested by itself. */

import type {
  BuildOptions,
  BuiltImage,
  DefinedImage,
  DefinedPlan,
  EngineLike,
  EngineModule,
  EngineOptions,
  HostCheck,
  InspectedImage,
  OutputSpec,
  RegistryLogin,
  RunOptions,
  StoredImage,
} from '../../src/cli/engine-api.ts';
import { Volume } from '../../src/frontend/fluent/volume.ts';
import { sha256Digest } from '../../src/oci/digest.ts';
import type { BuildEvent } from '../../src/solver/event.ts';

export class FakeImage {
  readonly label: string;

  constructor(label: string) {
    this.label = label;
  }

  static fromDockerfile(path: unknown): FakeImage {
    return new FakeImage(`Dockerfile ${JSON.stringify(path)}`);
  }

  plan(): Promise<DefinedPlan> {
    return Promise.resolve({
      platform: 'linux/amd64',
      layers: [
        { method: 'debianSlim', commands: ['FROM python:3.13-slim-trixie'], forceBuild: false },
        { method: 'runCommands', commands: ['FROM base', `RUN echo ${this.label}`], forceBuild: true },
      ],
      diagnostics: [{ code: 'W_UNPINNED', message: "'torch' has no version", layer: 1 }],
    });
  }
}

export class FakeFunction {
  readonly name: string;
  readonly image: FakeImage;

  constructor(name: string, image: FakeImage) {
    this.name = name;
    this.image = image;
  }
}

export class FakeApp {
  readonly functions: readonly FakeFunction[];

  constructor(functions: readonly FakeFunction[]) {
    this.functions = functions;
  }

  get images(): readonly FakeImage[] {
    return [...new Set(this.functions.map(({ image }) => image))];
  }
}

export const digestOf = (digit: string) => sha256Digest(digit.repeat(64));

export interface FakeEngineScript {
  readonly events?: readonly BuildEvent[];
  /** Thrown by whatever does work. */
  readonly failure?: unknown;
  /** Work that only ends when it is cancelled. */
  readonly untilCancelled?: boolean;
  /** Goes on although it was cancelled. */
  readonly deaf?: boolean;
  readonly runOutput?: readonly (readonly ['stdout' | 'stderr', string])[];
  readonly exitCode?: number;
  /** What a function of an app returns. */
  readonly returns?: unknown;
  readonly runSignal?: string;
  readonly checks?: readonly HostCheck[];
  readonly images?: readonly StoredImage[];
  readonly diagnostics?: BuiltImage['diagnostics'];
}

/** What the commands asked for. */
export interface FakeEngineCalls {
  opened?: EngineOptions;
  built?: { readonly images: readonly DefinedImage[]; readonly options: BuildOptions | undefined };
  called?: { readonly name: string; readonly values: object; readonly options: RunOptions | undefined };
  ran?: {
    readonly image: DefinedImage | string;
    readonly command: readonly string[] | undefined;
    readonly options: RunOptions | undefined;
  };
  pushed?: readonly [name: string, destination: string];
  exported?: readonly (readonly [name: string, spec: OutputSpec])[];
  tagged: (readonly [source: string, target: string])[];
  pruned?: object | undefined;
  cleaned?: object | undefined;
  logs?: readonly [image: string, layers: number | null];
  /** The verb and its words. */
  objects: (readonly string[])[];
  /** What `secret create` stored. */
  secret?: Readonly<Record<string, string>>;
  /** The verb and its words. */
  cacheMounts: (readonly string[])[];
  saved?: readonly [server: string, login: RegistryLogin];
  disposed: number;
}

export function fakeEngine(script: FakeEngineScript = {}): {
  readonly module: EngineModule;
  readonly calls: FakeEngineCalls;
} {
  const calls: FakeEngineCalls = { tagged: [], objects: [], cacheMounts: [], disposed: 0 };
  const work = async (onEvent: EngineOptions['onEvent'], signal: AbortSignal | undefined): Promise<void> => {
    for (const event of script.events ?? []) {
      onEvent?.(event);
    }
    if (script.untilCancelled === true) {
      await new Promise<void>((_resolve, reject) => {
        const keepAlive = setInterval(() => undefined, 1000);
        if (script.deaf !== true) {
          signal?.addEventListener('abort', () => {
            clearInterval(keepAlive);
            reject(signal.reason);
          });
        }
      });
    }
    if (script.failure !== undefined) {
      throw script.failure;
    }
  };
  const open = async (options: EngineOptions = {}): Promise<EngineLike> => {
    calls.opened = options;
    return {
      plan: (image) => (image as FakeImage).plan(),
      toDockerfile: async () => ({ text: 'FROM scratch\n', context: {}, buildContexts: {}, secrets: [] }),
      build: async (images, buildOptions) => {
        calls.built = { images, options: buildOptions };
        await work(options.onEvent, buildOptions?.signal);
        return images.map((_, index) => builtImage(index, script.diagnostics));
      },
      describeDockerfile: async () => ({
        name: 'Dockerfile',
        findings: [],
        outline: undefined,
        targets: [],
        error: undefined,
      }),
      run: async (image, command, runOptions) => {
        calls.ran = { image, command, options: runOptions };
        await work(options.onEvent, runOptions?.signal);
        for (const [stream, text] of script.runOutput ?? []) {
          runOptions?.onOutput?.(stream, Buffer.from(text));
        }
        return { exitCode: script.exitCode ?? 0, signal: script.runSignal };
      },
      runInFailed: async (name, command, runOptions) => {
        calls.ran = { image: name, command, options: undefined };
        await work(options.onEvent, runOptions?.signal);
        return { exitCode: script.exitCode ?? 0 };
      },
      callFunction: async (of, values, callOptions) => {
        calls.called = { name: of.name, values, options: callOptions };
        await work(options.onEvent, callOptions?.signal);
        return script.returns;
      },
      pull: async () => storedImage(),
      push: async (name, destination) => {
        calls.pushed = [name, destination];
        return { digest: digestOf('d') };
      },
      output: async (name, spec) => {
        calls.exported = [...(calls.exported ?? []), [name, spec]];
        return { digest: digestOf('e') };
      },
      tag: (source, target) => {
        calls.tagged.push([source, target]);
        return storedImage();
      },
      images: () => script.images ?? [storedImage()],
      inspect: async (name) => inspectedImage(name),
      publishedNames: () => [publishedName(0)],
      publishedHistory: ({ name }) => (name === 'nope' ? [] : [publishedName(1), publishedName(0)]),
      async *logs(image, logOptions) {
        calls.logs = [image, logOptions.layers];
        await work(options.onEvent, undefined);
        if (image === 'silent') {
          return;
        }
        const timestamp = new Date(0);
        yield { layer: 1, timestamp, stream: 'stdout', message: 'Collecting \u001b[1mtorch' };
        yield { layer: 1, timestamp, stream: 'tsbuild', message: 'E_BUILD_FAILED: the step ended' };
      },
      removeImage: (name) => ({ untagged: [name], deleted: 'im-1' }),
      cacheMounts: async () => [
        { id: '/root/.npm', sizeBytes: 2_345_678, copies: 2, usedMs: 0, inUse: false },
        { id: 'apt', sizeBytes: 10, copies: 1, usedMs: 0, inUse: true },
      ],
      removeCacheMounts: async (ids) => {
        calls.cacheMounts.push(['rm', ...ids]);
        await work(options.onEvent, undefined);
      },
      exportCacheMount: async (id, path, exportOptions) => {
        calls.cacheMounts.push(['export', id, path, exportOptions?.compression ?? 'by name']);
        await work(options.onEvent, exportOptions?.signal);
        return { sizeBytes: 1000 };
      },
      importCacheMount: async (id, path, importOptions) => {
        calls.cacheMounts.push(['import', id, path]);
        await work(options.onEvent, importOptions?.signal);
        return { sizeBytes: 2000 };
      },
      secrets: {
        create: async (name, values, { environment = '' } = {}) => {
          calls.objects.push(['secret create', name, environment]);
          calls.secret = values;
        },
        update: async () => undefined,
        info: async (name) => ({ name, createdAt: new Date(0) }),
        list: async ({ environment = '' } = {}) => {
          calls.objects.push(['secret list', environment]);
          return [{ name: 'huggingface', createdAt: new Date(0) }];
        },
        delete: async (name, { environment = '' } = {}) => {
          calls.objects.push(['secret delete', name, environment]);
        },
      },
      volumes: {
        create: async (name, { environment = '' } = {}) => {
          calls.objects.push(['volume create', name, environment]);
        },
        list: async () => [{ name: 'hf-cache', createdAt: new Date(0) }],
        delete: async (name, { environment = '' } = {}) => {
          calls.objects.push(['volume delete', name, environment]);
        },
        put: async (volume, source, path) => {
          calls.objects.push(['volume put', String(volume), source, path ?? '']);
        },
        get: async (volume, path, destination) => {
          calls.objects.push(['volume get', String(volume), path, destination]);
        },
        listFiles: async (volume, path) => {
          calls.objects.push(['volume ls', String(volume), path]);
          return ['/a/', '/a/\u001b[31m'];
        },
        remove: async (volume, path) => {
          calls.objects.push(['volume rm', String(volume), path]);
        },
      },
      usage: async () => [
        { kind: 'layers', count: 12, sizeBytes: 1_234_567_890, reclaimableBytes: 1000 },
        { kind: 'cache-mounts', count: 2, sizeBytes: 0, reclaimableBytes: 0 },
      ],
      prune: async (pruneOptions) => {
        calls.pruned = pruneOptions;
        return { freedBytes: 1000, removed: [{ kind: 'layers', id: 'abc', sizeBytes: 1000 }] };
      },
      clean: async (cleanOptions) => {
        calls.cleaned = cleanOptions;
        return { freedBytes: 2000, removed: [{ kind: 'layers', count: 3, sizeBytes: 2000 }] };
      },
      [Symbol.asyncDispose]: async () => {
        calls.disposed += 1;
      },
    };
  };
  return {
    calls,
    module: {
      Engine: { open },
      Image: FakeImage,
      Volume,
      App: FakeApp,
      AppFunction: FakeFunction,
      callValues: (_, { args }) => args,
      probeHost: async () => script.checks ?? [],
      checkLogin: async () => undefined,
      saveLogin: async (server, login) => {
        calls.saved = [server, login];
        return '/home/user/.docker/config.json';
      },
      eraseLogin: async () => true,
    },
  };
}

function builtImage(index: number, diagnostics: BuiltImage['diagnostics'] = []): BuiltImage {
  const digest = digestOf(String(index + 1));
  return {
    id: `im-${index}`,
    digest,
    layers: [],
    diagnostics,
  };
}

/** By the id of {@link builtImage}. */
function inspectedImage(name: string): InspectedImage {
  const index = Number(/^im-(\d)$/.exec(name)?.[1] ?? '8');
  return {
    configDigest: digestOf('c'),
    manifestDescriptor: {
      mediaType: 'application/vnd.oci.image.manifest.v1+json',
      digest: digestOf(String(index + 1)),
      size: 500,
    },
  };
}

function publishedName(version: number) {
  return { namespace: 'main', name: 'web', tag: 'v1', id: `im-${version}`, publishedMs: 0 };
}

export function storedImage(): StoredImage {
  return {
    published: [],
    names: ['web:1'],
    id: 'im-0123456789abcdef',
    digest: digestOf('a'),
    platform: { os: 'linux', architecture: 'amd64' },
    platforms: [{ os: 'linux', architecture: 'amd64' }],
    sizeBytes: 45_600_000,
    createdMs: 0,
  };
}
