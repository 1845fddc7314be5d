import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { betweenEqualEnds } from '../../../src/base/listing.ts';
import { sha256Hex } from '../../../src/base/sha256.ts';
import { BuildInputs } from '../../../src/engine/local-inputs.ts';
import { type ContextInput, contextInputName } from '../../../src/frontend/dockerfile/context-input.ts';
import { inputName, type LocalInput } from '../../../src/frontend/fluent/local-input.ts';
import { MemoryStatCache } from '../../support/plain-scan.ts';
import { temporaryTree } from '../../support/temporary-tree.ts';

const signal = new AbortController().signal;
const directory = (hostPath: string): LocalInput => ({
  expects: 'directory',
  hostPath,
  fileAt: '/file',
  directoryAt: '/',
  filter: { kind: 'none' },
});
const inputs = () => new BuildInputs(new MemoryStatCache(), Date.now);

describe('BuildInputs', () => {
  it('says what the key sees of each file', async () => {
    await using tree = await temporaryTree({
      'a/run': { text: 'x', mode: 0o755 },
      b: 'bee',
      c: { link: 'b' },
      empty: null,
    });
    const input = directory(tree.path);
    const build = inputs();
    build.add(input);
    const scanned = await build.scanned(inputName(input), signal);
    const { contentDigest } = scanned;
    const [listing, files] = await Promise.all([scanned.listing(), scanned.files()]);
    expect(betweenEqualEnds('', listing).after).toMatchObject({
      '/a/run': `0755 ${sha256Hex('x')}`,
      '/b': `0644 ${sha256Hex('bee')}`,
    });
    expect(contentDigest).toMatch(/^sha256:[a-f0-9]{64}$/);
    expect(files.map(({ path }) => path)).toContain('/a/run');
    expect(listing).not.toContain(tree.path);
  });

  it('scans once in a build, however many ask; another build looks again', async () => {
    await using tree = await temporaryTree({ b: 'bee' });
    const input = directory(tree.path);
    const build = inputs();
    const [first, second] = await Promise.all([
      build.scan(input, signal),
      build.scan(directory(tree.path), signal),
    ]);
    expect(second).toBe(first);
    await writeFile(join(tree.path, 'b'), 'other');
    expect(await build.scan(input, signal)).toBe(first);
    expect((await build.scanned(inputName(input), signal)).contentDigest).toBe(first.contentDigest);
    expect((await inputs().scan(input, signal)).contentDigest).not.toBe(first.contentDigest);
  });

  it('keeps inputs apart that differ in anything', async () => {
    await using tree = await temporaryTree({ b: 'bee', 'sub/c': 'see' });
    const build = inputs();
    const all = await build.scan(directory(tree.path), signal);
    const sub = await build.scan(directory(join(tree.path, 'sub')), signal);
    const at = await build.scan({ ...directory(tree.path), directoryAt: '/app' }, signal);
    expect([...all.entries.keys()]).toEqual(['/b', '/sub/c']);
    expect([...sub.entries.keys()]).toEqual(['/c']);
    expect([...at.entries.keys()]).toEqual(['/app/b', '/app/sub/c']);
  });

  it('does not know a name that nobody added', async () => {
    await expect(inputs().scanned('local-0', signal)).rejects.toMatchObject({ code: 'E_INTERNAL' });
  });

  it('says that a directory is missing', async () => {
    await using tree = await temporaryTree({});
    await expect(inputs().scan(directory(join(tree.path, 'none')), signal)).rejects.toMatchObject({
      code: 'E_LOCAL_DIR_MISSING',
    });
  });
});

describe('contexts', () => {
  const context = (path: string, ...sources: string[]): ContextInput => ({
    kind: 'context',
    name: 'context',
    directory: path,
    ignore: { name: '.dockerignore', text: '*.log' },
    selections: sources.map((source) => ({ source })),
  });

  it('are inputs of vertices by their names', async () => {
    await using tree = await temporaryTree({ 'a/x': 'one', 'a/y.log': 'two', b: 'bee' });
    const build = inputs();
    const name = build.add(context(tree.path, 'a', 'b'));
    expect(name).toBe(contextInputName(context(tree.path, 'a', 'b')));
    const scanned = await build.scanned(name, signal);
    const { contentDigest } = scanned;
    const [listing, files] = await Promise.all([scanned.listing(), scanned.files()]);
    expect(betweenEqualEnds('', listing).after).toEqual({
      '/a/': '0755',
      '/a/x': `0644 ${sha256Hex('one')}`,
      // A pattern without `**` is about the top.
      '/a/y.log': `0644 ${sha256Hex('two')}`,
      '/b': `0644 ${sha256Hex('bee')}`,
    });
    expect(files.map(({ path }) => path)).toEqual(['/a', '/a/x', '/a/y.log', '/b']);
    expect(contentDigest).toMatch(/^sha256:[a-f0-9]{64}$/);
    expect(listing).not.toContain(tree.path);
  });

  it('are scanned once in a build, whatever is selected; another build looks again', async () => {
    await using tree = await temporaryTree({ a: 'one', b: 'bee' });
    const build = inputs();
    const first = await build.contextFiles(context(tree.path, 'a'), signal);
    await writeFile(join(tree.path, 'c'), 'late');
    expect(await build.contextFiles(context(tree.path, 'a'), signal)).toBe(first);
    await expect(build.contextFiles(context(tree.path, 'c'), signal)).rejects.toMatchObject({
      code: 'E_COPY_SOURCE_MISSING',
    });
    expect((await inputs().contextFiles(context(tree.path, 'c'), signal)).files).toHaveLength(1);
  });
});
