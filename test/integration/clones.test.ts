/** On a filesystem that can share blocks, a file that is copied costs none. */
import { execFileSync } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { busyboxPath } from '../support/busybox.ts';
import { lacks } from '../support/requires.ts';
import { run } from '../support/tsbuild.ts';

/** XFS takes 300 MiB at least. */
const DISK_BYTES = 512 * 1024 ** 2;
const FILE_BYTES = 16 * 1024 ** 2;

describe.skipIf(lacks('root', 'busybox', 'mkfs.xfs'))('on XFS', () => {
  let directory: string;
  beforeAll(() => {
    directory = mkdtempSync(join(tmpdir(), 'tsbuild-clones-'));
    const disk = join(directory, 'disk');
    execFileSync('truncate', ['--size', String(DISK_BYTES), disk]);
    execFileSync('mkfs.xfs', ['-q', disk]);
    mkdirSync(join(directory, 'mount'));
    execFileSync('mount', ['-o', 'loop', disk, join(directory, 'mount')]);
  });
  afterAll(() => {
    execFileSync('umount', [join(directory, 'mount')]);
    rmSync(directory, { recursive: true });
  });

  test.each(['overlay', 'copy'])(
    'a step finds a clone of a copied file (%s), and changes its own',
    async (snapshotter) => {
      const context = join(directory, 'mount/context');
      mkdirSync(context, { recursive: true });
      const content = randomBytes(FILE_BYTES);
      writeFileSync(join(context, 'big'), content);
      execFileSync('cp', [busyboxPath(), join(context, 'sh')]);
      writeFileSync(
        join(context, 'Dockerfile'),
        `FROM scratch
COPY sh /bin/
COPY big /there/big
RUN sha256sum /there/big > /sum; stat -c %s /there/big > /size
RUN echo more >> /there/big
`,
      );
      const output = join(directory, 'mount', `output-${snapshotter}`);
      const store = join(directory, 'mount', `store-${snapshotter}`);
      const before = usedBytes(directory);
      const built = await run(['build', context, '--output', `type=local,dest=${output}`], {
        env: { TSBUILD_HOME: store, TSBUILD_SNAPSHOT: snapshotter },
      });
      expect(built.stderr).toContain('DONE');
      expect(built.status).toBe(0);
      const sum = createHash('sha256').update(content).digest('hex');
      expect(readFileSync(join(output, 'sum'), 'utf8')).toContain(sum);
      expect(readFileSync(join(output, 'size'), 'utf8').trim()).toBe(String(FILE_BYTES));
      expect(
        readFileSync(join(output, 'there/big')).equals(Buffer.concat([content, Buffer.from('more\n')])),
      ).toBe(true);
      expect(readFileSync(join(context, 'big')).equals(content)).toBe(true);
      // Snapshots and output share what they have; the blobs of the two layers do not.
      expect(usedBytes(directory) - before).toBeLessThan(2.5 * FILE_BYTES);
    },
  );
});

function usedBytes(directory: string): number {
  execFileSync('sync', ['--file-system', join(directory, 'mount')]);
  const used = execFileSync('df', ['--block-size=1', '--output=used', join(directory, 'mount')], {
    encoding: 'utf8',
  });
  return Number(used.split('\n')[1]);
}
