import type { ExecAction } from '../../src/graph/action.ts';

/** A program of a step, as root, with the network of the machine and nothing mounted, unless `more` says so. */
export function execAction(argv: readonly string[], more: Partial<ExecAction> = {}): ExecAction {
  return {
    kind: 'exec',
    argv,
    env: [],
    cwd: '/',
    user: '',
    network: 'host',
    mounts: [],
    secretEnv: [],
    lend: [],
    ...more,
  };
}
