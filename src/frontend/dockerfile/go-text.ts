/**
 * History is written as the Go programs of the world print lists, strings and durations, because tools that read it expect
 * that. Source: Go's `fmt`, `strconv.Quote` and `time.Duration.String`.
 */

export function goList(words: readonly string[]): string {
  return `[${words.join(' ')}]`;
}

const GO_ESCAPES: Readonly<Record<string, string>> = {
  '\\': '\\\\',
  '"': '\\"',
  '\n': '\\n',
  '\t': '\\t',
  '\r': '\\r',
  '\u0007': '\\a',
  '\b': '\\b',
  '\f': '\\f',
  '\v': '\\v',
};
const SPACE = 0x20;
const DELETE = 0x7f;

export function goQuote(text: string): string {
  const quoted = [...text].map((char) => {
    const code = char.codePointAt(0) ?? 0;
    return (
      GO_ESCAPES[char] ??
      (code < SPACE || code === DELETE ? `\\x${code.toString(16).padStart(2, '0')}` : char)
    );
  });
  return `"${quoted.join('')}"`;
}

const SECOND_NS = 1_000_000_000;
const UNITS = [
  [1_000_000, 'ms'],
  [1000, 'µs'],
  [1, 'ns'],
] as const;

/** `1m30s`; zero, and what was not said, is `0s`. */
export function goDuration(nanoseconds: number | undefined): string {
  const total = nanoseconds ?? 0;
  if (total === 0) {
    return '0s';
  }
  if (total < SECOND_NS) {
    const [size, unit] = UNITS.find(([each]) => total >= each) ?? [1, 'ns'];
    return `${decimal(total / size)}${unit}`;
  }
  const seconds = total / SECOND_NS;
  const hours = Math.floor(seconds / 3600);
  const minutes = Math.floor((seconds % 3600) / 60);
  const rest = decimal(seconds - hours * 3600 - minutes * 60);
  return hours > 0 ? `${hours}h${minutes}m${rest}s` : minutes > 0 ? `${minutes}m${rest}s` : `${rest}s`;
}

function decimal(value: number): string {
  return String(Number(value.toFixed(9)));
}
