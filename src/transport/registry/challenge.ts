/** `WWW-Authenticate` headers. Source: RFC 9110, section 11.6.1. */

export interface Challenge {
  /** Lower case. */
  readonly scheme: string;
  /** Names in lower case. */
  readonly parameters: Readonly<Record<string, string>>;
}

/** What a server may send us before we stop reading. */
const MAX_HEADER_LENGTH = 16_384;
const TOKEN = /[A-Za-z0-9!#$%&'*+.^_`|~-]+/y;
const SPACE = /[ \t]*/y;

/**
 * Parses one header or several. A list separates challenges by commas as well as parameters, and quoted strings hold
 * commas too, so this goes token by token: a token followed by `=` is a parameter, another one begins a challenge.
 * What cannot be understood ends that header; the challenges before it count.
 */
export function parseChallenges(headers: readonly string[]): readonly Challenge[] {
  return headers.flatMap((header) => parseHeader(header.slice(0, MAX_HEADER_LENGTH)));
}

function parseHeader(header: string): readonly Challenge[] {
  const challenges: { scheme: string; parameters: Record<string, string> }[] = [];
  let at = 0;
  const take = (pattern: RegExp): string => {
    pattern.lastIndex = at;
    const text = pattern.exec(header)?.[0] ?? '';
    at += text.length;
    return text;
  };
  for (;;) {
    take(SPACE);
    while (header[at] === ',') {
      at += 1;
      take(SPACE);
    }
    const name = take(TOKEN);
    if (name === '') {
      return challenges;
    }
    const afterName = at;
    take(SPACE);
    const current = challenges.at(-1);
    if (header[at] === '=' && current !== undefined) {
      at += 1;
      take(SPACE);
      const value = header[at] === '"' ? quoted(header, at) : { text: take(TOKEN), end: at };
      if (value === undefined) {
        return challenges;
      }
      at = value.end;
      current.parameters[name.toLowerCase()] ??= value.text;
      continue;
    }
    at = afterName;
    challenges.push({
      scheme: name.toLowerCase(),
      parameters: Object.create(null) as Record<string, string>,
    });
    take(SPACE);
    skipToken68(header);
  }

  /** `Negotiate a87421000492aa8==`: one value without a name. */
  function skipToken68(text: string): void {
    const pattern = /[A-Za-z0-9._~+/-]+=*(?=[ \t]*(?:,|$))/y;
    pattern.lastIndex = at;
    at += pattern.exec(text)?.[0].length ?? 0;
  }
}

function quoted(header: string, start: number): { readonly text: string; readonly end: number } | undefined {
  let text = '';
  for (let at = start + 1; at < header.length; at += 1) {
    const character = header[at];
    if (character === '"') {
      return { text, end: at + 1 };
    }
    if (character === '\\') {
      at += 1;
    }
    text += header[at] ?? '';
  }
  return undefined;
}
