/** One local file at a place of the image that the call chooses: `COPY /.uv.lock /.uv/uv.lock`. */
import type { CopyLocalStep } from './layer-definition.ts';
import type { LocalInput } from './local-input.ts';

/** @param contextPath - What the file is called in plans; its local path is in no key. */
export function fileInput(
  hostPath: string,
  contextPath: string,
  facts: Pick<LocalInput, 'wantsText' | 'mayBeMissing'> = {},
): LocalInput {
  return {
    expects: 'file',
    hostPath,
    fileAt: contextPath,
    directoryAt: '/',
    filter: { kind: 'none' },
    ...facts,
  };
}

export function copyFileStep(input: LocalInput, destination: string): CopyLocalStep {
  const text = `COPY ${copyWords(input.fileAt, destination)}`;
  return {
    kind: 'copy-local',
    input,
    textOfFile: text,
    textOfDirectory: text,
    fileDestination: destination,
    directoryDestination: destination,
    fileGoesTo: 'contextFiles',
  };
}

/** The two paths of a `COPY` line; its JSON form where a blank would cut one. */
export function copyWords(source: string, destination: string): string {
  return /[\s"'\\[\]]/.test(source + destination)
    ? JSON.stringify([source, destination]).replace('","', '", "')
    : `${source} ${destination}`;
}
