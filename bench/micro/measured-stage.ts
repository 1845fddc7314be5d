/** A stage of the native helper and what bounds it, as it is kept. */
export interface MeasuredStage {
  readonly name: string;
  readonly unit: 'MB' | 'files';
  readonly amount: number;
  readonly seconds: readonly number[];
  readonly limit: string;
  readonly limitSeconds: readonly number[];
}
