/** Small copies, and what the whole tree is after each. Run by `copy-scenario.ts`, judged by `test/integration/copy.test.ts`. */
import type { Action, CopyAction, CopySelection, MkdirAction, MkfileAction } from '../../src/graph/action.ts';
import { ROOT_OWNER } from '../../src/graph/action.ts';
import type { RawEntry } from './raw-tar.ts';

/** Inputs of every case, by their numbers. */
export const INPUT = { image: 1, context: 2 } as const;

/** Modification times that the sources have. */
export const TIME = { file: 1_000_000_001, directory: 1_000_000_002, context: 1_000_000_003 } as const;

/** What the image that is copied from holds; busybox's shell makes it, and {@link OWNED} then says whose some of it is. */
export const IMAGE_SCRIPT = `
set -e
mkdir -p /src/sub/deep /src/empty
cd /src
echo run > run.sh; chmod 4755 run.sh
echo c > sub/c.txt; chmod 600 sub/c.txt
echo d > sub/deep/d.log
ln -s sub/c.txt link; ln -s /src/sub abs; ln -s ../../../../src/sub/c.txt up
mkfifo fifo; chmod 620 fifo
dd if=/dev/zero of=sparse bs=1 count=1 seek=4194303 2>/dev/null
for each in run.sh sub/c.txt sub/deep/d.log fifo sparse; do touch -d @${TIME.file} $each; done
for each in sub/deep sub empty .; do touch -d @${TIME.directory} $each; done
`;

/** An archive, since a step without ids could give nothing away. */
export const OWNED: readonly RawEntry[] = [
  {
    name: 'src/a.txt',
    content: 'a\n',
    mode: 0o640,
    uid: 1000,
    gid: 1000,
    mtimeSeconds: TIME.file,
  },
  { name: 'src/b.txt', type: '1', link: 'src/a.txt' },
  { name: 'src/sub', type: '5', mode: 0o750, uid: 1000, gid: 1000, mtimeSeconds: TIME.directory },
  { name: 'src', type: '5', mode: 0o755, mtimeSeconds: TIME.directory },
];

const keep = { kind: 'keep' } as const;

function text(path: string, content: string, mode = 0o644): MkfileAction {
  return { kind: 'mkfile', path, mode, owner: ROOT_OWNER, data: Buffer.from(content).toString('base64') };
}

function directory(path: string, mode = 0o755, more: Partial<MkdirAction> = {}): MkdirAction {
  return { kind: 'mkdir', path, mode, owner: ROOT_OWNER, mtimeSeconds: 7, ...more };
}

/** A link of the target is part of the context, since no action makes one. */
function link(name: string): CopyAction {
  return {
    kind: 'copy',
    input: INPUT.context,
    source: '/links',
    destination: '/t',
    owner: ROOT_OWNER,
    modes: 'keep',
    times: 'epoch',
    select: { wildcards: false, parents: false, exclude: ['*', `!${name}`] },
  };
}

const SELECT: CopySelection = { wildcards: true, parents: false, exclude: [] };

function from(
  input: number,
  source: string,
  destination: string,
  more: Partial<CopyAction> = {},
  select: Partial<CopySelection> = {},
): CopyAction {
  return {
    kind: 'copy',
    input,
    source,
    destination,
    owner: keep,
    modes: 'keep',
    times: 'keep',
    select: { ...SELECT, ...select },
    ...more,
  };
}

const image = from.bind(undefined, INPUT.image);
const context = from.bind(undefined, INPUT.context);
const add = (source: string, destination: string, more: Partial<CopyAction> = {}) =>
  context(source, destination, { unpack: true, ...more });

export interface CopyCase {
  readonly name: string;
  /** What the target is before; it has `/etc/passwd` and `/etc/group` already. */
  readonly before?: readonly Action[];
  readonly actions: readonly Action[];
  /** Lines of {@link listing} below `/t`, the same for every user. */
  readonly after?: readonly string[];
  readonly error?: Readonly<Record<string, unknown>>;
  /** Parts of the error's message. */
  readonly says?: readonly string[];
}

const T = 't dir 755 0:0 now';
const F = TIME.file;
const D = TIME.directory;
const C = TIME.context;
const A = `file 640 1000:1000 ${F} "a"`;
const SUB = [
  `t/d/c.txt file 600 0:0 ${F} "c"`,
  `t/d/deep dir 755 0:0 ${D}`,
  `t/d/deep/d.log file 644 0:0 ${F} "d"`,
];

