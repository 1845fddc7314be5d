/** Every copy of `test/support/copy-cases.ts` by the real worker, as root and as users, on both snapshot drivers. */
import { createHash } from 'node:crypto';
import { createReadStream, lstatSync } from 'node:fs';
import { join } from 'node:path';
import tar from 'tar-stream';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { COPY_CASES, TIME } from '../support/copy-cases.ts';
import { lacks } from '../support/requires.ts';
import { canMakeUsers, runJson, type Stage, stage } from '../support/unprivileged-user.ts';

interface Done {
  readonly tar?: string;
  readonly error?: { readonly name: string; readonly code: string; readonly message: string };
}

interface Results {
  readonly hello: { readonly idMode: string };
  readonly results: Readonly<Record<string, Done>> & {
    readonly linked: { readonly tar: string; readonly alone: string; readonly tree: string };
  };
  readonly warnings: readonly string[];
}

const cases = [
  { user: 'root', snapshotter: 'overlay' },
  { user: 'root', snapshotter: 'copy' },
  { user: 'with-ids', snapshotter: 'overlay' },
  { user: 'without-ids', snapshotter: 'overlay' },
] as const;

describe.runIf(canMakeUsers() && !lacks('busybox')).each(cases)(
  'as $user, by $snapshotter',
  ({ user, snapshotter }) => {
    let where: Stage;
    let done: Results;
    beforeAll(async () => {
      where = stage(user);
      const store = join(where.dir, 'store');
      done = (await runJson(where, 'test/support/copy-scenario.ts', store, snapshotter)) as Results;
    }, 120_000);
    afterAll(() => where.remove());

    test.each(COPY_CASES)('$name', async ({ name, after, error, says = [] }) => {
      const result = done.results[name];
      if (error !== undefined) {
        expect(result?.error).toMatchObject(error);
        for (const part of says) {
          expect(result?.error?.message).toContain(part);
        }
        expect(result?.error?.message).not.toContain(where.dir.concat('/store'));
        return;
      }
      expect(result?.error).toBeUndefined();
      const lines = await listing(result?.tar ?? '');
      expect(lines).toEqual(after?.toSorted());
    });

    test('says which devices it could not make', () => {
      expect(done.warnings).toEqual(user === 'root' ? [] : ['W_DEVICES_RECORDED']);
    });

    if (user === 'root') {
      test('times are kept to the nanosecond', () => {
        const index = COPY_CASES.findIndex(({ name }) => name.startsWith('what is in a context'));
        const tree = join(where.dir, `store/snapshots/case-${index}/fs/t`);
        const time = (name: string) => lstatSync(join(tree, name), { bigint: true }).mtimeNs;
        const expected = BigInt(TIME.context) * 1_000_000_000n + 123_456_789n;
        for (const name of ['plain', 'dir', 'dir/tool', 'dir/link']) {
          expect([name, time(name)]).toEqual([name, expected]);
        }
      });
    }

    test('a layer that was made on nothing replaces a link below it', async () => {
      const { linked } = done.results;
      expect(await listing(linked.tar, ['lib', 'usr'])).toEqual([
        'lib dir 755 0:0 now',
        `lib/d dir 755 0:0 ${TIME.directory}`,
        `lib/d/c.txt file 600 0:0 ${TIME.file} "c"`,
        `lib/d/deep dir 755 0:0 ${TIME.directory}`,
        `lib/d/deep/d.log file 644 0:0 ${TIME.file} "d"`,
        'usr dir 755 0:0 7',
        'usr/lib dir 755 0:0 now',
        'usr/lib/hidden file 644 0:0 0 "x"',
      ]);
    });
  },
);

const KINDS: Readonly<Record<string, string>> = { directory: 'dir', symlink: 'link' };
/** Before it nothing was made, after it everything by these tests. */
const NOW_SECONDS = 1_700_000_000;
const LONGEST_SHOWN_BYTES = 40;

/** Sorted lines of a tar file, below the given directories and what the cases change in `/etc`. */
async function listing(path: string, below: readonly string[] = ['t', 'etc/made', 'etc/owned-by-archive']) {
  const lines: string[] = [];
  const extract = tar.extract();
  createReadStream(path).pipe(extract);
  for await (const entry of extract) {
    const { name: written, type, mode = 0, uid, gid, mtime, linkname, size = 0, pax } = entry.header;
    const { devmajor, devminor } = entry.header as { devmajor?: number; devminor?: number };
    const name = written.replace(/^\.\//, '').replace(/\/$/, '');
    const chunks: Buffer[] = [];
    for await (const chunk of entry) {
      chunks.push(chunk as Buffer);
    }
    if (!below.some((directory) => name === directory || name.startsWith(`${directory}/`))) {
      continue;
    }
    const owner = `${uid}:${gid}`;
    if (type === 'link') {
      lines.push(`${name} same as ${linkname}`);
      continue;
    }
    if (type === 'symlink') {
      lines.push(`${name} link -> ${linkname} ${owner}`);
      continue;
    }
    const seconds = (mtime?.getTime() ?? 0) / 1000;
    const content = Buffer.concat(chunks);
    const shown =
      type !== 'file'
        ? type === 'character-device'
          ? [`${devmajor},${devminor}`]
          : []
        : content.length <= LONGEST_SHOWN_BYTES
          ? [JSON.stringify(content.toString().trimEnd())]
          : isZeros(content)
            ? [`${size} bytes`]
            : [`${size} bytes ${createHash('sha256').update(content).digest('hex').slice(0, 8)}`];
    const attributes = Object.entries((pax ?? {}) as Record<string, string>)
      .filter(([key]) => key.startsWith('SCHILY.xattr.'))
      .map(([key, value]) => `${key.slice('SCHILY.xattr.'.length)}=${printable(value)}`)
      .sort();
    const time = seconds > NOW_SECONDS ? 'now' : String(seconds);
    const kind = KINDS[type ?? ''] ?? type;
    lines.push([name, kind, mode.toString(8), owner, time, ...shown, ...attributes].join(' '));
  }
  return lines.sort();
}

function printable(value: string): string {
  return /^[ -~]*$/.test(value) ? value : Buffer.from(value, 'latin1').toString('hex');
}

function isZeros(content: Buffer): boolean {
  return content.every((byte) => byte === 0);
}
