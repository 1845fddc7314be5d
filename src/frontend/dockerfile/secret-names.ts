/** Names of variables that look as if their value was secret. Source: the check SecretsUsedInArgOrEnv. */

const SECRET_WORDS = new Set([
  'apikey',
  'auth',
  'credential',
  'credentials',
  'key',
  'password',
  'pword',
  'passwd',
  'secret',
  'token',
]);
/** With one of these it is the opposite, or about something else. */
const HARMLESS_WORDS = new Set(['public', 'file', 'version']);

/** Whole words between underscores count: `API_KEY` and `auth`, but not `KEYBOARD` or `PUBLIC_KEY`. */
export function looksSecret(name: string): boolean {
  const parts = name.toLowerCase().split('_');
  return parts.some((part) => SECRET_WORDS.has(part)) && !parts.some((part) => HARMLESS_WORDS.has(part));
}
