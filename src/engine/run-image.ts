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
import { InputPump, inputParams, type ProgramStreams, terminalVariables } from '../worker/program-streams.ts';
import type { InputFile, WireFunction, RunResult as WorkerRunResult } from '../worker/protocol.ts';
import { workerEvents } from '../worker/worker-events.ts';
import { ensureExecutable } from './executable.ts';
import type { EngineParts } from './parts.ts';

export type { InputLike, TerminalLike } from '../worker/program-streams.ts';

export interface ContainerOptions extends ProgramStreams {
  readonly env?: Readonly<Record<string, string | null | undefined>>;
  readonly secrets?: readonly Secret[];
  readonly workdir?: string;
  readonly user?: string;
  readonly network?: NetworkMode;
  /** Over those of the engine, one by one. */
  readonly limits?: ResourceLimits;
  readonly timeoutMs?: number;
  readonly volumes?: VolumeMap;
  /**
   * The best shell of the image takes the place of its entrypoint and command; a command is then run without the entrypoint.
   * @defaultValue false
   */
  readonly shell?: boolean;
  /** Called once, when the image is there and the command is about to start: from now on `stdin` is read. */
  readonly onStart?: () => void;
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
  const { stdin, terminal, shell = false } = options;
  const argv =
    call !== undefined
      ? ['tsbuild-function', call.name]
      : shell
        ? (command ?? [])
        : [...(config.Entrypoint ?? []), ...(command ?? config.Cmd ?? [])];
  if (argv.length === 0 && !shell) {
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
  for (const [name, value] of terminal === undefined ? [] : terminalVariables(parts.environment)) {
    env.set(name, value);
  }
  for (const [name, value] of [...Object.entries(secrets), ...Object.entries(options.env ?? {})]) {
    if (value !== null && value !== undefined) {
      env.set(name, value);
    }
  }
  await ensureExecutable(parts, platform, layers, context);
  await layerStore.ensureSnapshots(layers, context);
  const forward = workerEvents(context.emit);
  const started = await worker();
  options.onStart?.();
  const pump = new InputPump(options);
  const running = started.call(
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
      ...(stdin === undefined && terminal === undefined ? {} : { input: inputParams(terminal) }),
    },
    {
      signal: context.signal,
      onSession: (send) => pump.start(send),
      onEvent: (event) => {
        if (event.kind === 'output') {
          onOutput(event.stream, Buffer.from(event.base64, 'base64'));
        } else {
          pump.hear(event);
          forward(event);
        }
      },
    },
  );
  return await running.finally(() => pump.stop());
}
