/** What the steps of an image said when they were built (A3.8 of the Image API). */
import { definitionError, knownOptions } from './arguments.ts';
import type { Image } from './image.ts';
import { defaultEngine } from './image-engine.ts';

/** One line of a build log, secrets masked. */
export interface BuildLogEntry {
  /** Position of the call in the chain; 0 is the base. */
  readonly layer: number;
  readonly timestamp: Date;
  /** `tsbuild` is what the build says of the step: warnings, and why it failed. */
  readonly stream: 'stdout' | 'stderr' | 'tsbuild';
  readonly message: string;
}

export interface FetchLogsOptions {
  /** So many of the newest layers; null is all of them. @defaultValue 1 */
  readonly layers?: number | null;
}

/**
 * Logs of the last attempt to build an image, a failed one too. A layer that was reused has the log of the build that made it.
 *
 * @example
 * ```ts
 * for await (const { stream, message } of image.logs.fetch({ layers: 2 })) {
 *   console.log(stream, message);
 * }
 * ```
 */
export class ImageLogs {
  readonly #image: Image;

  constructor(image: Image) {
    this.#image = image;
    Object.freeze(this);
  }

  /**
   * Line by line, the oldest first.
   *
   * @throws {DefinitionError} `E_LOGS_LAYERS` at once; when it is read `E_NOT_BUILT` before any attempt.
   */
  fetch(options?: FetchLogsOptions): AsyncIterable<BuildLogEntry> {
    const layers = logLayers('logs.fetch', knownOptions('logs.fetch', options, ['layers']).layers);
    const image = this.#image;
    return {
      async *[Symbol.asyncIterator]() {
        yield* (await defaultEngine()).logs(image, { layers });
      },
    };
  }

  /**
   * The last lines of all layers, the oldest first.
   *
   * @param count - At least 1.
   * @throws {DefinitionError} `E_ARG_TYPE`, `E_NOT_BUILT`
   */
  async tail(count = 100): Promise<readonly BuildLogEntry[]> {
    if (!Number.isInteger(count) || count < 1) {
      throw definitionError('E_ARG_TYPE', 'logs.tail() takes a whole number of lines above 0');
    }
    const last: BuildLogEntry[] = [];
    for await (const entry of (await defaultEngine()).logs(this.#image, { layers: null })) {
      last.push(entry);
      if (last.length > count) {
        last.shift();
      }
    }
    return last;
  }
}

/** @throws {DefinitionError} `E_LOGS_LAYERS` */
export function logLayers(method: string, value: unknown): number | null {
  if (value === undefined) {
    return 1;
  }
  if (value !== null && !(Number.isInteger(value) && (value as number) >= 1)) {
    throw definitionError(
      'E_LOGS_LAYERS',
      `${method}(): 'layers' must be a whole number above 0, or null for all`,
    );
  }
  return value as number | null;
}
