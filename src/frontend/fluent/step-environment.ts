import { canonicalJson } from '../../base/canonical-json.ts';
import type { SecretVariable } from '../../graph/action.ts';
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
): { env: readonly (readonly [string, string])[]; secretEnv: readonly SecretVariable[] } {
  const plain = new Map<string, string>([['PATH', DEFAULT_PATH], ...ofImage]);
  const secret = new Map<string, SecretVariable>();
  for (const each of secrets) {
    const identity = canonicalJson(each.identity);
    for (const name of each.identity.keys) {
      plain.delete(name);
      secret.set(name, { name, secretId: each.id, identity });
    }
  }
  for (const [name, value] of Object.entries(ofStep)) {
    secret.delete(name);
    plain.set(name, value);
  }
  return { env: [...plain], secretEnv: [...secret.values()] };
}
