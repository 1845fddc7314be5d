/** Imports point down. The table is docs/architecture.md's, as data. */
import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, normalize, relative } from 'node:path';
import { describe, expect, test } from 'vitest';

const SRC = join(import.meta.dirname, '../../src');

/** Room → rooms that it may import. `base`, `oci` and `errors` may be imported by all. */
const MAY_IMPORT: Readonly<Record<string, readonly string[] | 'all but cli'>> = {
  cli: [
    'engine',
    'index',
    'frontend',
    'graph',
    'solver',
    'executor',
    'transport',
    'http',
    'native',
    'settings',
    'secret',
  ],
  engine: 'all but cli',
  index: 'all but cli',
  recipe: ['frontend', 'patterns', 'secret', 'solver'],
  settings: [],
  frontend: ['graph', 'patterns', 'secret', 'settings', 'solver'],
  patterns: [],
  local: ['frontend', 'patterns', 'content', 'native', 'worker'],
  cache: ['solver', 'content', 'native'],
  ops: ['solver', 'graph', 'layer', 'worker', 'content', 'debian', 'tools', 'image'],
  solver: ['graph'],
  graph: [],
  worker: ['executor', 'snapshot', 'volume', 'debian', 'native', 'graph', 'solver', 'secret', 'patterns'],
  executor: ['snapshot', 'volume', 'native', 'graph', 'worker', 'solver', 'secret'],
  snapshot: ['native', 'solver'],
  volume: ['native'],
  layer: ['content', 'worker', 'solver'],
  transport: ['image', 'content', 'http'],
  debian: ['http', 'content', 'solver', 'native'],
  tools: ['http', 'solver'],
  image: ['content'],
  content: ['native', 'solver'],
  secret: [],
  http: [],
  native: [],
  oci: [],
  base: [],
  errors: [],
};
const FOR_ALL = ['base', 'oci', 'errors'];
/** These do no I/O: what they need to know of the world is handed to them. */
const PURE = ['frontend', 'patterns', 'graph', 'solver', 'oci', 'base'];
const IO_MODULES = /^node:(fs|fs\/promises|child_process|http|https|net|tls|dns|os|worker_threads|sqlite)$/;
const ROOM_ALIASES: Readonly<Record<string, string>> = {
  'error-codes': 'errors',
  'warning-codes': 'errors',
  'settings-table': 'settings',
};

interface Import {
  readonly file: string;
  readonly room: string;
  readonly specifier: string;
  readonly target: string | undefined;
}

function roomOf(path: string): string {
  const first = (path.split('/')[0] ?? '').replace(/\.ts$/, '');
  return ROOM_ALIASES[first] ?? first;
}

const files = readdirSync(SRC, { recursive: true, encoding: 'utf8' }).filter((name) => name.endsWith('.ts'));
const imports: Import[] = files.flatMap((file) => {
  const text = readFileSync(join(SRC, file), 'utf8');
  return [...text.matchAll(/(?:from\s+|import\s*\(\s*|import\s+)'([^']+)'/g)].map(([, specifier = '']) => ({
    file,
    room: roomOf(file),
    specifier,
    target: specifier.startsWith('.')
      ? roomOf(relative(SRC, normalize(join(SRC, dirname(file), specifier))))
      : undefined,
  }));
});

describe('layers', () => {
  test('every room is in the table', () => {
    expect([...new Set(files.map(roomOf))].filter((room) => !(room in MAY_IMPORT))).toEqual([]);
  });

  test('imports point down', () => {
    const wrong = imports.filter(({ room, target }) => {
      if (target === undefined || target === room || FOR_ALL.includes(target)) {
        return false;
      }
      const allowed = MAY_IMPORT[room] ?? [];
      return allowed === 'all but cli' ? target === 'cli' : !allowed.includes(target);
    });
    expect(wrong.map(({ file, specifier }) => `${file} imports ${specifier}`)).toEqual([]);
  });

  test('the core does no I/O', () => {
    const wrong = imports.filter(({ room, specifier }) => PURE.includes(room) && IO_MODULES.test(specifier));
    expect(wrong.map(({ file, specifier }) => `${file} imports ${specifier}`)).toEqual([]);
  });

  test('only native/ loads the addon', () => {
    const wrong = files.filter(
      (file) => roomOf(file) !== 'native' && /\.node['"`]/.test(readFileSync(join(SRC, file), 'utf8')),
    );
    expect(wrong).toEqual([]);
  });

  test('no catch-all files', () => {
    const names = files.map((file) => file.split('/').at(-1)?.replace(/\.ts$/, '') ?? '');
    expect(
      names.filter((name) => ['utils', 'util', 'helpers', 'common', 'types', 'misc'].includes(name)),
    ).toEqual([]);
    expect(files.filter((file) => file.endsWith('/index.ts'))).toEqual([]);
  });

  test('docs/architecture.md names files that exist', () => {
    const root = join(SRC, '..');
    const text = readFileSync(join(root, 'docs/architecture.md'), 'utf8');
    const all = new Set([
      ...files.map((file) => `src/${file}`),
      ...readdirSync(join(root, 'test'), { recursive: true, encoding: 'utf8' }).map((file) => `test/${file}`),
    ]);
    const named = [...text.matchAll(/`((?:src|test)\/[\w./-]+\.ts)`/g)].map(([, name = '']) => name);
    expect(named.filter((name) => !all.has(name))).toEqual([]);
    const linked = [...text.matchAll(/\]\(((?:adr|reference|guide)\/[\w./-]+\.md)\)/g)].map(
      ([, name = '']) => name,
    );
    const documents = new Set(readdirSync(join(root, 'docs'), { recursive: true, encoding: 'utf8' }));
    expect(linked.filter((name) => !documents.has(name))).toEqual([]);
  });
});
