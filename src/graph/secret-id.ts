/**
 * How the graph names a secret that was given to the build by id (`--secret id=…`). A Dockerfile chooses that id, so that it
 * must not be able to name a secret of somebody else's definition in the same build.
 */
const PREFIX = 'build:';

/** `secretId` of actions for a secret of the build that the user calls `id`. */
export function buildSecretId(id: string): string {
  return `${PREFIX}${id}`;
}

/** The id that the user gave; undefined for a secret of another kind. */
export function idOfBuildSecret(secretId: string): string | undefined {
  return secretId.startsWith(PREFIX) ? secretId.slice(PREFIX.length) : undefined;
}
