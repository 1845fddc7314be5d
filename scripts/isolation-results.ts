/** What docs/reference/isolation.json holds. */

export interface Measured {
  readonly cell: string;
  readonly outcome: 'works' | 'note' | 'refused' | 'failed';
  /** Of a warning or an error. */
  readonly code?: string;
  readonly message?: string;
  /** Digest of the uncompressed layer of the last step, times clamped. */
  readonly diffId?: string;
}

/** Cells in one isolation and sandbox. */
export interface Way {
  readonly user: string;
  readonly isolation: string;
  readonly sandbox: string;
  /** `host`, or the container that tsbuild runs in. */
  readonly surroundings: string;
  readonly cells: readonly Measured[];
}

export interface Matrix {
  readonly date: string;
  readonly kernel: string;
  readonly versions: Readonly<Record<string, string>>;
  readonly ways: readonly Way[];
}
