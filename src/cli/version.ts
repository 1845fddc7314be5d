/** Which tsbuild this is. */
import { readFileSync } from 'node:fs';

export function version(): string {
  // `src/cli` and `dist/cli` are equally deep.
  const text = readFileSync(new URL('../../package.json', import.meta.url), 'utf8');
  return String((JSON.parse(text) as { readonly version: unknown }).version);
}
