import { canonicalJson } from '../../base/canonical-json.ts';
import type { SecretVariable, WholeSecret } from '../../graph/action.ts';
import type { Secret } from '../../secret/secret.ts';

/** Of a step whose image sets none. */
export const DEFAULT_PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';

/**
 * Image variables, then secrets in list order, then the call's own; later wins (A0.5). A name is in one of the two
 * results only, so that whoever runs the step cannot get the order wrong.
 */
export function stepEnvironment(
  ofImage: ReadonlyMap<string, string>,
  secrets: readonly Secret[],
  ofStep: Readonly<Record<string, string>>,
): { env: readonly (readonly [string, string])[]; secretEnv: readonly (SecretVariable | WholeSecret)[] } {
  const plain = new Map<string, string>([['PATH', DEFAULT_PATH], ...ofImage]);
  const except = Object.keys(ofStep).sort();
  /** By name, or by the secret's id, which is no name. */
  const secret = new Map<string, SecretVariable | WholeSecret>();
  for (const each of secrets) {
    const identity = canonicalJson(each.identity);
    if (each.keys === undefined) {
      secret.delete(each.id);
      secret.set(each.id, { secretId: each.id, identity, except });
    }
    for (const name of each.keys ?? []) {
      plain.delete(name);
      // Where a secret was in the list decides what it wins over.
      secret.delete(name);
      secret.set(name, { name, secretId: each.id, identity });
    }
  }
  for (const [name, value] of Object.entries(ofStep)) {
    secret.delete(name);
    plain.set(name, value);
  }
  return { env: [...plain], secretEnv: [...secret.values()] };
}
