/**
 * Makes text from outside printable. Signed URLs are credentials, so a URL is shown without its user, query and
 * fragment; whatever a server or a program said is bounded and loses its control characters.
 */

const URL_IN_TEXT = /\bhttps?:\/\/[^\s"'<>\\]+/gi;
const AUTHORIZATION_IN_TEXT = /\b(bearer|basic)\s+[A-Za-z0-9+/=._~-]{8,}/gi;
/** Everything that moves a terminal's cursor or colours it, but not tab and line feed. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for.
const CONTROL = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f]/g;

/** The URL without user, password, query and fragment; `?…` shows that there was a query. */
export function redactUrl(url: URL | string): string {
  let parsed: URL;
  try {
    parsed = new URL(url);
  } catch {
    return '(not a URL)';
  }
  return `${parsed.protocol}//${parsed.host}${parsed.pathname}${parsed.search === '' ? '' : '?…'}`;
}

/** Text from outside: URLs redacted, authorization headers masked, control characters removed, bounded. */
export function redactText(text: string, maxLength = 2000): string {
  const cleaned = text
    .slice(0, maxLength * 2)
    .replace(URL_IN_TEXT, (url) => redactUrl(url))
    .replace(AUTHORIZATION_IN_TEXT, '$1 ***')
    .replace(CONTROL, '');
  return cleaned.length > maxLength ? `${cleaned.slice(0, maxLength)}…` : cleaned;
}

/**
 * The text with asterisks for what stands before the `@` of web URLs. It is as wide as it was, so that a caret below it stays
 * where it is. Logs and images are read by more people than the definition.
 */
export function maskUrlCredentials(text: string): string {
  return text.replace(
    /\b((?:https?|ftp):\/\/)([^\s/@'"]+)@/gi,
    (_whole, scheme: string, credentials: string) => `${scheme}${'*'.repeat(credentials.length)}@`,
  );
}
