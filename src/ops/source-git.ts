/** Files of a commit of a git repository, as a layer that holds nothing else. */
import { randomUUID } from 'node:crypto';
import { mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { HostError } from '../errors.ts';
import { ROOT_OWNER } from '../graph/action.ts';
import type { LayerId, Op, Result } from '../solver/op.ts';
import { workerEvents } from '../worker/worker-events.ts';
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
    execute: async (vertex, _inputs, { signal, emit, resultId }): Promise<Result> => {
      const directory = join(options.scratchDir, `git-${randomUUID()}`);
      try {
        await mkdir(directory, { recursive: true, mode: 0o700 });
      } catch (cause) {
        throw new HostError(`cannot make '${directory}'`, { code: 'E_IO', path: directory, cause });
      }
      try {
        const source = operationOf(vertex, 'source-git');
        // The worker takes as long to start as a small repository takes to come.
        const starting = options.worker();
        starting.catch(() => undefined);
        const hostPath = await options.checkout(source, directory, {
          signal,
          emit: (event) => emit(event.kind === 'progress' ? { ...event, vertex: vertex.digest } : event),
        });
        const layer = resultId as LayerId;
        await (await starting).call(
          'step',
          {
            layer,
            parents: [],
            actions: [
              {
                kind: 'copy',
                input: 1,
                source: '/',
                destination: '/',
                owner: ROOT_OWNER,
                modes: 'normalise',
                times: 'keep',
              },
            ],
            inputs: [{ kind: 'none' }, { kind: 'directory', hostPath }],
            secrets: {},
            logPath: join(options.storeDir, 'logs', `${resultId}.log`),
            lentEnv: {},
          },
          { signal, onEvent: workerEvents(emit, vertex.digest) },
        );
        options.records.put(layer, [], true);
        return { kind: 'rootfs', layers: [layer] };
      } finally {
        await rm(directory, { recursive: true, force: true });
      }
    },
  };
}
