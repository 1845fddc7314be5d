/** Containers on a built image: started, watched, thrown away (Image API, A3.3 and B10). */
import { DefinitionError } from '../errors.ts';
import type { NetworkMode } from '../executor/sandbox.ts';
import type { VolumeMap } from '../frontend/fluent/volume.ts';
import { refuseSameVolume, volumeMounts } from '../frontend/fluent/volume-mounts.ts';
import type { GpuRequest, ResourceLimits } from '../graph/action.ts';
import type { LayerContext } from '../layer/layer-store.ts';
import type { ContainerConfig } from '../oci/image-config.ts';
import type { Platform } from '../oci/platform.ts';
import { type Secret, secretValues } from '../secret/secret.ts';
import type { LayerId } from '../solver/op.ts';
import type { InputFile, WireFunction, RunResult as WorkerRunResult } from '../worker/protocol.ts';
import { workerEvents } from '../worker/worker-events.ts';
import { ensureExecutable } from './executable.ts';
import type { EngineParts } from './parts.ts';

export interface ContainerOptions {
  readonly env?: Readonly<Record<string, string | null | undefined>>;
  readonly secrets?: readonly Secret[];
  readonly workdir?: string;
  readonly user?: string;
  readonly network?: NetworkMode;
  /** Over those of the engine, one by one. */
  readonly limits?: ResourceLimits;
  readonly timeoutMs?: number;
  readonly stdin?: string | Uint8Array;
  readonly volumes?: VolumeMap;
  /** Alternatives, the best first. */
  readonly gpus?: readonly GpuRequest[];
}

export interface Container {
  readonly imageId: string;
  /** {@link Image.recipeHash}, if it is known. */
  readonly recipe: string | undefined;
  readonly layers: readonly LayerId[];
  readonly config: ContainerConfig;
  readonly platform: Platform;
  /** Put above the image, in order. */
  readonly files: readonly InputFile[];
  /** A function to call, instead of a command. */
  readonly call?: { readonly name: string; readonly wire: WireFunction };
}

const DEFAULT_PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';

/**
 * @param command - Takes the place of CMD.
 * @param onOutput - What the container writes, as it comes.
 * @throws {DefinitionError} `E_NOTHING_TO_RUN` @throws {HostError} `E_PLATFORM_EMULATION`
 */
export async function runContainer(
  parts: EngineParts,
  { imageId, recipe, layers, config, platform, files, call }: Container,
  command: readonly string[] | undefined,
  options: ContainerOptions,
  context: LayerContext,
  onOutput: (stream: 'stdout' | 'stderr', chunk: Buffer) => void,
): Promise<WorkerRunResult> {
  const { layers: layerStore, worker, settings, programs } = parts;
  const limits = { ...programs.defaults.limits, ...options.limits };
  const volumes = volumeMounts('run', options.volumes);
  refuseSameVolume('run', volumes, settings.environment);
  const argv =
    call === undefined
      ? [...(config.Entrypoint ?? []), ...(command ?? config.Cmd ?? [])]
      : ['tsbuild-function', call.name];
  if (argv.length === 0) {
    throw new DefinitionError('the image has neither an entrypoint nor a command', {
      code: 'E_NOTHING_TO_RUN',
      hint: "name one: image.run(['sh']), or `tsbuild run IMAGE -- sh`",
    });
  }
  const secrets = Object.assign(
    {},
    ...(await Promise.all(
      (options.secrets ?? []).map((secret) => secretValues(secret, parts.secretSources)),
    )),
  ) as Record<string, string>;
  const env = new Map<string, string>([['PATH', DEFAULT_PATH]]);
  for (const entry of config.Env ?? []) {
    const equals = entry.indexOf('=');
    env.set(entry.slice(0, equals), entry.slice(equals + 1));
  }
  env.set('TSBUILD_IS_CONTAINER', '1').set('TSBUILD_IMAGE_ID', imageId);
  if (recipe !== undefined) {
    env.set('TSBUILD_IMAGE_RECIPE', recipe);
  }
  for (const [name, value] of [...Object.entries(secrets), ...Object.entries(options.env ?? {})]) {
    if (value !== null && value !== undefined) {
      env.set(name, value);
    }
  }
  await ensureExecutable(parts, platform, layers, context);
  await layerStore.ensureSnapshots(layers, context);
  const forward = workerEvents(context.emit);
  return await (await worker()).call(
    'run',
    {
      layers,
      argv,
      env: [...env],
      cwd: options.workdir ?? (config.WorkingDir || '/'),
      user: options.user ?? config.User ?? '',
      network: options.network ?? programs.defaults.network ?? 'host',
      limits,
      keep: programs.keep([limits]),
      ...(options.timeoutMs === undefined ? {} : { timeoutMs: options.timeoutMs }),
      files,
      ...(call === undefined ? {} : { call: call.wire }),
      secretValues: Object.values(secrets),
      volumes: parts.volumes.mounted(volumes),
      ...(options.gpus === undefined || options.gpus.length === 0
        ? {}
        : { gpus: options.gpus, gpuPolicy: settings.gpuPolicy }),
      ...(options.stdin === undefined ? {} : { stdinBase64: Buffer.from(options.stdin).toString('base64') }),
    },
    {
      signal: context.signal,
      onEvent: (event) =>
        event.kind === 'output'
          ? onOutput(event.stream, Buffer.from(event.base64, 'base64'))
          : forward(event),
    },
  );
}
