/** Shell words (A0.7 of the Image API). */

const BARE = /^[A-Za-z0-9_@%+=:,./-]+$/;
const VARIABLE = /\$\{([A-Za-z_][A-Za-z0-9_]*)\}/g;

/** One shell word that means `text` itself, whatever it holds. */
export function quoteLiteral(text: string): string {
  return BARE.test(text) ? text : `'${text.replaceAll("'", `'"'"'`)}'`;
}

/** The same, but `${NAME}` is left for the shell to expand. */
export function quoteExpanding(text: string): string {
  if (variablesIn(text).length === 0) {
    return quoteLiteral(text);
  }
  let quoted = '';
  let end = 0;
  for (const match of text.matchAll(VARIABLE)) {
    quoted += escapeInDoubleQuotes(text.slice(end, match.index)) + match[0];
    end = match.index + match[0].length;
  }
  return `"${quoted}${escapeInDoubleQuotes(text.slice(end))}"`;
}

/** The names of `${NAME}` in it. */
export function variablesIn(text: string): string[] {
  return [...text.matchAll(VARIABLE)].map((match) => match[1] as string);
}

function escapeInDoubleQuotes(text: string): string {
  return text.replace(/[\\"`$]/g, '\\$&');
}
