/**
 * Ids of cache mounts. Those of tsbuild itself, which it lends to package managers, are told by their beginning: a Dockerfile
 * chooses ids, and must not be able to put something into what other images install from.
 */
const OWN_PREFIX = 'tsbuild-';

/** Id of a cache that tsbuild lends. */
export function ownCacheId(name: string): string {
  return `${OWN_PREFIX}${name}`;
}

/** Whether only tsbuild may use an id. */
export function isOwnCacheId(id: string): boolean {
  return id.startsWith(OWN_PREFIX);
}
