import { mkdirSync, mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { type CopyEntry, native } from '../../../src/native/addon.ts';
import { encodeCopyEntries } from '../../../src/native/copy-entries.ts';

function scratch(): string {
  const directory = mkdtempSync(join(tmpdir(), 'tsbuild-entries-'));
  onTestFinished(() => rmSync(directory, { recursive: true }));
  mkdirSync(join(directory, 'root'));
  return directory;
}

test('entries arrive as they are, names that are no text too', async () => {
  const directory = scratch();
  const root = join(directory, 'root');
  const source = Buffer.concat([Buffer.from(`${directory}/s`), Buffer.from([0xff])]);
  writeFileSync(source, 'content');
  const { mtimeMs } = statSync(source);
  const { mtimeNs, ctimeNs, size } = statSync(source, { bigint: true });
  const expected = { sizeBytes: Number(size), mtimeNs: String(mtimeNs), ctimeNs: String(ctimeNs) };
  const entries: CopyEntry[] = [
    { kind: 'directory', source: directory, destination: '/dé', mode: 0o750, mtimeNs: '-1500000000' },
    // As text, with what is no text escaped.
    { kind: 'file', source, destination: '/dé/\udcfe', mode: 0o4711, expect: expected, tree: 0 },
    { kind: 'symlink', source, destination: 'link', link: Buffer.from([0xfd]), mtimeNs: '0' },
    { kind: 'empty', source, destination: '/e', mode: 0o600, mtimeNs: '1500000000' },
  ];
  const { sizeBytes } = await native().copyInto({ root, entries: encodeCopyEntries(entries) });
  expect(sizeBytes).toBe(7);
  expect(readdirSync(root).sort()).toEqual(['dé', 'e', 'link']);
  expect(readdirSync(join(root, 'dé'), { encoding: 'buffer' })).toEqual([Buffer.from([0xfe])]);
  const file = statSync(Buffer.concat([Buffer.from(`${root}/dé/`), Buffer.from([0xfe])]));
  expect([file.mode & 0o7777, file.mtimeMs, statSync(join(root, 'dé')).mtimeMs]).toEqual([
    0o4711,
    mtimeMs,
    -1500,
  ]);
  const changed = encodeCopyEntries([
    { kind: 'file', source, destination: 'f', expect: { ...expected, sizeBytes: 8 } },
  ]);
  await expect(native().copyInto({ root, entries: changed })).rejects.toThrow('SOURCE_CHANGED');
});

test('no entries are none, and bytes that are no entries are refused', async () => {
  const root = join(scratch(), 'root');
  expect(encodeCopyEntries([])).toHaveLength(0);
  expect(await native().copyInto({ root, entries: encodeCopyEntries([]) })).toMatchObject({ sizeBytes: 0 });
  for (const bytes of [
    'file',
    'file\0a\0',
    'other\0'.repeat(13),
    `${'file\0a\0b\0\0x\0'}${'\0'.repeat(8)}`,
  ]) {
    await expect(native().copyInto({ root, entries: Buffer.from(bytes) })).rejects.toThrow('malformed');
  }
});
