import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { canonicalJson } from '../../../src/base/canonical-json.ts';
import {
  type Action,
  type CacheSeed,
  type Chmod,
  type CopyAction,
  type CopySelection,
  type DeviceRequest,
  type ExecAction,
  type FunctionCall,
  type GpuRequest,
  type MkdirAction,
  type MkfileAction,
  type Mount,
  type RemoveAction,
  type ResourceLimits,
  ROOT_OWNER,
  type SecretVariable,
  type Ulimit,
  type WholeSecret,
} from '../../../src/graph/action.ts';
import { vertex } from '../../../src/graph/vertex.ts';
import { type BuildOpOptions, buildOp } from '../../../src/ops/build.ts';

/** A field of an action: another value of it, and whether that is another key. */
interface Decision<T> {
  readonly other: T;
  readonly inKey: boolean;
}

/** Every field but `kind` has to be decided on: one that is missing here does not compile. */
type Decisions<T> = {
  readonly [K in keyof T as K extends 'kind' ? never : K]-?: Decision<NonNullable<T[K]>>;
};

type MountOf<K extends Mount['kind']> = Extract<Mount, { kind: K }>;

function keyed<T>(other: T): Decision<T> {
  return { other, inKey: true };
}
function unkeyed<T>(other: T): Decision<T> {
  return { other, inKey: false };
}

const cache: MountOf<'cache'> = { kind: 'cache', id: 'pip', target: '/root/.cache', sharing: 'shared' };
const tmpfs: MountOf<'tmpfs'> = { kind: 'tmpfs', target: '/tmp' };
const bind: MountOf<'bind'> = { kind: 'bind', input: 1, source: '/', target: '/src', readOnly: true };
const secretMount: MountOf<'secret'> = {
  kind: 'secret',
  secretId: 's1',
  identity: '["TOKEN"]',
  target: '/run/secrets/token',
  mode: 0o400,
  uid: 0,
  gid: 0,
  required: true,
};
const secretVariable: SecretVariable = { name: 'TOKEN', secretId: 's1', identity: '["TOKEN"]' };
const seed: CacheSeed = { input: 1, source: '/seed' };
const inline: MountOf<'inline'> = { kind: 'inline', target: '/dev/pipes/A', mode: 0o755, data: 'aGk=' };
const ssh: MountOf<'ssh'> = {
  kind: 'ssh',
  id: 'default',
  target: '/run/buildkit/ssh_agent.0',
  mode: 0o600,
  uid: 0,
  gid: 0,
  required: false,
};
const wholeSecret: WholeSecret = { secretId: 's1', identity: '["TOKEN"]', except: [] };
const volume: MountOf<'volume'> = {
  kind: 'volume',
  volume: 'volume-1',
  name: 'cache',
  target: '/cache',
  readOnly: false,
};
const ulimit: Ulimit = { name: 'nofile', soft: 1024, hard: 2048 };
const device: DeviceRequest = { name: 'vendor.com/class=a', required: false };
const gpu: GpuRequest = { type: 'T4', count: 2 };
const limits: ResourceLimits = { memoryBytes: 1 << 30, cpus: 1, pids: 10 };
const selection: CopySelection = { wildcards: true, parents: false, exclude: [] };
const exec: ExecAction = {
  kind: 'exec',
  argv: ['make'],
  env: [['A', '1']],
  cwd: '/',
  user: '',
  network: 'host',
  mounts: [],
  secretEnv: [],
  lend: [],
};
const call: FunctionCall = { id: 'function-1', key: '{}', runtime: 'node', node: 'auto' };
const copy: CopyAction = {
  kind: 'copy',
  input: 1,
  source: '/',
  destination: '/app',
  owner: ROOT_OWNER,
  modes: 'normalise',
  times: 'epoch',
};
const mkdir: MkdirAction = { kind: 'mkdir', path: '/app', mode: 0o755, owner: ROOT_OWNER };
const mkfile: MkfileAction = { kind: 'mkfile', path: '/f', mode: 0o644, owner: ROOT_OWNER, data: 'aGk=' };
const rm: RemoveAction = { kind: 'rm', path: '/tmp/x', allowMissing: false };

