/** Packages that exist only inside of an image, named where the module is loaded everywhere (B13 of the Image API). */
import { DefinitionError } from '../../errors.ts';
import { definitionError } from './arguments.ts';

/** What {@link Image.imports} gives. */
export interface ImageImports<T> {
  /**
   * What the loader gave.
   *
   * @throws {DefinitionError} `E_IMPORT_UNAVAILABLE` where it is not there; in a container of the image, what the loader threw.
   */
  get(): T;
  /** Settles when the loader did; rejects only in a container of the image. */
  readonly ready: Promise<void>;
  readonly loaded: boolean;
  /** What the loader threw, if it did. */
  readonly error?: unknown;
}

/** What a package that is not installed, or not for this machine, throws. */
const NOT_FOUND: ReadonlySet<unknown> = new Set([
  'ERR_MODULE_NOT_FOUND',
  'MODULE_NOT_FOUND',
  'ERR_DLOPEN_FAILED',
]);
/** Read by the driver of functions, which waits for all of them before the first call. */
const REGISTRY: unique symbol = Symbol.for('tsbuild.imports') as never;

export interface ImportSurroundings {
  readonly environment: Readonly<Record<string, string | undefined>>;
  readonly warn: (message: string) => void;
}

const PROCESS: ImportSurroundings = {
  get environment() {
    return process.env;
  },
  warn: (message) => process.emitWarning(message, { type: 'TsbuildWarning', code: 'W_IMPORTS_ERROR' }),
};

/**
 * Starts the loader, once.
 *
 * @param recipeHash - Of the image.
 */
export function imageImports<T>(
  recipeHash: string,
  loader: () => T | Promise<T>,
  { environment, warn }: ImportSurroundings = PROCESS,
): ImageImports<T> {
  if (typeof loader !== 'function') {
    throw definitionError('E_ARG_TYPE', 'imports() takes a function that loads packages');
  }
  const isHere = environment.TSBUILD_IMAGE_RECIPE === recipeHash;
  let state:
    | { readonly kind: 'loading' }
    | { readonly kind: 'loaded'; readonly value: T }
    | { readonly kind: 'failed'; readonly error: unknown } = { kind: 'loading' };
  const ready = (async () => {
    try {
      state = { kind: 'loaded', value: await loader() };
    } catch (error) {
      state = { kind: 'failed', error };
      if (isHere) {
        throw error;
      }
      if (!NOT_FOUND.has((error as { code?: unknown } | undefined)?.code)) {
        warn(`image.imports(): the loader failed outside of the image: ${String(error)}`);
      }
    }
  })();
  // Whoever waits sees it; nobody has to.
  ready.catch(() => undefined);
  if (isHere) {
    const registry = globalThis as { [REGISTRY]?: Promise<void>[] };
    registry[REGISTRY] ??= [];
    registry[REGISTRY].push(ready);
  }
  return {
    get() {
      if (state.kind === 'loaded') {
        return state.value;
      }
      if (state.kind === 'failed' && isHere) {
        throw state.error;
      }
      throw new DefinitionError(
        state.kind === 'loading'
          ? 'what image.imports() loads is not there yet'
          : 'what image.imports() names is not there: this process does not run in that image',
        {
          code: 'E_IMPORT_UNAVAILABLE',
          cause: state.kind === 'failed' ? state.error : undefined,
          hint:
            state.kind === 'loading' ? 'await its ready first' : 'use it in functions that run in the image',
        },
      );
    },
    ready,
    get loaded() {
      return state.kind === 'loaded';
    },
    get error() {
      return state.kind === 'failed' ? state.error : undefined;
    },
  };
}