export const COPY_CASES: readonly CopyCase[] = [
  {
    name: 'a file, and directories on the way',
    actions: [image('/src/a.txt', '/t/new/x')],
    after: [T, 't/new dir 755 0:0 now', `t/new/x ${A}`],
  },
  {
    name: 'a destination that ends in a slash is a directory',
    actions: [image('src/a.txt', '/t/new/'), image('src/a.txt', '/t/dot/.')],
    after: [T, 't/dot dir 755 0:0 now', `t/dot/a.txt ${A}`, 't/new dir 755 0:0 now', `t/new/a.txt ${A}`],
  },
  {
    name: 'a file into a directory that exists, and over a file',
    before: [directory('/t/d', 0o700), text('/t/d/a.txt', 'old', 0o755)],
    actions: [image('/src/a.txt', '/t/d')],
    after: ['t dir 700 0:0 7', 't/d dir 700 0:0 now', `t/d/a.txt ${A}`],
  },
  {
    name: 'a directory means its contents, with links, nodes and holes',
    actions: [image('/src', '/t/d')],
    after: [
      T,
      `t/d dir 755 0:0 ${D}`,
      `t/d/a.txt ${A}`,
      't/d/abs link -> /src/sub 0:0',
      't/d/b.txt same as t/d/a.txt',
      `t/d/empty dir 755 0:0 ${D}`,
      `t/d/fifo fifo 620 0:0 ${F}`,
      't/d/link link -> sub/c.txt 0:0',
      `t/d/run.sh file 4755 0:0 ${F} "run"`,
      `t/d/sparse file 644 0:0 ${F} 4194304 bytes`,
      `t/d/sub dir 750 1000:1000 ${D}`,
      `t/d/sub/c.txt file 600 0:0 ${F} "c"`,
      `t/d/sub/deep dir 755 0:0 ${D}`,
      `t/d/sub/deep/d.log file 644 0:0 ${F} "d"`,
      't/d/up link -> ../../../../src/sub/c.txt 0:0',
    ],
  },
  {
    name: 'a destination keeps its attributes, a directory in it takes those of the source',
    before: [directory('/t/d', 0o711), directory('/t/d/deep', 0o700), text('/t/d/deep/old', 'old')],
    actions: [image('/src/sub', '/t/d/')],
    after: [
      't dir 711 0:0 7',
      `t/d dir 711 0:0 ${D}`,
      SUB[0] ?? '',
      `t/d/deep dir 755 0:0 ${D}`,
      SUB[2] ?? '',
      't/d/deep/old file 644 0:0 0 "old"',
    ],
  },
  {
    name: '--chown by name, directories on the way too',
    actions: [image('/src/sub', '/t/d', { owner: { kind: 'names', names: 'app' } })],
    after: [
      't dir 755 1000:1000 now',
      `t/d dir 755 1000:1000 ${D}`,
      `t/d/c.txt file 600 1000:1000 ${F} "c"`,
      `t/d/deep dir 755 1000:1000 ${D}`,
      `t/d/deep/d.log file 644 1000:1000 ${F} "d"`,
    ],
  },
  {
    name: '--chown by a bare number in a name',
    actions: [image('/src/sub/c.txt', '/t/', { owner: { kind: 'names', names: '0' } })],
    after: [T, `t/c.txt file 600 0:0 ${F} "c"`],
  },
  {
    name: '--chown by an unknown name',
    actions: [image('/src/a.txt', '/t/', { owner: { kind: 'names', names: 'nobody-here' } })],
    error: { name: 'DefinitionError', code: 'E_UNKNOWN_USER' },
    says: ['nobody-here', '/etc/passwd'],
  },
  {
    name: '--chmod in octal, directories on the way without its special bits',
    actions: [image('/src/sub', '/t/d', { modes: { chmod: '2775' }, owner: ROOT_OWNER })],
    after: [
      't dir 775 0:0 now',
      `t/d dir 775 0:0 ${D}`,
      `t/d/c.txt file 2775 0:0 ${F} "c"`,
      `t/d/deep dir 2775 0:0 ${D}`,
      `t/d/deep/d.log file 2775 0:0 ${F} "d"`,
    ],
  },
  {
    name: '--chmod in symbols',
    actions: [image('/src/sub', '/t/d', { modes: { chmod: 'g+rX,o=' } })],
    after: [
      T,
      `t/d dir 755 0:0 ${D}`,
      `t/d/c.txt file 640 0:0 ${F} "c"`,
      `t/d/deep dir 750 0:0 ${D}`,
      `t/d/deep/d.log file 640 0:0 ${F} "d"`,
    ],
  },
  {
    name: '--chmod that is none',
    actions: [image('/src/sub', '/t/d', { modes: { chmod: 'u+q' } })],
    error: { name: 'DefinitionError', code: 'E_BAD_MODE' },
    says: ['u+q'],
  },
  {
    name: 'a directory over a file',
    before: [text('/t/d/sub', 'a file')],
    actions: [image('/src', '/t/d')],
    error: { name: 'DefinitionError', code: 'E_PATH_BLOCKED' },
    says: ["'/src/sub' is a directory", "'/t/d/sub'"],
  },
  {
    name: 'contents of a directory into a file',
    before: [text('/t/d', 'a file')],
    actions: [image('/src', '/t/d')],
    error: { name: 'DefinitionError', code: 'E_PATH_BLOCKED' },
    says: ["'/src' is a directory", "'/t/d'"],
  },
  {
    name: 'a file over a directory of its name',
    before: [directory('/t/a.txt')],
    actions: [image('/src/a.txt', '/t/')],
    error: { name: 'DefinitionError', code: 'E_PATH_BLOCKED' },
    says: ["'/t/a.txt' is a directory", 'src/a.txt'],
  },
  {
    name: 'below a file',
    before: [text('/t/f', 'a file')],
    actions: [image('/src/a.txt', '/t/f/x')],
    error: { name: 'DefinitionError', code: 'E_PATH_BLOCKED' },
    says: ["'/t/f'"],
  },
  {
    name: 'links of the target are followed inside it, wherever they point',
    before: [link('out'), link('up'), directory('/etc/made', 0o700), directory('/tmp')],
    actions: [image('/src/a.txt', '/t/out/made/'), image('/src/sub/c.txt', '/t/up/made')],
    after: [
      'etc/made dir 700 0:0 now',
      `etc/made/a.txt ${A}`,
      `etc/made/c.txt file 600 0:0 ${F} "c"`,
      T,
      't/out link -> /etc 0:0',
      't/up link -> ../../../../../../etc 0:0',
    ],
  },
  {
    name: 'a link at the destination is followed, also to what is not there yet',
    before: [link('dangling'), text('/t/file', 'old'), link('to-file')],
    actions: [image('/src/sub/c.txt', '/t/to-file'), image('/src/sub', '/t/dangling')],
    after: [
      T,
      't/d dir 755 0:0 now',
      `t/d/e dir 755 0:0 ${D}`,
      `t/d/e/c.txt file 600 0:0 ${F} "c"`,
      `t/d/e/deep dir 755 0:0 ${D}`,
      `t/d/e/deep/d.log file 644 0:0 ${F} "d"`,
      't/dangling link -> d/e 0:0',
      `t/file file 600 0:0 ${F} "c"`,
      't/to-file link -> file 0:0',
    ],
  },
  {
    name: 'a linked directory of the target stays a link when a directory is copied there',
    before: [link('deep'), directory('/t/real', 0o700)],
    actions: [image('/src/sub', '/t')],
    after: [
      `t dir 755 0:0 ${D}`,
      `t/c.txt file 600 0:0 ${F} "c"`,
      't/deep link -> real 0:0',
      `t/real dir 755 0:0 ${D}`,
      `t/real/d.log file 644 0:0 ${F} "d"`,
    ],
  },
  {
    name: 'of several files for one name the last one stays',
    actions: [image('/src/*.txt', '/t/x'), image('/src/sub/c.txt', '/t/x')],
    after: [T, `t/x file 600 0:0 ${F} "c"`],
  },
  {
    name: 'hard links of different matches are no longer links',
    actions: [image('/src/?.txt', '/t/')],
    after: [T, `t/a.txt ${A}`, `t/b.txt ${A}`],
  },
  {
    name: 'a pattern that matches nothing does nothing',
    actions: [directory('/t'), image('/src/*.nope', '/t/x/')],
    after: ['t dir 755 0:0 7'],
  },
  {
    name: '--parents, from the pivot on',
    actions: [image('/src/./sub/**/*.log', '/t/p/', {}, { parents: true })],
    after: [
      T,
      `t/p dir 755 0:0 ${D}`,
      `t/p/sub dir 750 1000:1000 ${D}`,
      `t/p/sub/deep dir 755 0:0 ${D}`,
      `t/p/sub/deep/d.log file 644 0:0 ${F} "d"`,
    ],
  },
  {
    name: '--exclude',
    actions: [image('/src/sub', '/t/d', {}, { exclude: ['*.txt'] })],
    after: [T, `t/d dir 755 0:0 ${D}`, SUB[1] ?? '', SUB[2] ?? ''],
  },
  {
    name: 'sources lead through links and never out',
    actions: [image('/../../src/abs/c.txt', '/t/1'), image('src/up', '/t/2'), image('/src/abs', '/t/d')],
    after: [T, `t/1 file 600 0:0 ${F} "c"`, `t/2 file 600 0:0 ${F} "c"`, `t/d dir 755 0:0 ${D}`, ...SUB],
  },
  {
    name: 'a source that is not there',
    actions: [image('/src/nothing', '/t/')],
    error: { name: 'DefinitionError', code: 'E_COPY_SOURCE_MISSING' },
    says: ["'/src/nothing'", "'FROM source'"],
  },
  {
    name: 'what is in a context belongs to root and keeps mode and time',
    actions: [context('/', '/t/', {}, { exclude: ['*', '!dir', '!plain', '!socket'] })],
    after: [
      T,
      `t/dir dir 700 0:0 ${C}`,
      `t/dir/link link -> ../plain 0:0`,
      `t/dir/tool file 755 0:0 ${C} "tool"`,
      `t/plain file 604 0:0 ${C} "plain"`,
      't/socket file 600 0:0 0 ""',
    ],
  },
  {
    name: 'a file of a context that changed',
    actions: [context('/changed', '/t/')],
    error: { name: 'DefinitionError', code: 'E_FILE_CHANGED_DURING_BUILD' },
    says: ['changed'],
  },
  ...['tar', 'tar.gz', 'tar.bz2', 'tar.xz', 'tar.zst'].map(
    (ending): CopyCase => ({
      name: `ADD of a ${ending}`,
      before: [directory('/t/d', 0o700), text('/t/d/f', 'old'), text('/t/d/dir', 'a file'), link('deep')],
      actions: [add(`/good.${ending}`, '/t/d')],
      after: [
        't dir 700 0:0 now',
        't/d dir 700 0:0 now',
        't/d/dir dir 710 0:0 0',
        't/d/dir/hard file 4755 0:0 0 "new" user.note=hello',
        't/d/dir/x dir 755 0:0 now',
        't/d/dir/x/implied file 644 0:0 0 "implied"',
        't/d/f same as t/d/dir/hard',
        't/d/fifo fifo 644 0:0 0',
        't/d/link link -> /etc 0:0',
        't/deep link -> real 0:0',
      ],
    }),
  ),
  {
    name: 'ADD with an owner, into what is not there yet',
    actions: [add('/good.tar', '/t/d/', { owner: { kind: 'ids', uid: 1000, gid: 1000 } })],
    after: [
      't dir 755 1000:1000 now',
      't/d dir 755 1000:1000 now',
      't/d/dir dir 710 1000:1000 0',
      't/d/dir/hard file 4755 1000:1000 0 "new" user.note=hello',
      't/d/dir/x dir 755 0:0 now',
      't/d/dir/x/implied file 644 1000:1000 0 "implied"',
      't/d/f same as t/d/dir/hard',
      't/d/fifo fifo 644 1000:1000 0',
      't/d/link link -> /etc 1000:1000',
    ],
  },
  {
    name: 'ADD keeps owners of the archive',
    actions: [add('/owned.tar', '/t')],
    after: [T, 't/f file 644 1000:1000 0 "owned"'],
  },
  {
    name: 'ADD copies what is no archive, whatever its name, and directories',
    actions: [
      add('/text.tar.gz', '/t/'),
      add('/plain', '/t/'),
      add('/empty.tar', '/t/'),
      add('/dir', '/t/dir'),
      context('/good.tar', '/t/kept.tar'),
    ],
    after: [
      T,
      `t/dir dir 755 0:0 ${C}`,
      't/dir/link link -> ../plain 0:0',
      `t/dir/tool file 755 0:0 ${C} "tool"`,
      `t/empty.tar file 644 0:0 ${C} 1024 bytes`,
      `t/kept.tar file 644 0:0 ${C} 6656 bytes c8718607`,
      `t/plain file 604 0:0 ${C} "plain"`,
      `t/text.tar.gz file 644 0:0 ${C} "not an archive"`,
    ],
  },
  {
    name: 'attributes, capabilities and devices of an image',
    actions: [image('/special', '/t')],
    after: [
      T,
      't/capable file 755 0:0 0 "x" security.capability=0100000200040000000000000000000000000000 user.note=hello',
      't/directory dir 755 0:0 0 user.note=of a directory',
      't/null character-device 666 0:0 0 1,3',
    ],
  },
  {
    name: 'ADD into a file',
    before: [text('/t/d', 'a file')],
    actions: [add('/good.tar', '/t/d')],
    error: { name: 'DefinitionError', code: 'E_PATH_BLOCKED' },
    says: ["'/t/d'"],
  },
  ...(
    [
      ['dots', 'E_BAD_ARCHIVE', '../x'],
      ['hard-out', 'E_BAD_ARCHIVE', '/etc/shadow'],
      ['hard-dots', 'E_BAD_ARCHIVE', "'h'"],
      ['through-link', 'E_BAD_ARCHIVE', 'loop/deeper/x'],
      ['cut', 'E_BAD_ARCHIVE', "'t/d/f'"],
      ['bomb', 'E_ARCHIVE_LIMIT', 'expands'],
      ['whiteout', 'E_LAYER_UNREPRESENTABLE', '.wh.f'],
    ] as const
  ).map(
    ([name, code, says]): CopyCase => ({
      name: `ADD of a hostile archive: ${name}`,
      before: [directory('/t/d')],
      actions: [add(`/hostile-${name}.tar`, '/t/d')],
      error: { code },
      says: [says],
    }),
  ),
  {
    name: 'an archive whose links point at the host stays in the image',
    actions: [add('/hostile-host.tar', '/t/d')],
    after: [
      'etc/owned-by-archive file 644 0:0 0 "mine"',
      T,
      't/d dir 755 0:0 now',
      't/d/esc link -> /etc 0:0',
    ],
  },
  {
    name: 'WORKDIR',
    before: [directory('/t/old', 0o700), link('dangling')],
    actions: [
      directory('/t/old', 0o755, { owner: { kind: 'ids', uid: 0, gid: 0 } }),
      directory('/t/a/b', 0o755, { mtimeSeconds: 123 }),
      directory('/t/dangling', 0o755, { mtimeSeconds: 9 }),
    ],
    after: [
      't dir 700 0:0 now',
      't/a dir 755 0:0 123',
      't/a/b dir 755 0:0 123',
      't/d dir 755 0:0 9',
      't/d/e dir 755 0:0 9',
      't/dangling link -> d/e 0:0',
      't/old dir 700 0:0 7',
    ],
  },
  {
    name: 'WORKDIR of a user, with those above it',
    actions: [directory('/t/a', 0o755, { owner: { kind: 'names', names: 'app' } })],
    after: ['t dir 755 1000:1000 7', 't/a dir 755 1000:1000 7'],
  },
  {
    name: 'WORKDIR where a file is',
    before: [text('/t/a', 'a file')],
    actions: [directory('/t/a')],
    error: { name: 'DefinitionError', code: 'E_PATH_BLOCKED' },
    says: ["'/t/a'"],
  },
  {
    name: 'files of the Dockerfile itself',
    before: [directory('/t/d')],
    actions: [
      { ...text('/t/d', 'one'), name: 'EOF' },
      { ...text('/t/new/', 'two'), name: 'EOF' },
      { ...text('/t/file', 'three'), name: 'EOF', mode: { chmod: 'u+x' } },
      { ...text('/t/octal/file', 'four'), name: 'EOF', mode: { chmod: '0700' } },
    ],
    after: [
      't dir 755 0:0 now',
      't/d dir 755 0:0 now',
      't/d/EOF file 644 0:0 0 "one"',
      't/file file 744 0:0 0 "three"',
      't/new dir 755 0:0 0',
      't/new/EOF file 644 0:0 0 "two"',
      't/octal dir 700 0:0 0',
      't/octal/file file 700 0:0 0 "four"',
    ],
  },
];