const execFields: Decisions<ExecAction> = {
  argv: keyed(['make', '']),
  env: keyed([['A', '2']] as const),
  proxyEnv: unkeyed([['HTTP_PROXY', 'http://proxy.example']] as const),
  cwd: keyed('/app'),
  user: keyed('me'),
  network: keyed('none' as const),
  security: keyed('insecure' as const),
  hostname: keyed('other'),
  extraHosts: keyed([['db', '10.0.0.1']] as const),
  shmSizeBytes: unkeyed(1 << 20),
  ulimits: keyed([ulimit]),
  devices: keyed([device]),
  gpus: keyed([gpu]),
  mounts: keyed([tmpfs]),
  secretEnv: keyed([secretVariable]),
  requiredVariables: unkeyed(['TOKEN']),
  lend: unkeyed(['pip', 'apt'] as const),
  insistsOnHost: unkeyed(true),
  timeoutMs: unkeyed(5),
  limits: unkeyed(limits),
  retries: unkeyed(2),
  hintIfMissing: unkeyed('install it'),
  call: keyed(call),
};
const callFields: Decisions<FunctionCall> = {
  id: unkeyed('function-2'),
  key: keyed('{"source":"x"}'),
  runtime: keyed('python' as const),
  node: unkeyed('host' as const),
};
const secretVariableFields: Decisions<SecretVariable> = {
  name: keyed('OTHER'),
  optional: keyed(true),
  secretId: unkeyed('s2'),
  identity: keyed('["OTHER"]'),
};
const wholeSecretFields: Decisions<WholeSecret> = {
  secretId: unkeyed('s2'),
  identity: keyed('["OTHER"]'),
  except: keyed(['A']),
};
const cacheFields: Decisions<MountOf<'cache'>> = {
  id: unkeyed('npm'),
  target: keyed('/cache'),
  sharing: unkeyed('locked' as const),
  mode: unkeyed(0o700),
  uid: unkeyed(1),
  gid: unkeyed(1),
  readOnly: keyed(true),
  seed: keyed(seed),
};
const seedFields: Decisions<CacheSeed> = { input: keyed(2), source: keyed('/other') };
const inlineFields: Decisions<MountOf<'inline'>> = {
  target: keyed('/dev/pipes/B'),
  mode: keyed(0o644),
  data: keyed('aGkK'),
};
const sshFields: Decisions<MountOf<'ssh'>> = {
  id: keyed('other'),
  target: keyed('/run/other'),
  mode: keyed(0o660),
  uid: keyed(1),
  gid: keyed(1),
  required: keyed(true),
};
const ulimitFields: Decisions<Ulimit> = { name: keyed('core'), soft: keyed(1), hard: keyed(3) };
const deviceFields: Decisions<DeviceRequest> = { name: keyed('a.b/c=1'), required: keyed(true) };
const gpuFields: Decisions<GpuRequest> = {
  type: keyed('ANY'),
  count: keyed(1),
  devices: keyed(['0']),
  memoryBytes: keyed(4e9),
  compute: keyed('8.0'),
};
const limitsFields: Decisions<ResourceLimits> = {
  memoryBytes: unkeyed(1 << 20),
  cpus: unkeyed(2),
  pids: unkeyed(20),
};
const selectionFields: Decisions<CopySelection> = {
  wildcards: keyed(false),
  parents: keyed(true),
  exclude: keyed(['*.md']),
};
const chmodFields: Decisions<Chmod> = { chmod: keyed('u+x') };
const tmpfsFields: Decisions<MountOf<'tmpfs'>> = { target: keyed('/var/tmp'), sizeBytes: unkeyed(1 << 20) };
const volumeFields: Decisions<MountOf<'volume'>> = {
  volume: unkeyed('volume-2'),
  name: keyed('other'),
  target: keyed('/other'),
  readOnly: keyed(true),
  subPath: keyed('a'),
};
const bindFields: Decisions<MountOf<'bind'>> = {
  input: keyed(2),
  source: keyed('/lib'),
  target: keyed('/lib'),
  readOnly: keyed(false),
};
const secretMountFields: Decisions<MountOf<'secret'>> = {
  secretId: unkeyed('s2'),
  identity: keyed('["OTHER"]'),
  target: keyed('/run/other'),
  mode: keyed(0o440),
  uid: keyed(1),
  gid: keyed(1),
  required: keyed(false),
};
const copyFields: Decisions<CopyAction> = {
  input: keyed(2),
  source: keyed('/lib'),
  destination: keyed('/app/'),
  owner: keyed({ kind: 'keep' } as const),
  modes: keyed('keep' as const),
  times: keyed('keep' as const),
  select: keyed({ wildcards: true, parents: false, exclude: [] }),
  unpack: keyed(true),
};
const mkdirFields: Decisions<MkdirAction> = {
  path: keyed('/b'),
  mode: keyed(0o700),
  owner: keyed({ kind: 'names', names: 'app' } as const),
  mtimeSeconds: unkeyed(1),
};
const mkfileFields: Decisions<MkfileAction> = {
  path: keyed('/g'),
  name: keyed('h'),
  mode: keyed(0o755),
  owner: keyed({ kind: 'ids', uid: 1, gid: 1 } as const),
  data: keyed('aGkK'),
};
const rmFields: Decisions<RemoveAction> = { path: keyed('/x'), allowMissing: keyed(true) };

