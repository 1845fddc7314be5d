/** The engine as commands get it, loaded when a command first needs it. */
import type { HostCheck, ProbeHostOptions } from './engine-api.ts';

export { checkLogin, eraseLogin, saveLogin } from '../engine/login.ts';
export { Engine } from '../engine.ts';
export { App, AppFunction, callValues } from '../frontend/fluent/app.ts';
export { Image } from '../frontend/fluent/image.ts';
export { Volume } from '../frontend/fluent/volume.ts';

/** Only `doctor` needs it, so only `doctor` loads it. */
export async function probeHost({
  env = process.env,
  cdiDirs,
  driverRoot,
  wholeGpu = false,
}: ProbeHostOptions = {}): Promise<readonly HostCheck[]> {
  const [probes, { cdiDirsOf }, { readConfigFiles }, { readSettings }] = await Promise.all([
    import('../executor/probe.ts'),
    import('../executor/cdi.ts'),
    import('../engine/config-files.ts'),
    import('../settings.ts'),
  ]);
  const { project, user } = readConfigFiles(process.cwd(), env);
  const settings = readSettings(env, project, user);
  return await probes.probeHost({
    env,
    deviceSources: {
      cdiDirs: cdiDirs ?? cdiDirsOf(settings.cdiDirs),
      driverRoot: driverRoot ?? settings.driverRoot,
    },
    wholeGpu,
  });
}
