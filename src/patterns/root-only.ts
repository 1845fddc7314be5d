import type { FilePatternMatcher } from './file-pattern-matcher.ts';

/**
 * Patterns that matched nothing where they look, while the same name is further down (`W_IGNORE_ROOT_ONLY`).
 *
 * @param atTop - Names at the top of the directory.
 * @param below - Names of everything further down.
 */
export function rootOnlyPatterns(
  matcher: FilePatternMatcher,
  atTop: readonly string[],
  below: ReadonlySet<string>,
): string[] {
  return matcher.rootOnlyPatterns().filter((pattern) => {
    const one = matcher.onlyPattern(pattern);
    return !atTop.some((name) => one.matches(name)) && [...below].some((name) => one.matches(name));
  });
}
