import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';

/** Statements only: what is imported lazily is not part of it. Types are gone when the code runs. */
const IMPORT = /^(?:import|export)\s+(?!type\b)(?:[^'"]*?\bfrom\s+)?'(\.[^']+)'/gm;

/** Every source that loads with one of `entries`, which are paths, as the compiler takes them together. */
export function staticImports(entries) {
  const found = new Set();
  const pending = [...entries];
  for (let path = pending.pop(); path !== undefined; path = pending.pop()) {
    if (!found.has(path)) {
      found.add(path);
      for (const [, specifier] of readFileSync(path, 'utf8').matchAll(IMPORT)) {
        pending.push(join(dirname(path), specifier));
      }
    }
  }
  return found;
}
