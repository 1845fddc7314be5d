/**
 * Where the package's own files lie: the native helpers, the worker's entry, the archive's keys. Normally above the module
 * that asks. A bundler moves that module; then the installed package is asked for, as the bundle would import it.
 */
import { existsSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { HostError } from '../errors.ts';

const PACKAGE_NAME = 'tsbuild';

let root: string | undefined;

/**
 * @param path - Relative to the package.
 * @throws {HostError} `E_NATIVE_MISSING` when this is a bundle and the package is not installed where the bundle can import it.
 */
export function packagePath(path: string): string {
  root ??= packageAbove() ?? installedPackage();
  return join(root, path);
}

/** Whether this very module is TypeScript, as in a checkout. */
export function runsFromSources(): boolean {
  return modulePath().endsWith('.ts');
}

/** `src/native/` and `dist/chunks/` are equally deep. */
function packageAbove(): string | undefined {
  const directory = dirname(dirname(dirname(modulePath())));
  const manifest = join(directory, 'package.json');
  if (!existsSync(manifest)) {
    return undefined;
  }
  const { name } = JSON.parse(readFileSync(manifest, 'utf8')) as { readonly name?: unknown };
  return name === PACKAGE_NAME ? directory : undefined;
}

function installedPackage(): string {
  const from = modulePath();
  try {
    return dirname(createRequire(from).resolve(`${PACKAGE_NAME}/package.json`));
  } catch (cause) {
    throw new HostError(
      `'${from}' is a bundle, and the installed package '${PACKAGE_NAME}', which has the native helpers, cannot be found from there`,
      {
        code: 'E_NATIVE_MISSING',
        path: from,
        cause,
        hint: `install ${PACKAGE_NAME} in a node_modules beside or above the bundle; a bundle cannot hold native code`,
      },
    );
  }
}

function modulePath(): string {
  // A bundler that writes CommonJS may leave no `import.meta.url`; a module has no `__filename`.
  const url: string | undefined = import.meta.url;
  return url?.startsWith('file:') ? fileURLToPath(url) : __filename;
}
