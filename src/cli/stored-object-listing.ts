/** Names and ages of stored secrets or volumes as text, for people or for programs. */
import type { StoredObject } from '../base/stored-objects.ts';
import { formatAge } from './quantity.ts';
import { formatTable } from './table.ts';
import { terminalJson } from './terminal-text.ts';

export function objectListing(
  objects: readonly StoredObject[],
  { json, quiet }: { readonly json: boolean; readonly quiet: boolean },
): string {
  if (json) {
    const plain = objects.map(({ name, createdAt }) => ({ name, createdAt: createdAt.toISOString() }));
    return `${terminalJson(plain, 2)}\n`;
  }
  if (quiet) {
    return objects.map(({ name }) => `${name}\n`).join('');
  }
  const nowMs = Date.now();
  const rows = objects.map(({ name, createdAt }) => [name, formatAge(nowMs - createdAt.getTime())]);
  return formatTable([['NAME', 'CREATED'], ...rows], []);
}
