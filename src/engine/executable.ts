/** Before a program of an image runs: whether this machine can execute it, so that the answer is not "exec format error". */
import { HostError } from '../errors.ts';
import { type EmulationHost, executionOf, THIS_MACHINE } from '../executor/emulation.ts';
import type { LayerContext } from '../layer/layer-store.ts';
import { formatPlatform, type Platform } from '../oci/platform.ts';
import type { LayerId } from '../solver/op.ts';
import type { EngineParts } from './parts.ts';

const HINT = 'sudo apt-get install qemu-user-static binfmt-support';

/**
 * @param layers - Of the image in which it would run.
 * @throws {HostError} `E_PLATFORM_EMULATION`
 */
export async function ensureExecutable(
  { layers: store, worker }: Pick<EngineParts, 'layers' | 'worker'>,
  platform: Platform,
  layers: readonly LayerId[],
  context: LayerContext,
  host: EmulationHost = THIS_MACHINE,
): Promise<void> {
  const execution = executionOf(platform, host);
  const name = formatPlatform(platform);
  const refuse = (why: string, hint: string) =>
    new HostError(`cannot run programs for ${name} on this linux/${host.architecture} machine: ${why}`, {
      code: 'E_PLATFORM_EMULATION',
      hint,
    });
  switch (execution.kind) {
    case 'native':
    case 'emulated':
      return;
    case 'impossible':
      throw refuse(execution.why, HINT);
    case 'emulated-from-image': {
      const { interpreter } = execution;
      await store.ensureSnapshots(layers, context);
      const { signal } = context;
      const { exists } = await (await worker()).call('exists', { layers, path: interpreter }, { signal });
      if (!exists) {
        throw refuse(
          `its emulator '${interpreter}' is looked up in the image, which does not have it`,
          `${HINT}: they register emulators with the flag F, which the kernel finds whatever the image holds`,
        );
      }
    }
  }
}
