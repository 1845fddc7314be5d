/** What was taken is given back, whatever else fails. */

/**
 * In reverse order, each after the one before it; those that are left also when one fails.
 *
 * @throws The first failure, at the end.
 */
export async function releaseAll(releases: readonly (() => void | Promise<void>)[]): Promise<void> {
  const failures: unknown[] = [];
  for (const release of releases.toReversed()) {
    try {
      await release();
    } catch (error) {
      failures.push(error);
    }
  }
  if (failures.length > 0) {
    throw failures[0];
  }
}
