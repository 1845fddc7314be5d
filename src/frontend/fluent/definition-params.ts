/** Parameters of a definition file, as its author writes them. `tsbuild build --param` gives them other values. */

export type ParamValue = string | number | boolean;

/** A parameter with more to it than a default. */
export interface ParamDeclaration<T extends ParamValue = ParamValue> {
  /** What holds when nothing else is asked for. Its type is the parameter's type. */
  readonly default: T;
  /** The only values that there are. @defaultValue any of the type */
  readonly values?: readonly T[];
  /** One line that says what it does, for whoever mistypes it. */
  readonly help?: string;
}

/** What `export const params` of a definition file may be: names with defaults. */
export type DefinitionParams = Readonly<Record<string, ParamValue | ParamDeclaration>>;

/**
 * What a function of a definition file receives, by its `params`.
 *
 * @example
 * ```ts
 * export const params = { series: '3.12', debug: false, jobs: { default: 4, help: 'Compilers at a time' } };
 *
 * export default ({ series, debug }: ParamValues<typeof params>) =>
 *   Image.debianSlim({ pythonVersion: series }).env({ DEBUG: debug ? '1' : '0' });
 * ```
 */
export type ParamValues<P extends DefinitionParams> = {
  readonly [N in keyof P]: P[N] extends { readonly values: readonly (infer V)[] }
    ? V
    : P[N] extends { readonly default: infer D }
      ? Widened<D>
      : Widened<P[N]>;
};

/** `'3.12'` of an `as const` is a string: the command line can give any other. */
type Widened<T> = T extends string ? string : T extends number ? number : T extends boolean ? boolean : never;
