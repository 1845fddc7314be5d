/** What `scanInput` promises, for any implementation of the two native functions that it uses. */
import { chmod, link, mkdir, symlink, utimes, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { sha256Hex } from '../../src/base/sha256.ts';
import type { LocalInput } from '../../src/frontend/fluent/local-input.ts';
import { type ScanTools, scanInput } from '../../src/local/scan-input.ts';
import { FilePatternMatcher } from '../../src/patterns/file-pattern-matcher.ts';
import type { InputFilter } from '../../src/patterns/ignore-spec.ts';
import { MemoryStatCache } from '../support/plain-scan.ts';
import { temporaryTree } from '../support/temporary-tree.ts';

const HOUR_NS = 3_600_000_000_000n;
/** Long after the files were written, so that their times are settled. */
const later = () => BigInt(Date.now()) * 1_000_000n + HOUR_NS;
const code = (expected: string) => expect.objectContaining({ code: expected });

export function scanInputSuite(name: string, native: ScanTools['native']): void {
  const directory = (hostPath: string, filter: InputFilter = { kind: 'none' }, at = '/'): LocalInput => ({
    expects: 'directory',
    hostPath,
    fileAt: '/file',
    directoryAt: at,
    filter,
  });
  const file = (hostPath: string): LocalInput => ({ ...directory(hostPath), expects: 'file', fileAt: '/at' });
  const patterns = (...lines: string[]): InputFilter => ({
    kind: 'patterns',
    matcher: new FilePatternMatcher(lines),
  });
  const scan = (input: LocalInput, tools: Partial<ScanTools> = {}) =>
    scanInput(input, { native, statCache: new MemoryStatCache(), now: later, ...tools });

  describe(`scanInput with ${name}`, () => {
    test('files with content and normal modes, sorted by path', async () => {
      await using tree = await temporaryTree({
        b: { text: 'bee', mode: 0o600 },
        'a/run': { text: 'x', mode: 0o710 },
        'a-b': { text: '', mode: 0o444 },
      });
      const scanned = await scan(directory(tree.path));
      expect([...scanned.entries]).toEqual([
        ['/a-b', { sha256: sha256Hex(''), mode: 0o644, sizeBytes: 0 }],
        ['/a/run', { sha256: sha256Hex('x'), mode: 0o755, sizeBytes: 1 }],
        ['/b', { sha256: sha256Hex('bee'), mode: 0o644, sizeBytes: 3 }],
      ]);
      expect(scanned.files.map(({ path, hostPath, kind }) => [path, hostPath, kind])).toEqual([
        ['/a-b', join(tree.path, 'a-b'), 'file'],
        ['/a/run', join(tree.path, 'a/run'), 'file'],
        ['/b', join(tree.path, 'b'), 'file'],
      ]);
      expect(scanned.files[2]?.expect?.sizeBytes).toBe(3);
    });

    test('the digest is of paths, contents and modes, not of times or places', async () => {
      const leaves = { 'a/x': '1', b: '2' };
      await using one = await temporaryTree(leaves);
      await using other = await temporaryTree(leaves);
      await utimes(join(other.path, 'b'), 1, 1);
      const before = (await scan(directory(one.path))).contentDigest;
      expect((await scan(directory(other.path))).contentDigest).toBe(before);
      expect((await scan(directory(other.path, { kind: 'none' }, '/at'))).contentDigest).not.toBe(before);
      await chmod(join(other.path, 'b'), 0o755);
      const executable = (await scan(directory(other.path))).contentDigest;
      await writeFile(join(one.path, 'b'), '3');
      const changed = (await scan(directory(one.path))).contentDigest;
      expect(new Set([before, executable, changed]).size).toBe(3);
    });

    test('row 157: only what is selected is opened', async () => {
      await using tree = await temporaryTree({ keep: '1', 'skip/huge': '2', 'skip.txt': '3' });
      const opened: string[] = [];
      const watching = {
        ...native,
        hashFiles: (paths: readonly (string | Buffer)[], ...rest: never[]) => {
          opened.push(...paths.map(String));
          return native.hashFiles(paths, ...rest);
        },
      };
      const scanned = await scan(directory(tree.path, patterns('skip', '*.txt')), { native: watching });
      expect([...scanned.entries.keys()]).toEqual(['/keep']);
      expect(opened).toEqual([join(tree.path, 'keep')]);
    });

    test('a predicate sees files, by relative path and size', async () => {
      await using tree = await temporaryTree({ 'a/b': '123', c: '', empty: null });
      const seen: unknown[] = [];
      const filter: InputFilter = {
        kind: 'predicate',
        ignores: (path, entry) => {
          seen.push([path, entry]);
          return path === 'c';
        },
      };
      expect([...(await scan(directory(tree.path, filter))).entries.keys()]).toEqual(['/a/b']);
      expect(seen).toEqual([
        ['a/b', { size: 3, isFile: true }],
        ['c', { size: 0, isFile: true }],
      ]);
    });

    test('links: to files their content, inside kept, outside left out', async () => {
      await using outside = await temporaryTree({ 'dir/f': 'x', 'a file': { text: 'far', mode: 0o755 } });
      await using tree = await temporaryTree({ 'real/f': 'here', 'sub/deep/x': '' });
      const make = (target: string, path: string) => symlink(target, join(tree.path, path));
      await make('real/f', 'to-file');
      await make(join(outside.path, 'a file'), 'to-far-file');
      await make('real', 'to-dir');
      await make('../../real', 'sub/deep/up');
      await make(join(tree.path, 'real'), 'sub/absolute');
      await make(join(outside.path, 'dir'), 'to-far-dir');
      await make('nothing', 'dangling');
      await make('/nothing', 'dangling-outside');
      await make('loop', 'loop');
      const scanned = await scan(directory(tree.path, { kind: 'none' }, '/app'));
      const links = scanned.files
        .filter((each) => each.kind === 'symlink')
        .map(({ path, link }) => [path, link]);
      expect(links).toEqual([
        ['/app/dangling', 'nothing'],
        ['/app/loop', 'loop'],
        ['/app/sub/absolute', '../real'],
        ['/app/sub/deep/up', '../../real'],
        ['/app/to-dir', 'real'],
      ]);
      expect(scanned.entries.get('/app/to-file')).toMatchObject({ sha256: sha256Hex('here'), mode: 0o644 });
      expect(scanned.entries.get('/app/to-far-file')).toMatchObject({
        sha256: sha256Hex('far'),
        mode: 0o755,
      });
      expect(scanned.findings.linksOutside).toEqual(['dangling-outside', 'to-far-dir']);
      expect(JSON.stringify([...scanned.entries])).not.toContain(tree.path);
    });

    test('empty directories travel, those emptied by patterns do not', async () => {
      await using tree = await temporaryTree({ 'empty/inner': null, 'docs/a.txt': '', ignored: null });
      const scanned = await scan(directory(tree.path, patterns('**/*.txt', 'ignored')));
      expect(scanned.files).toEqual([{ path: '/empty/inner', kind: 'directory', mode: 0o755 }]);
      expect([...scanned.entries.keys()]).toEqual(['/empty/inner/']);
      await using nothing = await temporaryTree({});
      expect((await scan(directory(nothing.path, { kind: 'none' }, '/x'))).files).toHaveLength(1);
    });

    test('sockets are passed over, hard links are two files', async () => {
      await using tree = await temporaryTree({ a: '1' });
      await link(join(tree.path, 'a'), join(tree.path, 'b'));
      const server = createServer().listen(join(tree.path, 'socket'));
      try {
        await new Promise((resolve) => server.once('listening', resolve));
        expect([...(await scan(directory(tree.path))).entries.keys()]).toEqual(['/a', '/b']);
      } finally {
        server.close();
      }
    });

    test('a name that is not UTF-8 is refused, unless it is left out', async () => {
      await using tree = await temporaryTree({ a: '1' });
      await writeFile(Buffer.concat([Buffer.from(`${tree.path}/x`), Buffer.from([0xff])]), '');
      await expect(scan(directory(tree.path))).rejects.toThrow(code('E_LAYER_UNREPRESENTABLE'));
      await expect(scan(directory(tree.path, patterns('x*')))).resolves.toBeDefined();
    });

    test('a file, through a link too', async () => {
      await using tree = await temporaryTree({ f: 'x', l: { link: 'f' }, d: null });
      for (const each of ['f', 'l']) {
        const scanned = await scan(file(join(tree.path, each)));
        expect([scanned.form, [...scanned.entries.keys()]]).toEqual(['file', ['/at']]);
        expect(scanned.files[0]?.hostPath).toBe(join(tree.path, 'f'));
      }
      await expect(scan(file(join(tree.path, 'd')))).rejects.toThrow(code('E_LOCAL_FILE_MISSING'));
      await expect(scan(file(join(tree.path, 'f/x')))).rejects.toThrow(code('E_LOCAL_FILE_MISSING'));
      await expect(scan(directory(join(tree.path, 'f')))).rejects.toThrow(code('E_LOCAL_NOT_DIR'));
      await expect(scan(directory(join(tree.path, 'none')))).rejects.toThrow(code('E_LOCAL_DIR_MISSING'));
    });

    test('a file that may be missing, and one whose text is wanted', async () => {
      await using tree = await temporaryTree({ f: 'text\u00e9', l: { link: 'f' } });
      const missing = await scan({ ...file(join(tree.path, 'none')), mayBeMissing: true });
      expect([missing.form, missing.files, missing.text]).toEqual(['missing', [], undefined]);
      expect((await scan(file(join(tree.path, 'f')))).text).toBeUndefined();
      const wanted = await scan({ ...file(join(tree.path, 'l')), mayBeMissing: true, wantsText: true });
      expect([wanted.form, wanted.text]).toEqual(['file', 'text\u00e9']);
      await writeFile(join(tree.path, 'f'), Buffer.alloc(16 * 1024 * 1024 + 1));
      expect((await scan({ ...file(join(tree.path, 'f')), wantsText: true })).text).toBeUndefined();
    });

    test('an unchanged tree is not read again, a changed file is', async () => {
      await using tree = await temporaryTree({ a: '1', b: '2' });
      const statCache = new MemoryStatCache();
      const first = await scan(directory(tree.path), { statCache });
      expect([statCache.hits, statCache.stored]).toEqual([0, 2]);
      const unused = { ...native, hashFiles: () => Promise.reject(new Error('read a file')) };
      const second = await scan(directory(tree.path), { statCache, native: unused });
      expect([second.contentDigest, second.files]).toEqual([first.contentDigest, first.files]);
      await writeFile(join(tree.path, 'b'), '3');
      await scan(directory(tree.path), { statCache });
      expect([statCache.hits, statCache.stored]).toEqual([3, 3]);
    });

    test('a hash of a file that was just written is not remembered', async () => {
      await using tree = await temporaryTree({ a: '1' });
      const statCache = new MemoryStatCache();
      await scan(directory(tree.path), { statCache, now: () => BigInt(Date.now()) * 1_000_000n });
      expect(statCache.stored).toBe(0);
      // The same size and, by force, the same modification time: only the missing entry saves us.
      await utimes(join(tree.path, 'a'), 1, 1);
      await scan(directory(tree.path), { statCache, now: () => BigInt(Date.now()) * 1_000_000n });
      expect(statCache.stored).toBe(0);
    });

    test('what a definition should leave out is found', async () => {
      await using tree = await temporaryTree({
        '.git/x': '',
        'a/node_modules/y': '',
        'a/node_modules/z/node_modules/w': '',
        'a/z.log': '',
        empty: null,
      });
      await mkdir(join(tree.path, 'empty/node_modules'));
      expect((await scan(directory(tree.path))).findings.unfiltered).toEqual(['.git', 'a/node_modules']);
      const { findings } = await scan(directory(tree.path, patterns('*.log', '.git', '*.nowhere')));
      expect([findings.unfiltered, findings.rootOnlyPatterns]).toEqual([['a/node_modules'], ['*.log']]);
      const emptied = await scan(directory(tree.path, patterns('.git', '**/node_modules/**')));
      expect(emptied.findings.unfiltered).toEqual([]);
    });

    test('cancelling rejects with the reason', async () => {
      await using tree = await temporaryTree({ a: '1' });
      const reason = new Error('enough');
      await expect(scan(directory(tree.path), { signal: AbortSignal.abort(reason) })).rejects.toBe(reason);
      const controller = new AbortController();
      const slow = {
        ...native,
        hashFiles: () => {
          controller.abort(reason);
          return Promise.reject(Object.assign(new Error('cancelled'), { code: 'CANCELLED' }));
        },
      };
      const running = scan(directory(tree.path), { native: slow, signal: controller.signal });
      await expect(running).rejects.toBe(reason);
    });
  });
}
