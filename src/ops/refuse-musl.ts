/** A CPython that is linked against glibc does not start on musl; said before it is copied there (A1.4 of the Image API). */
import { StepError } from '../errors.ts';
import type { Vertex } from '../graph/vertex.ts';
import type { LayerId } from '../solver/op.ts';
import type { Worker } from '../worker/protocol.ts';

/** Program loaders by the ABI documents of each architecture, and musl's beside them. */
const LOADERS: Readonly<Record<string, { readonly glibc: string; readonly musl: string }>> = {
  amd64: { glibc: '/lib64/ld-linux-x86-64.so.2', musl: '/lib/ld-musl-x86_64.so.1' },
  arm64: { glibc: '/lib/ld-linux-aarch64.so.1', musl: '/lib/ld-musl-aarch64.so.1' },
};

/**
 * A base that has both loaders passes: Alpine's `gcompat` is enough for many programs.
 *
 * @param layers - What the vertex adds Python to, unpacked.
 * @throws {StepError} `E_MUSL_PYTHON`
 */
export async function refuseMusl(
  vertex: Vertex,
  layers: readonly LayerId[],
  worker: Worker,
  signal: AbortSignal,
): Promise<void> {
  const loaders = LOADERS[vertex.platform.architecture];
  const addsPython = vertex.inputs.some((input) => input.vertex.operation.kind === 'source-python');
  if (!addsPython || loaders === undefined || layers.length === 0) {
    return;
  }
  const [glibc, musl] = await Promise.all(
    [loaders.glibc, loaders.musl].map((path) => worker.call('exists', { layers, path }, { signal })),
  );
  if (glibc?.exists !== true && musl?.exists === true) {
    throw new StepError('the added Python needs glibc, and this base has musl', {
      code: 'E_MUSL_PYTHON',
      argv: ['COPY', '/python/.', '/usr/local'],
      reason: 'not-started',
      logTail: '',
      hint: "take a base with glibc, such as Debian's or Ubuntu's, or install the distribution's own Python without addPython",
    });
  }
}
