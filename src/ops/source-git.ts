/** Files of a commit of a git repository, as a layer that holds nothing else. */
import type { Op, Result } from '../solver/op.ts';
import { copyAll, layerOfFiles } from './layer-of-files.ts';
import type { GitCheckout, OpTools } from './op-context.ts';
import { operationOf } from './operation-of.ts';

export interface SourceGitOptions extends OpTools {
  readonly scratchDir: string;
  readonly checkout: GitCheckout;
}

export function sourceGitOp(options: SourceGitOptions): Op {
  return {
    version: 1,
    cacheKeyFields: (vertex) => {
      const { remote, commit, ref, subdir, keepGitDir, submodules, mtime } = operationOf(
        vertex,
        'source-git',
      );
      return [
        { name: 'commit', value: commit },
        { name: 'subdir', value: subdir ?? '' },
        { name: 'keep-git-dir', value: keepGitDir },
        { name: 'submodules', value: submodules },
        { name: 'mtime', value: mtime ?? 'checkout' },
        // A kept `.git` names both, and URLs of submodules may be relative to the remote's.
        { name: 'remote', value: keepGitDir || submodules ? remote : null },
        { name: 'ref', value: keepGitDir ? (ref ?? null) : null },
      ];
    },
    execute: async (vertex, _inputs, context): Promise<Result> =>
      await layerOfFiles(options, vertex, [copyAll('keep')], context, async (directory, bringing) => ({
        kind: 'directory',
        hostPath: await options.checkout(operationOf(vertex, 'source-git'), directory, bringing),
      })),
  };
}
