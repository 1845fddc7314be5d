import { describe, expect, test } from 'vitest';
import { type SelectionOptions, selectSources } from '../../../src/patterns/select.ts';
import { MapTree, type TreeEntry } from '../../../src/patterns/source-tree.ts';

/** `'f'` is a file, `'/'` an empty directory, `'-> x'` a link. */
function tree(leaves: Readonly<Record<string, string>>): MapTree<TreeEntry> {
  return new MapTree<TreeEntry>(
    Object.entries(leaves).map(([path, leaf]) => [
      `/${path}`,
      leaf === 'f'
        ? { kind: 'file' }
        : leaf === '/'
          ? { kind: 'directory' }
          : { kind: 'symlink', link: leaf.slice(3) },
    ]),
    { kind: 'directory' },
  );
}

const FILES = tree({
  'a.txt': 'f',
  'b.txt': 'f',
  'c.md': 'f',
  'dir/x.txt': 'f',
  'dir/sub/y.txt': 'f',
  'dir/sub/z.md': 'f',
  'dir/empty': '/',
  'other/x.txt': 'f',
  'other/deep/er/w.txt': 'f',
  'we[i]rd': 'f',
  'star*': 'f',
  '-> arrow': 'f',
});

const LINKS = tree({
  'real/file': 'f',
  'real/inner': '-> file',
  'real/up': '-> ..',
  'real/sub/g': 'f',
  'to-dir': '-> real',
  'to-file': '-> real/file',
  absolute: '-> /real/file',
  climbs: '-> ../../../../real/file',
  twice: '-> to-dir/inner',
  broken: '-> nowhere/at/all',
  circle: '-> circle',
  ping: '-> pong',
  pong: '-> ping',
  through: '-> real/up/to-dir/sub',
  'm1.l': '-> real',
  'm2.l': '-> to-file',
});

const paths = (below: readonly { readonly path: string }[]) =>
  below
    .map(({ path }) => path)
    .sort()
    .join(' ');

async function select(of: MapTree<TreeEntry>, source: string, options: Partial<SelectionOptions> = {}) {
  const found = await selectSources(of, source, { wildcards: true, parents: false, exclude: [], ...options });
  if (found.kind !== 'selected') {
    return found.kind === 'missing' ? `missing ${found.path} at ${found.at}` : `loop ${found.path}`;
  }
  return found.matches.map(({ path, at, entry, below }) =>
    entry.kind === 'directory'
      ? `${path}${at === path ? '' : ` = ${at}`}: ${paths('directory' in below ? [] : below)}`
      : `${path}${at === path ? '' : ` = ${at}`}`,
  );
}

describe('paths', () => {
  test.each([
    ['a.txt', ['/a.txt']],
    ['/a.txt', ['/a.txt']],
    ['./a.txt', ['/a.txt']],
    ['../../a.txt', ['/a.txt']],
    ['dir/../a.txt', ['/a.txt']],
    ['a.txt/', ['/a.txt']],
    ['dir', ['/dir: empty sub sub/y.txt sub/z.md x.txt']],
    ['dir/', ['/dir: empty sub sub/y.txt sub/z.md x.txt']],
    ['dir/empty', ['/dir/empty: ']],
    ['nothing', 'missing /nothing at /nothing'],
    ['dir/no/file', 'missing /dir/no/file at /dir/no'],
    ['a.txt/below', 'missing /a.txt/below at /a.txt'],
    ['*.txt', ['/a.txt', '/b.txt']],
    ['?.txt', ['/a.txt', '/b.txt']],
    ['[a-b].*', ['/a.txt', '/b.txt']],
    ['[^a].txt', ['/b.txt']],
    ['*/x.txt', ['/dir/x.txt', '/other/x.txt']],
    ['*/*/y.txt', ['/dir/sub/y.txt']],
    ['di?', ['/dir: empty sub sub/y.txt sub/z.md x.txt']],
    ['dir/*', ['/dir/empty: ', '/dir/sub: y.txt z.md', '/dir/x.txt']],
    // Without --parents two asterisks are one.
    ['**/x.txt', ['/dir/x.txt', '/other/x.txt']],
    ['*.zip', []],
    ['nothing/*.zip', []],
    ['a.txt/*', []],
    ['we[[]i]rd', ['/we[i]rd']],
    ['we\\[i\\]rd', ['/we[i]rd']],
    ['star\\*', ['/star*']],
    ['-> arrow', ['/-> arrow']],
  ])('%j', async (source, expected) => {
    expect(await select(FILES, source)).toEqual(expected);
  });

  test('everything', async () => {
    const [all] = await select(FILES, '.');
    expect(all).toBe(
      '/: -> arrow a.txt b.txt c.md dir dir/empty dir/sub dir/sub/y.txt dir/sub/z.md dir/x.txt other other/deep ' +
        'other/deep/er other/deep/er/w.txt other/x.txt star* we[i]rd',
    );
    expect(await select(FILES, '')).toEqual([all]);
    expect(await select(FILES, '/')).toEqual([all]);
  });

  test('without wildcards every character is itself', async () => {
    expect(await select(FILES, 'star*', { wildcards: false })).toEqual(['/star*']);
    expect(await select(FILES, 'we[i]rd', { wildcards: false })).toEqual(['/we[i]rd']);
    expect(await select(FILES, '*.txt', { wildcards: false })).toBe('missing /*.txt at /*.txt');
  });

  test.each(['[', 'a[', 'dir/[]', '[-a]', '[a', '\\'])('%j is no pattern', async (source) => {
    await expect(select(FILES, source)).rejects.toMatchObject({ code: 'E_BAD_PATTERN' });
  });
});

