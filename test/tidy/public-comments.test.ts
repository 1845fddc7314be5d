/** Whoever writes a definition reads the API in an editor: every method and option says what it does, and examples compile. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import * as api from '../../src/index.ts';
import { typeErrors } from '../support/type-check.ts';

const ROOT = join(import.meta.dirname, '../..');
const read = (path: string) => readFileSync(join(ROOT, path), 'utf8');

/** The classes that people call. */
const CLASSES = [
  'src/engine.ts',
  'src/frontend/fluent/image.ts',
  'src/patterns/file-pattern-matcher.ts',
  'src/secret/secret.ts',
];
/** What the language or Node calls. */
const CALLED_BY_OTHERS = new Set(['constructor', 'toString', 'toJSON']);

interface Member {
  readonly name: string;
  readonly kind: 'method' | 'getter';
  /** Empty without one. */
  readonly comment: string;
}

/** Public ones of the exported classes of a file. Overloads count as one, with the comment of the first. */
function members(path: string): Member[] {
  const text = read(path);
  const found = new Map<string, Member>();
  for (const match of text.matchAll(/^export class [\s\S]*?^\}/gm)) {
    const pattern = /^ {2}(?:static |async )*(get )?([a-zA-Z]\w*)(?:<.*>)?\(/gm;
    for (const { 1: getter, 2: name = '', index } of match[0].matchAll(pattern)) {
      const comment = /\/\*\*(?:(?!\*\/)[\s\S])*\*\/\s*$/.exec(match[0].slice(0, index))?.[0] ?? '';
      if (!CALLED_BY_OTHERS.has(name) && !found.has(name) && !comment.includes('@internal')) {
        found.set(name, { name, kind: getter === undefined ? 'method' : 'getter', comment });
      }
    }
  }
  return [...found.values()];
}

describe.each(CLASSES)('%s', (path) => {
  const all = members(path);

  test('says what every method and getter is for', () => {
    expect(all.length).toBeGreaterThan(1);
    expect(all.filter(({ comment }) => comment === '').map(({ name }) => name)).toEqual([]);
  });

  test('shows how every method is called', () => {
    const silent = all.filter(({ kind, name, comment }) => {
      const example = comment.split('@example')[1] ?? '';
      return kind === 'method' && !new RegExp(`\\b${name}\\(`).test(example);
    });
    expect(silent.map(({ name }) => name)).toEqual([]);
  });
});

test('every option says what it does', () => {
  const files = readdirSync(join(ROOT, 'src/frontend/fluent')).map((name) => `src/frontend/fluent/${name}`);
  const silent = [...files, ...CLASSES, 'src/solver/event-stream.ts'].flatMap((path) =>
    [...read(path).matchAll(/^export interface (?!Normal)(\w*Options\w*)[^{]*\{\n([\s\S]*?)^\}/gm)].flatMap(
      ([, name = '', body = '']) =>
        [...body.matchAll(/(?:(\*\/)\n)? {2}readonly (\w+)\??:/g)].flatMap(([, comment, option = '']) =>
          comment === undefined ? [`${name}.${option}`] : [],
        ),
    ),
  );
  expect(silent).toEqual([]);
});

/** Examples may use what the page around them talks about, without declaring it. */
const SURROUNDINGS = `
${Object.keys(api)
  .map((name) => `import { ${name} as Own${name} } from 'tsbuild';`)
  .join('\n')}
declare global {
${Object.keys(api)
  .map((name) => `  const ${name}: typeof Own${name};\n  type ${name} = Own${name};`)
  .join('\n')}
  type ParamValues<P extends import('tsbuild').DefinitionParams> = import('tsbuild').ParamValues<P>;
  const image: Image;
  const engine: Engine;
  const built: BuiltImage;
  const secret: Secret;
  const token: string;
  const readFileSync: typeof import('node:fs').readFileSync;
}
`;

/** Code in TypeScript of all kinds of texts; of a comment without its asterisks. */
function examples(text: string): string[] {
  const blocks = [...text.matchAll(/^([ \t]*\*? ?)```ts\n([\s\S]*?)^[ \t]*\*? ?```/gm)];
  return blocks.map(([, margin = '', code = '']) =>
    code
      .split('\n')
      .map((line) => (line.startsWith(margin) ? line.slice(margin.length) : line.replace(/^\s*\*$/, '')))
      .join('\n'),
  );
}

async function errorsOf(files: Readonly<Record<string, string>>): Promise<string[]> {
  return await typeErrors({
    files: { ...files, 'surroundings.d.ts': SURROUNDINGS },
    compilerOptions: {
      module: 'nodenext',
      lib: ['es2024', 'esnext.disposable'],
      target: 'es2024',
      exactOptionalPropertyTypes: true,
      allowImportingTsExtensions: true,
      skipLibCheck: true,
    },
    tsbuild: 'src',
  });
}

test('an example that does not compile is found', async () => {
  const [wrong = ''] = examples('  /**\n   * ```ts\n   * image.env({ A: 1 });\n   * ```\n   */');
  expect(await errorsOf({ 'wrong.ts': `${wrong}\nexport {};` })).toEqual([
    expect.stringMatching(/^wrong\.ts\(1,13\): error TS2322/),
  ]);
});

test('examples of comments and guides compile', async () => {
  const sources = readdirSync(join(ROOT, 'src'), { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.ts'))
    .map((name) => `src/${name}`);
  const guides = readdirSync(join(ROOT, 'docs/guide')).map((name) => `docs/guide/${name}`);
  const files = Object.fromEntries(
    [...sources, ...guides, 'README.md', 'docs/reference/image-api.md'].flatMap((path) =>
      examples(read(path)).map((code, index) => [
        `${path.replaceAll(/\W+/g, '-')}-${index + 1}.ts`,
        `${code}\nexport {};\n`,
      ]),
    ),
  );
  expect(Object.keys(files).length).toBeGreaterThan(20);
  expect(await errorsOf(files)).toEqual([]);
});
