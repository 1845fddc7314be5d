/** `%2F` is `/`; a text in which a stray `%` stands is what it is. */
export function percentDecoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
