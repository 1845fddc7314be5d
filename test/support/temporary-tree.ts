import { chmod, mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';

/** Content of a file, a link's target, or nothing for an empty directory. */
export type Leaf =
  | string
  | Uint8Array
  | { readonly link: string }
  | { readonly text: string; readonly mode: number }
  | null;

export interface TemporaryTree extends AsyncDisposable {
  readonly path: string;
}

/** `temporaryTree({ 'etc/passwd': 'root', 'empty': null, 'l': { link: 'etc' } })`. Removed when it goes out of scope. */
export async function temporaryTree(leaves: Readonly<Record<string, Leaf>>): Promise<TemporaryTree> {
  const path = await mkdtemp(join(tmpdir(), 'tsbuild-test-'));
  for (const [name, leaf] of Object.entries(leaves)) {
    const full = join(path, name);
    await mkdir(leaf === null ? full : dirname(full), { recursive: true });
    if (typeof leaf === 'string' || leaf instanceof Uint8Array) {
      await writeFile(full, leaf, { mode: 0o644 });
    } else if (leaf !== null && 'link' in leaf) {
      await symlink(leaf.link, full);
    } else if (leaf !== null) {
      await writeFile(full, leaf.text);
      await chmod(full, leaf.mode);
    }
  }
  return { path, [Symbol.asyncDispose]: () => rm(path, { recursive: true, force: true }) };
}
