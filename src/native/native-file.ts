/** Files of `native/dist`, one for each kind of machine. */
import { existsSync } from 'node:fs';
import { HostError } from '../errors.ts';
import { packagePath } from './package-path.ts';

const ARCHITECTURES = ['x64', 'arm64'];

/** @throws {HostError} `E_NATIVE_MISSING`, which says whether there is none for this machine or it is not there. */
export function nativeFile(name: string, extension: string): string {
  const { platform, arch } = process;
  if (platform !== 'linux' || !ARCHITECTURES.includes(arch)) {
    throw new HostError(`there is no '${name}' for ${platform} on ${arch}`, {
      code: 'E_NATIVE_MISSING',
      hint: `tsbuild builds on Linux on ${ARCHITECTURES.join(' or ')}`,
    });
  }
  const path = packagePath(`native/dist/${name}.linux-${arch}${extension}`);
  if (!existsSync(path)) {
    throw new HostError(`the native helper '${path}' is missing`, {
      code: 'E_NATIVE_MISSING',
      path,
      hint: 'install tsbuild again; in a checkout, run `npm run build:native`',
    });
  }
  return path;
}
