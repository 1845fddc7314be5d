/** `--output` of the commands that write images. */
import { UsageError } from '../errors.ts';
import type { CliContext } from './context.ts';
import type { OutputSpec } from './engine-api.ts';
import { list } from './option.ts';
import { parseOutput } from './output-spec.ts';

export const OUTPUT_OPTION = list({
  long: 'output',
  short: 'o',
  valueName: 'SPEC',
  summary: 'Where to write the image besides the store',
  detail:
    'Comma-separated fields, with quotes as in CSV: `type=oci|docker|registry|image|tar|local|cacheonly`, `dest=PATH`, `tar=false` (a directory, for `oci`), `name=REFERENCE` (several with commas between them, in quotes), `push=true` (of `image`), `push-by-digest=true`, `compression=zstd|gzip|uncompressed` (of all layers; `force-compression=false` leaves those of a base as they are) or `estargz|zstd:chunked` (of our layers; of all with `force-compression=true`), `compression-level=N`, `rewrite-timestamp=true`, `source-date-epoch=SECONDS`, `oci-mediatypes=false`, `annotation.KEY=VALUE`. `tar` and `local` are the bare root file system; of several platforms each gets a directory such as `linux_arm64`, unless `platform-split=false`. `local` writes what differs from what is there and keeps what else is there; `mode=delete` removes that. `dest=-` is standard output. Alone, a path means `type=local` and `-` means `type=tar,dest=-`.',
  completion: ['type=oci,dest=', 'type=docker,dest=', 'type=registry', 'type=tar,dest=', 'type=local,dest='],
  parse: parseOutput,
});

/** @throws {UsageError} `E_USAGE` when two outputs, or a terminal, would get an archive. */
export function refuseStdout(outputs: readonly OutputSpec[], context: CliContext): void {
  const toStdout = outputs.filter((output) => output.dest === '-').length;
  if (toStdout > 1) {
    throw new UsageError('two outputs cannot both go to standard output', { code: 'E_USAGE' });
  }
  if (toStdout > 0 && context.stdout.isTTY === true) {
    throw new UsageError('an archive would be written to the terminal', {
      code: 'E_USAGE',
      hint: 'redirect standard output, or give the output a dest=',
    });
  }
}
