import type { InputFile } from '../worker/protocol.ts';

/**
 * The host's paths of files both of whose times are later. A modification time in the future that a file had before is no change: the kernel's own
 * time of it, ctime, is in the past then.
 *
 * @param ns - Since the epoch.
 */
export function laterFiles(files: readonly InputFile[], ns: bigint): string[] {
  return files.flatMap(({ hostPath, expect }) =>
    hostPath !== undefined &&
    expect !== undefined &&
    BigInt(expect.mtimeNs) > ns &&
    BigInt(expect.ctimeNs) > ns
      ? [hostPath]
      : [],
  );
}