describe('links', () => {
  test.each([
    ['to-file', ['/to-file = /real/file']],
    ['absolute', ['/absolute = /real/file']],
    ['climbs', ['/climbs = /real/file']],
    ['twice', ['/twice = /real/file']],
    ['to-dir', ['/to-dir = /real: file inner sub sub/g up']],
    ['to-dir/file', ['/to-dir/file = /real/file']],
    [
      'to-dir/*',
      [
        '/to-dir/file = /real/file',
        '/to-dir/inner = /real/file',
        '/to-dir/sub = /real/sub: g',
        expect.stringMatching('^/to-dir/up = /: '),
      ],
    ],
    ['through/g', ['/through/g = /real/sub/g']],
    ['m*.l', ['/m1.l = /real: file inner sub sub/g up', '/m2.l = /real/file']],
    // Only what precedes the first wildcard leads through links.
    ['*/file', ['/real/file']],
    ['broken', 'missing /broken at /nowhere'],
    ['b*n', 'missing /broken at /nowhere'],
    ['circle', 'loop /circle'],
    ['ping/x', 'loop /ping/x'],
    // The path is cleaned first, as text.
    ['to-dir/../real/file', ['/real/file']],
  ])('%j', async (source, expected) => {
    expect(await select(LINKS, source)).toEqual(expected);
  });

  test('those on the way are told', async () => {
    const found = await selectSources(LINKS, 'twice', { wildcards: true, parents: false, exclude: [] });
    expect(found.kind === 'selected' && found.links.map(({ at }) => at)).toEqual([
      '/twice',
      '/to-dir',
      '/real/inner',
    ]);
  });
});

describe('exclude', () => {
  test.each([
    ['dir', ['**/*.md'], ['/dir: empty sub sub/y.txt x.txt']],
    ['dir', ['*.md'], ['/dir: empty sub sub/y.txt sub/z.md x.txt']],
    ['dir', ['sub'], ['/dir: empty x.txt']],
    // What is spared brings its directory along.
    ['dir', ['sub', '!sub/z.md'], ['/dir: empty sub sub/z.md x.txt']],
    ['dir', ['*', '!x.txt'], ['/dir: x.txt']],
    ['dir', ['dir/sub'], ['/dir: empty sub sub/y.txt sub/z.md x.txt']],
    ['dir', ['**/*.md', '!sub'], ['/dir: empty sub sub/y.txt x.txt']],
    ['*', ['*.txt'], expect.arrayContaining(['/a.txt', '/dir: empty sub sub/y.txt sub/z.md'])],
    ['a.txt', ['a.txt'], ['/a.txt']],
  ])('%j without %j', async (source, exclude, expected) => {
    expect(await select(FILES, source, { exclude })).toEqual(expected);
  });

  test('a file that was matched itself stays, and it is told', async () => {
    const found = await selectSources(FILES, '*.*', { wildcards: true, parents: false, exclude: ['*.txt'] });
    expect(
      found.kind === 'selected' && found.matches.map((each) => [each.path, each.namedByExclude]),
    ).toEqual([
      ['/a.txt', true],
      ['/b.txt', true],
      ['/c.md', false],
    ]);
  });

  test('a bad pattern', async () => {
    await expect(select(FILES, 'dir', { exclude: ['!'] })).rejects.toMatchObject({ code: 'E_BAD_PATTERN' });
  });
});

