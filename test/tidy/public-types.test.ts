/** The declarations that are published work for whoever uses them: as strict as they like, however they resolve modules. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { typeErrors } from '../support/type-check.ts';

const USES = readFileSync(join(import.meta.dirname, '../types/public-api.ts'), 'utf8');
const STRICTEST = {
  exactOptionalPropertyTypes: true,
  noUncheckedIndexedAccess: true,
  noPropertyAccessFromIndexSignature: true,
};

describe('the built declarations', () => {
  test.each([
    ['nodenext, as strict as it gets', { module: 'nodenext', moduleResolution: 'nodenext', ...STRICTEST }],
    ['nodenext, strict', { module: 'nodenext', moduleResolution: 'nodenext' }],
    ['bundler, as strict as it gets', { module: 'esnext', moduleResolution: 'bundler', ...STRICTEST }],
    ['bundler, strict', { module: 'esnext', moduleResolution: 'bundler' }],
  ])('%s', async (_, options) => {
    const compilerOptions = { ...options, lib: ['es2024', 'esnext.disposable'], skipLibCheck: false };
    expect(await typeErrors({ files: { 'uses.ts': USES }, compilerOptions, tsbuild: 'dist' })).toEqual([]);
  });

  test('CommonJS, with the library of an older target', async () => {
    const text = `import { Engine, Image } from 'tsbuild';
    import tsbuild = require('tsbuild');
    export async function main(): Promise<string> {
      const image: Image = tsbuild.Image.fromScratch();
      const engine = await Engine.open();
      const [built] = await engine.build([image]);
      await engine.close();
      return built?.digest ?? '';
    }`;
    const compilerOptions = { module: 'nodenext', target: 'es2022', skipLibCheck: false };
    expect(await typeErrors({ files: { 'uses.cts': text }, compilerOptions, tsbuild: 'dist' })).toEqual([]);
  });

  test('are looked at: a wrong use is refused', async () => {
    const text = "import { Image } from 'tsbuild';\nImage.debianSlim({ pythonVersion: 3 });\n";
    const compilerOptions = { module: 'nodenext' };
    expect(await typeErrors({ files: { 'uses.ts': text }, compilerOptions, tsbuild: 'dist' })).toEqual([
      expect.stringContaining('uses.ts(2,20): error TS2322'),
    ]);
  });

  test('say no any in what is public', () => {
    const declared = [
      'index.d.ts',
      'engine.d.ts',
      'errors.d.ts',
      'frontend/fluent/image.d.ts',
      'secret/secret.d.ts',
    ];
    const found = declared.filter((name) =>
      /[:<|(]\s*any\b|\bas any\b/.test(
        readFileSync(join(import.meta.dirname, '../../dist', name), 'utf8').replaceAll(
          /\/\*[\s\S]*?\*\//g,
          '',
        ),
      ),
    );
    expect(found).toEqual([]);
  });
});
