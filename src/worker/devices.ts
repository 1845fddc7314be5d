/** Devices of one program, named or asked for as GPUs, as edits of its sandbox. */
import { type DeviceEdits, findDevices } from '../executor/cdi.ts';
import { findGpus } from '../executor/find-gpus.ts';
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
  { emit }: Pick<RequestContext, 'emit'>,
): Promise<DeviceEdits | undefined> {
  if (devices.length === 0 && gpus.length === 0) {
    return undefined;
  }
  const chosen =
    gpus.length === 0
      ? { devices: [], env: [], warnings: [] }
      : await findGpus(gpus, { policy: gpuPolicy, directories: executor.cdiDirs });
  for (const warning of chosen.warnings) {
    emit({ kind: 'warning', ...warning });
  }
  const wanted = [...devices, ...chosen.devices];
  if (wanted.length === 0) {
    return undefined;
  }
  const { edits, warnings } = await findDevices(wanted, executor.cdiDirs);
  for (const message of warnings) {
    emit({ kind: 'warning', code: 'W_DEVICE', message });
  }
  return { ...edits, env: [...edits.env, ...chosen.env] };
}
