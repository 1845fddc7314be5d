/**
 * Where a program that calls a function of the user's finds what it needs and leaves its report: `/run/tsbuild/function`, which
 * is no part of the image.
 */
import { chmodSync, closeSync, mkdirSync, openSync, readSync, realpathSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { LENT_DIR } from './lent.ts';
import type { SandboxMount } from './sandbox.ts';

export interface ProgramDesk {
  readonly files: readonly { readonly name: string; readonly data: Uint8Array }[];
  /** Lay this process's Node there, as `node`. */
  readonly hostNode: boolean;
  /** Called once when the program has ended; with nothing where it left no report. */
  readonly onReport: (report: Buffer) => void;
}

export const DESK_DIR = `${LENT_DIR}/function`;
/** A message to the front holds no more, in base64 and with what is around it. */
export const MAX_REPORT_BYTES = 32 * 1024 * 1024;

/** @param lentDir - On the host; becomes `/run/tsbuild`. @param reportPath - On the host, outside of it. */
export function layDesk(
  { files, hostNode }: ProgramDesk,
  lentDir: string,
  reportPath: string,
): (SandboxMount & { readonly targetKind: 'file' })[] {
  const dir = join(lentDir, 'function');
  mkdirSync(dir, { mode: 0o755 });
  for (const { name, data } of files) {
    writeFileSync(join(dir, name), data, { mode: 0o444, flag: 'wx' });
  }
  // The directory cannot be written to, so that nothing can take the place of the report; whoever runs the program may fill it.
  writeFileSync(reportPath, '', { mode: 0o600, flag: 'wx' });
  chmodSync(reportPath, 0o666);
  const mounts = [mount(dir, 'report', reportPath, false)];
  if (hostNode) {
    mounts.push(mount(dir, 'node', realpathSync(process.execPath), true));
  }
  return mounts;
}

function mount(dir: string, name: string, source: string, readOnly: boolean) {
  writeFileSync(join(dir, name), '', { mode: 0o755, flag: 'wx' });
  const target = `${DESK_DIR}/${name}`;
  return { kind: 'bind' as const, source, target, readOnly, targetKind: 'file' as const };
}

/** At most one byte more than may be taken, which says that it is too long. */
export function readReport(path: string): Buffer {
  const bytes = Buffer.alloc(MAX_REPORT_BYTES + 1);
  const file = openSync(path, 'r');
  try {
    let length = 0;
    for (;;) {
      const read = readSync(file, bytes, length, bytes.length - length, length);
      length += read;
      if (read === 0 || length === bytes.length) {
        return bytes.subarray(0, length);
      }
    }
  } finally {
    closeSync(file);
  }
}
