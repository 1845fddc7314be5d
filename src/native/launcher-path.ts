import { nativeFile } from './native-file.ts';

/** Where the launcher lies. @throws {HostError} `E_NATIVE_MISSING` */
export function launcherPath(): string {
  return nativeFile('tsbuild-launcher', '');
}
