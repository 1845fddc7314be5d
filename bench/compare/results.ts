/** The raw runs, as they are kept. */

export interface Results {
  /** RFC 3339. */
  readonly date: string;
  readonly machine: {
    readonly processor: string;
    readonly cores: number;
    readonly memoryBytes: number;
    readonly kernel: string;
    readonly node: string;
    readonly filesystem: string;
  };
  readonly scale: 'full' | 'small';
  readonly peers: readonly { readonly name: string; readonly version: string }[];
  readonly rows: readonly MeasuredRow[];
}

export interface MeasuredRow {
  readonly id: string;
  readonly title: string;
  readonly target?: number;
  readonly targetSeconds?: number;
  /** By builder, in the order of the runs. */
  readonly seconds: Readonly<Record<string, readonly number[]>>;
  readonly bytesWritten: Readonly<Record<string, readonly number[]>>;
  readonly peakBytes: Readonly<Record<string, number>>;
  /** What a builder cannot do. */
  readonly lacking: Readonly<Record<string, string>>;
  /** How often it did not end, and had to be. */
  readonly hung: Readonly<Record<string, number>>;
  /** By builder that is not tsbuild: where its image differs from ours, {@link MOST_UNEQUAL} of them. Runs that found nothing may have `[]`. */
  readonly unequal: Readonly<Record<string, readonly Difference[]>>;
}

export interface Difference {
  readonly path: string;
  readonly ours: string;
  readonly theirs: string;
}

/** For a person to see where to look. */
export const MOST_UNEQUAL = 20;

export function median(values: readonly number[]): number {
  const sorted = values.toSorted((left, right) => left - right);
  const middle = sorted.length / 2;
  return Number.isInteger(middle)
    ? ((sorted[middle - 1] ?? Number.NaN) + (sorted[middle] ?? Number.NaN)) / 2
    : (sorted[Math.floor(middle)] ?? Number.NaN);
}