const withMount = (mount: Mount): Action => ({ ...exec, mounts: [mount] });

/** What each kind is, what was decided on its fields, and how it becomes an action. */
const kinds: readonly {
  readonly name: string;
  readonly fields: Readonly<Record<string, Decision<unknown>>>;
  readonly action: (changed: Record<string, unknown>) => Action;
}[] = [
  { name: 'ExecAction', fields: execFields, action: (changed) => ({ ...exec, ...changed }) },
  {
    name: 'SecretVariable',
    fields: secretVariableFields,
    action: (changed) => ({ ...exec, secretEnv: [{ ...secretVariable, ...changed }] }),
  },
  {
    name: 'WholeSecret',
    fields: wholeSecretFields,
    action: (changed) => ({ ...exec, secretEnv: [{ ...wholeSecret, ...changed }] }),
  },
  {
    name: 'FunctionCall',
    fields: callFields,
    action: (changed) => ({ ...exec, call: { ...call, ...changed } }),
  },
  { name: "Mount 'cache'", fields: cacheFields, action: (changed) => withMount({ ...cache, ...changed }) },
  { name: "Mount 'tmpfs'", fields: tmpfsFields, action: (changed) => withMount({ ...tmpfs, ...changed }) },
  { name: "Mount 'volume'", fields: volumeFields, action: (changed) => withMount({ ...volume, ...changed }) },
  { name: "Mount 'bind'", fields: bindFields, action: (changed) => withMount({ ...bind, ...changed }) },
  {
    name: "Mount 'secret'",
    fields: secretMountFields,
    action: (changed) => withMount({ ...secretMount, ...changed }),
  },
  {
    name: 'CacheSeed',
    fields: seedFields,
    action: (changed) => withMount({ ...cache, seed: { ...seed, ...changed } }),
  },
  { name: "Mount 'inline'", fields: inlineFields, action: (changed) => withMount({ ...inline, ...changed }) },
  { name: "Mount 'ssh'", fields: sshFields, action: (changed) => withMount({ ...ssh, ...changed }) },
  {
    name: 'Ulimit',
    fields: ulimitFields,
    action: (changed) => ({ ...exec, ulimits: [{ ...ulimit, ...changed }] }),
  },
  {
    name: 'DeviceRequest',
    fields: deviceFields,
    action: (changed) => ({ ...exec, devices: [{ ...device, ...changed }] }),
  },
  {
    name: 'GpuRequest',
    fields: gpuFields,
    action: (changed) => ({ ...exec, gpus: [{ ...gpu, ...changed }] }),
  },
  {
    name: 'ResourceLimits',
    fields: limitsFields,
    action: (changed) => ({ ...exec, limits: { ...limits, ...changed } }),
  },
  {
    name: 'CopySelection',
    fields: selectionFields,
    action: (changed) => ({ ...copy, select: { ...selection, ...changed } }),
  },
  {
    name: 'Chmod',
    fields: chmodFields,
    action: (changed) => ({ ...copy, modes: { chmod: '0755', ...changed } }),
  },
  { name: 'CopyAction', fields: copyFields, action: (changed) => ({ ...copy, ...changed }) },
  { name: 'MkdirAction', fields: mkdirFields, action: (changed) => ({ ...mkdir, ...changed }) },
  { name: 'MkfileAction', fields: mkfileFields, action: (changed) => ({ ...mkfile, ...changed }) },
  { name: 'RemoveAction', fields: rmFields, action: (changed) => ({ ...rm, ...changed }) },
];

