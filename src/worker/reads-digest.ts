/** What a step reads of a stack, as a digest: two stacks with the same one make no difference to it. */
import { join } from 'node:path';
import { canonicalJson } from '../base/canonical-json.ts';
import { pathText } from '../base/path-bytes.ts';
import { sha256Hex } from '../base/sha256.ts';
import { DefinitionError } from '../errors.ts';
import { native } from '../native/addon.ts';
import { callNative } from '../native/call-native.ts';
import type { LayerId, PathRead } from '../solver/op.ts';
import type { RequestContext, WorkerContext } from './context.ts';
import { openInput } from './step-input.ts';

export async function readsDigest(
  context: WorkerContext,
  { layers, reads }: { readonly layers: readonly LayerId[]; readonly reads: readonly PathRead[] },
  request: RequestContext,
): Promise<{ readonly digest?: string }> {
  const { signal } = request;
  const input = await openInput(context, { kind: 'layers', layers }, signal);
  try {
    const found: string[][] = [];
    for (const { source, select } of reads) {
      const parts: string[] = [];
      for (const { path, top } of await input.select(source, select, request)) {
        const at = typeof top.source === 'string' ? top.source : pathText(top.source);
        if (!at.isWellFormed()) {
          // A name that is not UTF-8. Rare, and running the step is always right.
          return {};
        }
        const place = join(input.sourceRoot ?? '/', at);
        const digest = await callNative(signal, `cannot read '${path}'`, (cancel) =>
          native().treeDigest(
            place,
            input.owners === undefined
              ? undefined
              : { file: input.owners, path: at.replace(/^\/+|\/+$/g, '') },
            cancel,
          ),
        );
        parts.push(path, digest);
      }
      found.push(parts);
    }
    return { digest: sha256Hex(canonicalJson(found)) };
  } catch (error) {
    if (error instanceof DefinitionError) {
      return {};
    }
    throw error;
  } finally {
    await input.close();
  }
}
