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
import { LENT_DIR, type Lent, NETWORK_FILES } from './lent.ts';
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
  /** False lends no variables at all: the program sees `env`, PATH and HOME. @defaultValue true */
  readonly lendHost?: boolean;
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
    const mountpoints: Mountpoint[] = [
      ...ALWAYS_MOUNTED,
      ...NETWORK_FILES.map((path) => ({ path, kind: 'file' as const })),
      ...spec.mounts.map(mountpointOf),
    ];
    return await prepared.withMountpoints(mountpoints, (root, targets) =>
      runMounted(executor, spec, { root, targets, stepDir, held }),
    );
  } finally {
    for (const cache of held) {
      cache.release();
    }
    await native().removeTree(stepDir);
  }
}

interface Mounted {
  readonly root: string;
  readonly targets: ReadonlyMap<string, string>;
  readonly stepDir: string;
  /** Released by the caller. */
  readonly held: HeldCacheMount[];
}

async function runMounted(
  executor: Executor,
  spec: ProgramSpec,
  { root, targets, stepDir, held }: Mounted,
): Promise<Outcome> {
  const user = lookupUser(root, spec.user);
  if (executor.idMode === 'single' && (user.uid !== 0 || user.gid !== 0)) {
    throw new HostError(
      `a step runs as user '${spec.user}' (${user.uid}:${user.gid}), and only one user id is available`,
      { code: 'E_SUBUID_MISSING', hint: subuidHint() },
    );
  }
  const env = new Map<string, string>(spec.env);
  const lent = executor.lent.toStep({ ...spec, stepDir, env, uid: user.uid, gid: user.gid });
  const lentVariables = [
    ['PATH', DEFAULT_PATH],
    ['HOME', user.home],
    ...(spec.lendHost === false ? [] : lent.env),
    ...Object.entries(spec.lentEnv),
  ];
  for (const [name = '', value = ''] of lentVariables) {
    // Ours includes an existing APT_CONFIG.
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
  const cacheDirs = await acquireCaches(executor.caches, all, held, spec.signal);
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
      root,
      env: [...env],
      uid: user.uid,
      gid: user.gid,
      groups: executor.idMode === 'single' ? undefined : user.groups,
      mounts,
    },
    { launcher: executor.lent.launcher, pidNamespace: executor.pidNamespace },
  );
}

/** In one order for everybody, so that two steps never wait for each other. */
async function acquireCaches(
  caches: CacheMounts,
  mounts: readonly ProgramMount[],
  held: HeldCacheMount[],
  signal: AbortSignal,
): Promise<ReadonlyMap<ProgramMount, string>> {
  const dirs = new Map<ProgramMount, string>();
  const byId = new Map<string, string>();
  const wanted = mounts.flatMap((mount) => (mount.kind === 'cache' ? [mount] : []));
  for (const mount of wanted.toSorted((left, right) => (left.request.id < right.request.id ? -1 : 1))) {
    let dir = byId.get(mount.request.id);
    if (dir === undefined) {
      const cache = await caches.acquire(mount.request, signal);
      held.push(cache);
      dir = cache.dir;
      byId.set(mount.request.id, dir);
    }
    dirs.set(mount, dir);
  }
  return dirs;
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
