/** Runs the TypeScript compiler over texts of a test. */
import { execFile } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';

const ROOT = join(import.meta.dirname, '../..');

export interface TypeCheck {
  /** By path in a project of their own. */
  readonly files: Readonly<Record<string, string>>;
  readonly compilerOptions: Readonly<Record<string, unknown>>;
  /** What `tsbuild` means: the sources, or the package as it was built. */
  readonly tsbuild: 'src' | 'dist';
}

/** @returns Lines such as `a.ts(3,4): error TS2322: …`; none when all is well. */
export async function typeErrors({ files, compilerOptions, tsbuild }: TypeCheck): Promise<string[]> {
  const project = mkdtempSync(join(tmpdir(), 'tsbuild-types-'));
  try {
    mkdirSync(join(project, 'node_modules/@types'), { recursive: true });
    link(project, '@types/node');
    if (tsbuild === 'dist') {
      installDeclarations(project);
    }
    const config = {
      compilerOptions: {
        target: 'es2022',
        types: ['node'],
        strict: true,
        noEmit: true,
        ...(tsbuild === 'src' ? { paths: { tsbuild: [join(ROOT, 'src/index.ts')] } } : {}),
        ...compilerOptions,
      },
      files: Object.keys(files),
    };
    const all = { ...files, 'tsconfig.json': JSON.stringify(config), 'package.json': '{ "type": "module" }' };
    for (const [name, text] of Object.entries(all)) {
      mkdirSync(dirname(join(project, name)), { recursive: true });
      writeFileSync(join(project, name), text);
    }
    const output = await new Promise<string>((resolve) => {
      const tsc = join(ROOT, 'node_modules/.bin/tsc');
      execFile(
        tsc,
        ['-p', '.', '--pretty', 'false'],
        { cwd: project, maxBuffer: 1 << 26 },
        (error, stdout, stderr) => resolve(error === null ? '' : stdout + stderr || String(error)),
      );
    });
    return output.split('\n').filter((line) => line !== '');
  } finally {
    rmSync(project, { recursive: true, force: true });
  }
}

/** What an npm install would bring, and no more: types that only the checkout has must not be needed. */
function installDeclarations(project: string): void {
  const installed = join(project, 'node_modules/tsbuild');
  cpSync(join(ROOT, 'dist'), join(installed, 'dist'), {
    recursive: true,
    filter: (path) => !path.endsWith('.js'),
  });
  const manifest = readFileSync(join(ROOT, 'package.json'), 'utf8');
  writeFileSync(join(installed, 'package.json'), manifest);
  const { dependencies } = JSON.parse(manifest) as {
    readonly dependencies: Readonly<Record<string, string>>;
  };
  for (const name of Object.keys(dependencies)) {
    link(project, name);
  }
}

function link(project: string, name: string): void {
  symlinkSync(join(ROOT, 'node_modules', name), join(project, 'node_modules', name));
}
