/**
 * A file of a web server. Which bytes it is was found out before the graph was made; whoever copies it has them fetched, so
 * that a build of which everything is known fetches nothing.
 */
import { canonicalJson } from '../base/canonical-json.ts';
import { sha256Hex } from '../base/sha256.ts';
import type { SourceHttp } from '../graph/vertex.ts';
import type { Op, OpContext } from '../solver/op.ts';
import type { InputFile } from '../worker/protocol.ts';
import type { HttpFileContents } from './op-context.ts';
import { operationOf } from './operation-of.ts';

/** Of a file that is fetched, as ADD makes it. */
const MODE = 0o600;
const NANOSECONDS = '000000000';

export const sourceHttpOp: Op = {
  version: 1,
  cacheKeyFields: (vertex) => {
    const { digest, name } = operationOf(vertex, 'source-http');
    return [
      { name: 'digest', value: digest },
      { name: 'name', value: name },
    ];
  },
  execute: async (vertex) => {
    const { digest, name } = operationOf(vertex, 'source-http');
    return { kind: 'files', contentDigest: `sha256:${sha256Hex(canonicalJson([name, digest]))}` };
  },
};

/** The file as a step reads it. */
export async function httpInput(
  files: HttpFileContents,
  source: SourceHttp,
  context: Pick<OpContext, 'signal' | 'emit'>,
): Promise<InputFile> {
  const { path, mtimeSeconds } = await files.contents(source, context);
  return {
    path: `/${source.name}`,
    kind: 'file',
    hostPath: path,
    mode: MODE,
    mtimeNs: mtimeSeconds === 0 ? '0' : `${mtimeSeconds}${NANOSECONDS}`,
  };
}
