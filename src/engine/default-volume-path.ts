/** Where a volume of the process's own store is. A path is known without opening anything. */
import { resolve } from 'node:path';
import type { Volume } from '../frontend/fluent/volume.ts';
import { readSettings } from '../settings.ts';
import { readConfigFiles } from './config-files.ts';
import { Volumes } from './volumes.ts';

export function defaultVolumePath(volume: Volume): string {
  const { project, user } = readConfigFiles(process.cwd(), process.env);
  const { home, environment } = readSettings(process.env, project, user);
  return Volumes.pathIn(resolve(home), environment, volume);
}
