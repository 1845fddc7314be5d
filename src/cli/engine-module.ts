/** The engine as commands get it, loaded when a command first needs it. */
import type { HostCheck } from './engine-api.ts';

export { checkLogin, eraseLogin, saveLogin } from '../engine/login.ts';
export { Engine } from '../engine.ts';
export { Image } from '../frontend/fluent/image.ts';

/** Only `doctor` needs it, so only `doctor` loads it. */
export async function probeHost(options: {
  readonly env?: NodeJS.ProcessEnv;
}): Promise<readonly HostCheck[]> {
  // @ts-expect-error: the probes are written beside this file; this line goes when they are there.
  const probes = await import('../executor/probe.ts');
  return await probes.probeHost(options);
}
