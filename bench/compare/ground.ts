/**
 * Where a builder keeps its store while it is measured: a fresh ext4 filesystem of its own on a loop device, so that what others
 * deleted does not slow it down and what it writes can be counted; without root, a directory.
 */
import { execFileSync } from 'node:child_process';
import { closeSync, ftruncateSync, mkdirSync, mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs';
import { basename, join } from 'node:path';

const SECTOR_BYTES = 512;
/** Sparse; what is written of it is what it costs. */
const SIZE_BYTES = 24 * 1024 ** 3;

export interface Ground extends Disposable {
  /** Empty. */
  readonly directory: string;
  readonly filesystem: 'ext4 on a loop device' | 'a directory';
  /** Empties it. */
  reset(): void;
  bytesWritten(): number | undefined;
}

export function makeGround(parent: string, name: string): Ground {
  const place = mkdtempSync(join(parent, `${name}-`));
  const directory = join(place, 'store');
  mkdirSync(directory);
  if (process.getuid?.() !== 0) {
    return {
      directory,
      filesystem: 'a directory',
      reset: () => {
        rmSync(directory, { recursive: true, force: true });
        mkdirSync(directory);
      },
      bytesWritten: () => undefined,
      [Symbol.dispose]: () => rmSync(place, { recursive: true, force: true }),
    };
  }
  const image = join(place, 'disk');
  let device = '';
  const mount = () => {
    const fd = openSync(image, 'w');
    ftruncateSync(fd, SIZE_BYTES);
    closeSync(fd);
    execFileSync('mkfs.ext4', ['-q', '-F', '-E', 'lazy_itable_init=1,nodiscard', image], { stdio: 'pipe' });
    device = execFileSync('losetup', ['--find', '--show', image], { encoding: 'utf8' }).trim();
    execFileSync('mount', [device, directory]);
    execFileSync('rmdir', [join(directory, 'lost+found')]);
  };
  const unmount = () => {
    execFileSync('umount', ['--recursive', directory]);
    execFileSync('losetup', ['--detach', device]);
    rmSync(image);
  };
  mount();
  return {
    directory,
    filesystem: 'ext4 on a loop device',
    reset: () => {
      unmount();
      mount();
    },
    bytesWritten: () => {
      execFileSync('sync', ['--file-system', directory]);
      const fields = readFileSync(`/sys/block/${basename(device)}/stat`, 'utf8')
        .trim()
        .split(/\s+/);
      return Number(fields[6]) * SECTOR_BYTES;
    },
    [Symbol.dispose]: () => {
      unmount();
      rmSync(place, { recursive: true, force: true });
    },
  };
}
