/** Devices of one program, named or asked for as GPUs, as edits of its sandbox. */
import { waitWith } from '../base/abort.ts';
import type { DeviceEdits } from '../executor/device-edits.ts';
import { findDevices } from '../executor/find-devices.ts';
import { findGpus } from '../executor/find-gpus.ts';
import { needsOtherLoader } from '../executor/stage-devices.ts';
import type { DeviceRequest, GpuRequest } from '../graph/action.ts';
import type { RequestContext, WorkerContext } from './context.ts';
import type { GpuPolicy } from './protocol.ts';

export interface DevicesWanted {
  readonly devices?: readonly DeviceRequest[];
  /** Alternatives, the best first. */
  readonly gpus?: readonly GpuRequest[];
  /** @defaultValue auto */
  readonly gpuPolicy?: GpuPolicy | undefined;
}

/**
 * What could not be had and is not required is a warning of the request.
 *
 * @returns Undefined when nothing is wanted. @throws {HostError} `E_DEVICE_UNAVAILABLE`, `E_GPU_UNAVAILABLE`
 */
export async function devicesFor(
  { executor }: Pick<WorkerContext, 'executor'>,
  { devices = [], gpus = [], gpuPolicy = 'auto' }: DevicesWanted,
  { emit, signal }: Pick<RequestContext, 'emit' | 'signal'>,
): Promise<DeviceEdits | undefined> {
  if (devices.length === 0 && gpus.length === 0) {
    return undefined;
  }
  const chosen =
    gpus.length === 0
      ? undefined
      : await waitWith(findGpus(gpus, { policy: gpuPolicy, ...executor.deviceSources }), signal);
  for (const warning of chosen?.warnings ?? []) {
    emit({ kind: 'warning', ...warning });
  }
  const wanted = [...devices, ...(chosen?.devices ?? [])];
  if (wanted.length === 0) {
    return undefined;
  }
  const { idMode, deviceSources } = executor;
  const { edits, warnings } = await waitWith(findDevices(wanted, { ...deviceSources, idMode }), signal);
  for (const message of warnings) {
    emit({ kind: 'warning', code: 'W_DEVICE', message });
  }
  return chosen === undefined
    ? edits
    : { ...edits, env: [...edits.env, ...chosen.env], defaultEnv: chosen.defaultEnv };
}

/** @param root - The image. */
export function warnOfLoader(
  root: string,
  devices: DeviceEdits,
  { emit }: Pick<RequestContext, 'emit'>,
): void {
  if (needsOtherLoader(root, devices)) {
    const message =
      'the libraries of the devices need glibc and the image has musl, whose programs cannot load them';
    emit({ kind: 'warning', code: 'W_DEVICE', message });
  }
}
