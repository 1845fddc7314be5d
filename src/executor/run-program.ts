/**
 * One program on one prepared root: user, environment, mounts, sandbox, outcome. What a build step's exec and a
 * container's run have in common.
 */
import { chownSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { HostError } from '../errors.ts';
import type { ToolSupport } from '../graph/action.ts';
import { native } from '../native/addon.ts';
import type { Mountpoint, Prepared } from '../snapshot/driver.ts';
import type { CacheMountRequest, CacheMounts, HeldCacheMount } from '../volume/cache-mounts.ts';
import { LENT_DIR, type Lent } from './lent.ts';
import { type Outcome, runInSandbox, type SandboxMount } from './sandbox.ts';
import { lookupUser } from './user.ts';

export const DEFAULT_PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';

/** A mount with its source found. */
export type ProgramMount =
  | { readonly kind: 'cache'; readonly request: CacheMountRequest; readonly target: string }
  | { readonly kind: 'tmpfs'; readonly target: string; readonly sizeBytes?: number }
  | {
      readonly kind: 'bind';
      readonly source: string;
      readonly sourceKind: 'directory' | 'file';
      readonly target: string;
      readonly readOnly: boolean;
    }
  | {
      readonly kind: 'secret';
      readonly value: string;
      readonly target: string;
      readonly mode: number;
      readonly uid: number;
      readonly gid: number;
    };

export interface ProgramSpec {
  readonly argv: readonly string[];
  /** The image's and the step's; later wins. */
  readonly env: readonly (readonly [string, string])[];
  /** In the environment too, but yielding to the step's own and in no key. */
  readonly lentEnv: Readonly<Record<string, string>>;
  readonly cwd: string;
  readonly user: string;
  readonly network: 'host' | 'none';
  readonly lend: readonly ToolSupport[];
  readonly mounts: readonly ProgramMount[];
  readonly timeoutMs?: number;
  readonly stdin?: Uint8Array;
  readonly signal: AbortSignal;
  readonly onOutput: (stream: 'stdout' | 'stderr', chunk: Buffer) => void;
  readonly pressure?: () => Promise<void> | undefined;
}

export interface Executor {
  readonly lent: Lent;
  readonly caches: CacheMounts;
  readonly memoryDir: string;
  readonly idMode: 'root' | 'multi' | 'single';
  readonly pidNamespace: boolean;
}

const ALWAYS_MOUNTED: readonly Mountpoint[] = [
  { path: '/proc', kind: 'directory' },
  { path: '/dev', kind: 'directory' },
  { path: '/sys', kind: 'directory' },
  { path: LENT_DIR, kind: 'directory' },
];

let count = 0;

/** @throws {HostError} `E_SUBUID_MISSING`; and what {@link runInSandbox} throws. */
export async function runProgram(
  executor: Executor,
  prepared: Prepared,
  spec: ProgramSpec,
): Promise<Outcome> {
  count += 1;
  const stepDir = join(executor.memoryDir, `program-${count}`);
  const held: HeldCacheMount[] = [];
  try {
    mkdirSync(stepDir, { mode: 0o700 });
    const root = prepared.root();
    const user = lookupUser(root, spec.user);
    if (executor.idMode === 'single' && (user.uid !== 0 || user.gid !== 0)) {
      throw new HostError(
        `a step runs as user '${spec.user}' (${user.uid}:${user.gid}), and only one user id is available`,
        {
          code: 'E_SUBUID_MISSING',
          hint: subuidHint(),
        },
      );
    }
    const env = new Map<string, string>(spec.env);
    const lent = executor.lent.toStep({ ...spec, stepDir, env, uid: user.uid, gid: user.gid });
    const defaults: [string, string][] = [['PATH', DEFAULT_PATH], ['HOME', user.home], ...lent.env];
    for (const [name, value] of [...defaults, ...Object.entries(spec.lentEnv)]) {
      if (!env.has(name) || name === 'APT_CONFIG') {
        env.set(name, value);
      }
    }
    // WORKDIR makes what is missing; that is part of the layer.
    native().mkdirInRoot(root, spec.cwd, 0o755, 0, 0);

    const all: ProgramMount[] = [
      ...lent.caches.map(({ request, target }) => ({ kind: 'cache' as const, request, target })),
      ...spec.mounts,
    ];
    // Locks in one order for everybody, so that two steps never wait for each other.
    const requests = all.flatMap((mount) => (mount.kind === 'cache' ? [mount] : []));
    const cacheDirs = new Map<ProgramMount, string>();
    for (const mount of requests.toSorted((left, right) => (left.request.id < right.request.id ? -1 : 1))) {
      const twin = [...cacheDirs].find(
        ([other]) => other.kind === 'cache' && other.request.id === mount.request.id,
      );
      if (twin !== undefined) {
        cacheDirs.set(mount, twin[1]);
        continue;
      }
      const cache = await executor.caches.acquire(mount.request, spec.signal);
      held.push(cache);
      cacheDirs.set(mount, cache.dir);
    }

    const mountpoints: Mountpoint[] = [
      ...ALWAYS_MOUNTED,
      ...lent.files.map(({ target }) => ({ path: target, kind: 'file' as const })),
      // What lies in the lent directory has its mountpoint there.
      ...all.filter(({ target }) => !isLent(target)).map(mountpointOf),
    ];
    return await prepared.withMountpoints(mountpoints, async (mounted, targets) => {
      const at = (path: string) => targets.get(path) ?? path;
      const mounts: SandboxMount[] = [
        { kind: 'bind', source: lent.dir, target: at(LENT_DIR), readOnly: true },
        ...lent.files.map(({ source, target }) => ({
          kind: 'bind' as const,
          source,
          target: at(target),
          readOnly: false,
        })),
        ...all.map((mount, index) =>
          sandboxMount(mount, at(mount.target), cacheDirs, join(stepDir, `secret-${index}`)),
        ),
      ];
      return runInSandbox(
        {
          ...spec,
          root: mounted,
          env: [...env],
          uid: user.uid,
          gid: user.gid,
          groups: executor.idMode === 'single' ? undefined : user.groups,
          mounts,
        },
        { launcher: executor.lent.launcher, pidNamespace: executor.pidNamespace },
      );
    });
  } finally {
    for (const cache of held) {
      cache.release();
    }
    await native().removeTree(stepDir);
  }
}

function isLent(target: string): boolean {
  return target.startsWith(`${LENT_DIR}/`);
}

function mountpointOf(mount: ProgramMount): Mountpoint {
  const isFile = mount.kind === 'secret' || (mount.kind === 'bind' && mount.sourceKind === 'file');
  return { path: mount.target, kind: isFile ? 'file' : 'directory' };
}

function sandboxMount(
  mount: ProgramMount,
  target: string,
  cacheDirs: ReadonlyMap<ProgramMount, string>,
  secretPath: string,
): SandboxMount {
  switch (mount.kind) {
    case 'cache':
      return { kind: 'bind', source: cacheDirs.get(mount) ?? '', target, readOnly: false };
    case 'tmpfs':
      return {
        kind: 'tmpfs',
        target,
        readOnly: false,
        ...(mount.sizeBytes === undefined ? {} : { sizeBytes: mount.sizeBytes }),
      };
    case 'bind':
      return { kind: 'bind', source: mount.source, target, readOnly: mount.readOnly };
    case 'secret':
      // In the worker's memory; only this step has it bound.
      writeFileSync(secretPath, mount.value, { mode: mount.mode, flag: 'wx' });
      chownSync(secretPath, mount.uid, mount.gid);
      return { kind: 'bind', source: secretPath, target, readOnly: true };
  }
}

/** The one command that gives a user subordinate ids. */
export function subuidHint(): string {
  const user = process.env.USER ?? process.env.LOGNAME ?? '$USER';
  return `sudo usermod --add-subuids 100000-165535 --add-subgids 100000-165535 ${user}`;
}
