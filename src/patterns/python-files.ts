/** Which files of a Python package are its source (A2.14 of the Image API). */
import type { IgnorePredicate } from './ignore-spec.ts';

/** Leaves out everything but `*.py`, and what {@link isHidden}. */
export const notPythonSource: IgnorePredicate = (path) => !path.endsWith('.py') || isHidden(path);

/** Begins with a dot or is in something that does; or is what Python itself writes beside the source. */
export function isHidden(path: string): boolean {
  return path.split('/').some((name) => name.startsWith('.') || name === '__pycache__');
}

/** Python would load it as machine code. */
export function isCompiledModule(path: string): boolean {
  return /\.(so|pyd)$/.test(path);
}
