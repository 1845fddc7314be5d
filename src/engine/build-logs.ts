/** Logs of steps as they are in the store, line by line. Their form is in docs/reference/store.md. */
import { createReadStream } from 'node:fs';
import { join } from 'node:path';
import { DefinitionError } from '../errors.ts';
import type { BuildLogEntry } from '../frontend/fluent/image-logs.ts';
import { hostPlatform } from '../oci/platform.ts';
import { imageFor } from './indexed-images.ts';
import type { Store } from './store.ts';

/**
 * Of the last attempt to build an image, or of a layer of one.
 *
 * @param id - Of what may not be in the store: a failed attempt has an id too.
 * @param layers - So many of the newest; null is all.
 * @throws {DefinitionError} `E_NOT_BUILT`
 */
export async function* buildLogs(
  store: Store,
  id: string,
  layers: number | null,
): AsyncGenerator<BuildLogEntry, void, undefined> {
  const attempt = store.attempts.find(ownId(store, id));
  if (attempt === undefined) {
    throw new DefinitionError(`there is no log of '${id}': it was not built here`, {
      code: 'E_NOT_BUILT',
      hint: 'an image of a registry has no log',
    });
  }
  const first = layers === null ? 0 : Math.max(0, attempt.layers.length - layers);
  for (const [index, { results }] of attempt.layers.entries()) {
    for (const result of index < first ? [] : results) {
      yield* entriesOf(join(store.dir, 'logs', `${result}.log`), index);
    }
  }
}

/** Of an index the image for this machine. */
function ownId({ images }: Store, id: string): string {
  const index = images.getIndex(id);
  return index === undefined ? id : imageFor({ images }, index, hostPlatform(), id).id;
}

const RECORD = /^(\d+) (stdout|stderr|tsbuild)(\+?) (.*)$/s;

/** A step that said nothing has no file. A line that is not a record is passed over: its writer may have been killed. */
async function* entriesOf(path: string, layer: number): AsyncGenerator<BuildLogEntry, void, undefined> {
  const file = createReadStream(path, 'utf8');
  const opened = await new Promise<boolean>((resolve) => {
    file.once('ready', () => resolve(true));
    file.once('error', () => resolve(false));
  });
  if (!opened) {
    return;
  }
  try {
    /** Beginnings of lines that came in parts, by stream. */
    const begun = new Map<string, string>();
    for await (const line of linesOf(file)) {
      const [, time, stream, more, text = ''] = RECORD.exec(line) ?? [];
      if (stream === undefined) {
        continue;
      }
      const message = `${begun.get(stream) ?? ''}${text}`;
      if (more === '+') {
        begun.set(stream, message);
        continue;
      }
      begun.delete(stream);
      yield {
        layer,
        timestamp: new Date(Number(time)),
        stream: stream as BuildLogEntry['stream'],
        message,
      };
    }
  } finally {
    file.destroy();
  }
}

/** At line feeds only: what a step says may hold every other character that readline would cut at. */
async function* linesOf(chunks: AsyncIterable<unknown>): AsyncGenerator<string, void, undefined> {
  let rest = '';
  for await (const chunk of chunks) {
    const lines = `${rest}${String(chunk)}`.split('\n');
    rest = lines.pop() ?? '';
    yield* lines;
  }
}