const op = buildOp({} as BuildOpOptions);

async function keyOf(...actions: readonly Action[]): Promise<string> {
  const of = vertex({ kind: 'build', actions }, [], {
    platform: { os: 'linux', architecture: 'amd64' },
    label: 'test',
  });
  const fields = await op.cacheKeyFields(of, new AbortController().signal);
  return canonicalJson(fields.map(({ name, value }) => [name, value]));
}

/** Names of the fields of each kind, as the source has them. */
function declared(): ReadonlyMap<string, readonly string[]> {
  const source = readFileSync(new URL('../../../src/graph/action.ts', import.meta.url), 'utf8');
  const names = (text: string) =>
    [...text.matchAll(/readonly (\w+)\??:/g)].map(([, name = '']) => name).filter((name) => name !== 'kind');
  const found = new Map<string, readonly string[]>();
  for (const [, name = '', body = ''] of source.matchAll(/export interface (\w+) \{\n([\s\S]*?)\n\}/g)) {
    found.set(name, names(body));
  }
  const mounts = /export type Mount =([\s\S]*?)\};?\n\n/.exec(source)?.[1] ?? '';
  for (const part of mounts.split(/\n {2}\| /).slice(1)) {
    found.set(`Mount ${/kind: ('\w+')/.exec(part)?.[1]}`, names(part));
  }
  return found;
}

describe('the key of a build step', () => {
  it('was decided on for every field of every action', () => {
    const decided = kinds.map(({ name, fields }) => [name, Object.keys(fields).toSorted()] as const);
    expect(new Map(decided)).toEqual(
      new Map([...declared()].map(([name, fields]) => [name, fields.toSorted()])),
    );
  });

  const cases = kinds.flatMap(({ name, fields, action }) =>
    Object.entries(fields).map(([field, { other, inKey }]) => ({ name, field, other, inKey, action })),
  );

  it.each(cases.filter(({ inKey }) => inKey))('sees $field of $name', async ({ field, other, action }) => {
    expect(await keyOf(action({ [field]: other }))).not.toBe(await keyOf(action({})));
  });

  it.each(cases.filter(({ inKey }) => !inKey))(
    'does not see $field of $name',
    async ({ field, other, action }) => {
      expect(action({ [field]: other })).not.toEqual(action({}));
      expect(await keyOf(action({ [field]: other }))).toBe(await keyOf(action({})));
    },
  );

  it('sees the order of actions, of variables and of arguments', async () => {
    expect(await keyOf(mkdir, rm)).not.toBe(await keyOf(rm, mkdir));
    const env = (...names: string[]) => keyOf({ ...exec, env: names.map((name) => [name, '1'] as const) });
    expect(await env('A', 'B')).not.toBe(await env('B', 'A'));
    expect(await keyOf({ ...exec, argv: ['a b'] })).not.toBe(await keyOf({ ...exec, argv: ['a', 'b'] }));
  });

  it('tells kinds apart, and names each action for explanations', async () => {
    const all: Action[] = [exec, copy, mkdir, mkfile, rm];
    const keys = await Promise.all(all.map((action) => keyOf(action)));
    expect(new Set(keys).size).toBe(all.length);
    const of = vertex({ kind: 'build', actions: all }, [], {
      platform: { os: 'linux', architecture: 'amd64' },
      label: 'test',
    });
    expect((await op.cacheKeyFields(of, new AbortController().signal)).map(({ name }) => name)).toEqual([
      'exec 1',
      'copy 2',
      'mkdir 3',
      'mkfile 4',
      'rm 5',
    ]);
  });
});
