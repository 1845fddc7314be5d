import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { HostError } from '../errors.ts';

/** Where the launcher lies. @throws {HostError} `E_NATIVE_MISSING` */
export function launcherPath(): string {
  const arch = process.arch === 'arm64' ? 'arm64' : 'x64';
  const path = fileURLToPath(new URL(`../../native/dist/tsbuild-launcher.linux-${arch}`, import.meta.url));
  if (!existsSync(path)) {
    throw new HostError(`the launcher '${path}' is missing`, {
      code: 'E_NATIVE_MISSING',
      path,
      hint: 'in a checkout, run `npm run build:native`; tsbuild needs Linux on x64 or arm64',
    });
  }
  return path;
}
