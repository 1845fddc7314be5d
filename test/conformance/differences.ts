/** Where two images, or two builders' outcomes, are not the same. */
import type { Case } from './case.ts';
import type { FlatImage } from './flatten.ts';

/** `refused`: the build failed, as it must in some cases; what the builder said about it. */
export type Result = FlatImage | { readonly refused: string };
/** As much of it as helps a person. */
const SHOWN_LINES = 12;

export interface Difference {
  /** A path; `config MEMBER`; `history N`; `layers`; `outcome`. */
  readonly subject: string;
  readonly left: string;
  readonly right: string;
}

export function differences(left: Result, right: Result): readonly Difference[] {
  if ('refused' in left || 'refused' in right) {
    return 'refused' in left && 'refused' in right
      ? []
      : [{ subject: 'outcome', left: outcome(left), right: outcome(right) }];
  }
  const history = (image: FlatImage) =>
    Object.fromEntries(image.history.map((line, index) => [`history ${index}`, line]));
  const config = (image: FlatImage) =>
    Object.fromEntries(
      Object.entries(image.config).map(([name, value]) => [`config ${name}`, canonical(value)]),
    );
  return [
    ...members(left.files, right.files),
    ...members(config(left), config(right)),
    ...members(history(left), history(right)),
    ...members({ layers: String(left.layers) }, { layers: String(right.layers) }),
  ];
}

/** Whether a decision of the case covers the difference. */
export function isDecided(
  { decisions = [] }: Case,
  { subject }: Difference,
  builders: readonly string[],
): boolean {
  return decisions.some(
    ({ builder, about }) => builders.includes(builder) && new RegExp(about).test(subject),
  );
}

function outcome(result: Result): string {
  if (!('refused' in result)) {
    return 'built';
  }
  const lines = result.refused.trimEnd().split('\n');
  return `refused: ${lines.slice(-SHOWN_LINES).join('\n             ')}`;
}

function members(
  left: Readonly<Record<string, string>>,
  right: Readonly<Record<string, string>>,
): Difference[] {
  const subjects = [...new Set([...Object.keys(left), ...Object.keys(right)])].sort();
  return subjects
    .filter((subject) => left[subject] !== right[subject])
    .map((subject) => ({
      subject,
      left: left[subject] ?? '(nothing)',
      right: right[subject] ?? '(nothing)',
    }));
}

/** Members of maps in one order, lists as they are: only the latter's order has a meaning. */
function canonical(value: unknown): string {
  return JSON.stringify(value, (_, inner) =>
    typeof inner === 'object' && inner !== null && !Array.isArray(inner)
      ? Object.fromEntries(Object.entries(inner).sort(([a], [b]) => (a < b ? -1 : 1)))
      : inner,
  );
}
