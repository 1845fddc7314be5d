/** The engine as commands get it, loaded when a command first needs it. */
import type { HostCheck } from './engine-api.ts';

export { checkLogin, eraseLogin, saveLogin } from '../engine/login.ts';
export { Engine } from '../engine.ts';
export { App, AppFunction, callValues } from '../frontend/fluent/app.ts';
export { Image } from '../frontend/fluent/image.ts';
export { Volume } from '../frontend/fluent/volume.ts';

/** Only `doctor` needs it, so only `doctor` loads it. */
export async function probeHost(options: {
  readonly env?: NodeJS.ProcessEnv;
}): Promise<readonly HostCheck[]> {
  const probes = await import('../executor/probe.ts');
  return await probes.probeHost(options);
}
