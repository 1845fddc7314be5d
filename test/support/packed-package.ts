/** The package as npm would install it: packed, unpacked into a project's node_modules, with what it needs at run time. */
import { execFileSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';

const ROOT = join(import.meta.dirname, '../..');

/**
 * Makes `node_modules` in `project`. Nothing is fetched: what the package depends on is copied from the checkout.
 *
 * @returns The directory of the installed package.
 */
export function installPacked(project: string): string {
  if (!existsSync(join(ROOT, 'dist/index.js'))) {
    throw new Error('dist/ is missing: npm run build');
  }
  const modules = join(project, 'node_modules');
  const installed = join(modules, 'tsbuild');
  mkdirSync(installed, { recursive: true });
  const packed = execFileSync('npm', ['pack', '--json', '--ignore-scripts', '--pack-destination', project], {
    cwd: ROOT,
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  const [{ filename = '' } = {}] = JSON.parse(packed) as { readonly filename?: string }[];
  execFileSync('tar', ['-xf', join(project, filename), '-C', installed, '--strip-components=1']);
  const lock = JSON.parse(readFileSync(join(ROOT, 'package-lock.json'), 'utf8')) as {
    readonly packages: Readonly<Record<string, { readonly dev?: boolean }>>;
  };
  for (const [path, { dev }] of Object.entries(lock.packages)) {
    if (path !== '' && dev !== true && existsSync(join(ROOT, path))) {
      mkdirSync(dirname(join(project, path)), { recursive: true });
      cpSync(join(ROOT, path), join(project, path), { recursive: true });
    }
  }
  return installed;
}
