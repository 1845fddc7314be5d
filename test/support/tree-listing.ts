/** Everything about a tree of files that a layer can carry, as sorted lines, so that two trees can be compared. */
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { lstatSync, readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { join } from 'node:path';

/** The root directory itself is left out: tools disagree on its times. */
export function listTree(root: string): readonly string[] {
  const xattrs = readXattrs(root);
  const firstName = new Map<number, string>();
  return names(root, '').map((name) => {
    const path = join(root, name);
    const stat = lstatSync(path);
    const kind = ((stat.mode & 0o170000) >> 12).toString(8);
    const mode = (stat.mode & 0o7777).toString(8);
    const first = firstName.get(stat.ino);
    firstName.set(stat.ino, first ?? name);
    const detail = stat.isSymbolicLink()
      ? `-> ${readlinkSync(path)}`
      : stat.isFile()
        ? `${stat.size} ${createHash('sha256').update(readFileSync(path)).digest('hex').slice(0, 12)}`
        : stat.isCharacterDevice() || stat.isBlockDevice()
          ? `device ${stat.rdev}`
          : '';
    return [
      name,
      `${kind}:${mode}`,
      `${stat.uid}:${stat.gid}`,
      `${Math.floor(stat.mtimeMs / 1000)}`,
      detail,
      ...(first === undefined || stat.isDirectory() ? [] : [`same as ${first}`]),
      ...(xattrs.get(name) ?? []),
    ].join(' ');
  });
}

function names(root: string, directory: string): string[] {
  return readdirSync(join(root, directory), { withFileTypes: true })
    .sort((a, b) => (a.name < b.name ? -1 : 1))
    .flatMap((entry) => {
      const name = join(directory, entry.name);
      return entry.isDirectory() ? [name, ...names(root, name)] : [name];
    });
}

/** Node has no call for them. */
function readXattrs(root: string): Map<string, readonly string[]> {
  const text = execFileSync('getfattr', ['-R', '-P', '-h', '-d', '-m', '-', '-e', 'hex', '.'], {
    cwd: root,
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  const found = new Map<string, readonly string[]>();
  for (const block of text.split('\n\n')) {
    const [head = '', ...values] = block.split('\n').filter((line) => line !== '');
    if (head.startsWith('# file: ')) {
      found.set(head.slice('# file: '.length), values.sort());
    }
  }
  return found;
}