describe('parents', () => {
  const parents = true;
  test.each([
    ['dir/sub/y.txt', ['/: dir dir/sub dir/sub/y.txt']],
    ['./dir/sub/y.txt', ['/: dir dir/sub dir/sub/y.txt']],
    ['dir/sub', ['/: dir dir/sub dir/sub/y.txt dir/sub/z.md']],
    ['dir/./sub/y.txt', ['/dir: sub sub/y.txt']],
    ['dir/./sub/./y.txt', ['/dir: sub sub/y.txt']],
    ['/./dir/x.txt', ['/: dir dir/x.txt']],
    ['dir/./', ['/dir: empty sub sub/y.txt sub/z.md x.txt']],
    ['**/*.md', ['/: c.md dir dir/sub dir/sub/z.md']],
    ['dir/**/*.txt', ['/: dir dir/sub dir/sub/y.txt dir/x.txt']],
    ['dir/./**/*.txt', ['/dir: sub sub/y.txt x.txt']],
    ['*/x.txt', ['/: dir dir/x.txt other other/x.txt']],
    ['*/./x.txt', ['/dir: x.txt', '/other: x.txt']],
    ['*/deep', ['/: other other/deep other/deep/er other/deep/er/w.txt']],
    ['dir/../a.txt', ['/: a.txt']],
    ['../a.txt', ['/: a.txt']],
    ['*.zip', ['/: ']],
    ['nothing/**', ['/: ']],
    ['nothing', 'missing /nothing at /nothing'],
    ['dir/./nothing', 'missing /dir/nothing at /dir/nothing'],
    ['nothing/./a.txt', 'missing /nothing at /nothing'],
    ['nothing/./*.txt', 'missing /nothing at /nothing'],
    ['a.txt/./x', 'missing /a.txt/x at /a.txt'],
  ])('%j', async (source, expected) => {
    expect(await select(FILES, source, { parents })).toEqual(expected);
  });

  test.each([
    // What was asked for stays a link, what is on the way is made a directory.
    ['to-file', ['/: to-file']],
    ['to-dir/file', ['/: to-dir to-dir/file']],
    ['to-dir/./sub/g', ['/to-dir = /real: sub sub/g']],
    ['to-dir/*', ['/: to-dir to-dir/file to-dir/inner to-dir/sub to-dir/sub/g to-dir/up']],
  ])('links: %j', async (source, expected) => {
    expect(await select(LINKS, source, { parents })).toEqual(expected);
  });

  test('exclude counts from where the recreated path begins', async () => {
    const exclude = ['dir/sub/*.md'];
    expect(await select(FILES, 'dir', { parents, exclude })).toEqual([
      '/: dir dir/empty dir/sub dir/sub/y.txt dir/x.txt',
    ]);
    expect(await select(FILES, 'dir/./sub', { parents, exclude })).toEqual(['/dir: sub sub/y.txt sub/z.md']);
    expect(await select(FILES, 'dir/./sub', { parents, exclude: ['sub'] })).toEqual(['/dir: ']);
    expect(await select(FILES, '**/*.txt', { parents, exclude: ['dir', '*.txt'] })).toEqual([
      '/: other other/deep other/deep/er other/deep/er/w.txt other/x.txt',
    ]);
  });
});

test('directories that nothing can be selected in are not listed', async () => {
  const listed: string[] = [];
  const watched = {
    stat: (path: string) => FILES.stat(path),
    list: (directories: readonly string[]) => {
      listed.push(...directories);
      return FILES.list(directories);
    },
  };
  const options = { wildcards: true, parents: false, exclude: [] };
  await selectSources(watched, 'dir/*.txt', options);
  expect(listed.splice(0)).toEqual(['/dir']);
  await selectSources(watched, '.', { ...options, exclude: ['other', 'dir', '!dir/*'] });
  expect(listed.splice(0)).toEqual(['/', '/dir', '/dir/empty', '/dir/sub']);
  await selectSources(watched, 'other/*/er', { ...options, parents: true });
  expect(listed.splice(0)).toEqual(['/other', '/other/deep', '/other/deep/er']);
});
