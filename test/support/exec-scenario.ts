/** Run as some user with a store and a snapshotter: steps with every kind of mount, limit and device, and what came of them. */

import { execFileSync, spawn } from 'node:child_process';
import {
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import type { TsbuildError } from '../../src/errors.ts';
import type { WantedSandbox } from '../../src/executor/choose-sandbox.ts';
import { type Action, type ExecAction, type Mount, ROOT_OWNER } from '../../src/graph/action.ts';
import type { LayerId } from '../../src/solver/op.ts';
import { startWorker } from '../../src/worker/client.ts';
import type { InputFile, StepInput, StepParams, WorkerEvent } from '../../src/worker/protocol.ts';
import { busyboxBase } from './busybox-root.ts';
import { execAction } from './exec-action.ts';

const [storeDir = '', snapshotter = 'auto', isolation = 'auto', sandbox = 'auto'] = process.argv.slice(2);
const home = join(storeDir, '..');
const signal = new AbortController().signal;
const cdiDirs = [join(home, 'cdi-a'), join(home, 'cdi-b')];
const worker = await startWorker({
  storeDir,
  snapshotter: snapshotter as 'auto' | 'overlay' | 'copy',
  isolation: isolation as 'auto' | 'chroot',
  hostTrust: { proxies: {}, mirrors: {} },
  sandbox: sandbox as WantedSandbox,
  cdiDirs,
  signal,
});
const single = worker.hello.idMode === 'single';
const layers: LayerId[] = [];
const results: Record<string, unknown> = { hello: worker.hello };

interface Done {
  readonly lines: string[];
  readonly warnings: string[];
  readonly empty?: boolean;
  /** Paths in the layer. */
  readonly layer?: string[];
  readonly error?: Record<string, unknown>;
}

function exec(script: string, more: Partial<ExecAction> = {}): ExecAction {
  // Two streams have no order between them.
  return execAction(['/bin/sh', '-c', `exec 2>&1; ${script}`], more);
}

async function step(name: string, actions: readonly Action[], more: Partial<StepParams> = {}): Promise<Done> {
  const lines: string[] = [];
  const warnings: string[] = [];
  const onEvent = (event: WorkerEvent) => {
    if (event.kind === 'log') {
      lines.push(event.text);
    } else if (event.kind === 'warning') {
      warnings.push(event.message);
    }
  };
  const layer = name as LayerId;
  const params: StepParams = {
    layer,
    parents: [...layers],
    actions,
    inputs: [{ kind: 'none' }, image, files],
    secrets: {},
    logPath: join(storeDir, 'logs', `${name}.log`),
    lentEnv: {},
    ...more,
  };
  try {
    const { empty } = await worker.call('step', params, { signal, onEvent });
    layers.push(layer);
    const inLayer = readdirSync(join(storeDir, 'snapshots', name, 'fs'), {
      recursive: true,
      encoding: 'utf8',
    });
    return { lines, warnings, empty, layer: inLayer.sort() };
  } catch (error) {
    const { code, message, hint } = error as TsbuildError;
    return { lines, warnings, error: { name: (error as Error).name, code, message, hint } };
  }
}

const run = async (name: string, script: string, more: Partial<ExecAction> = {}, params = {}) => {
  results[name] = await step(name, [exec(script, more)], params);
};
const mounted = (name: string, script: string, mounts: readonly Mount[], params = {}) =>
  run(name, script, { mounts }, params);
const base64 = (text: string | Uint8Array) => Buffer.from(text as string).toString('base64');

/** A program of this machine with the libraries that it needs, as files of an input. */
function programFiles(path: string): InputFile[] {
  const listed = execFileSync('ldd', [path], { encoding: 'utf8' });
  const libraries = [...listed.matchAll(/(\/\S+) \(0x/g)].map(([, library = '']) => library);
  return [path, ...libraries].map((each) => ({
    path: each,
    kind: 'file',
    mode: 0o755,
    hostPath: execFileSync('readlink', ['-f', each], { encoding: 'utf8' }).trim(),
  }));
}

const local = join(home, 'context');
mkdirSync(join(local, 'dir'), { recursive: true });
writeFileSync(join(local, 'dir/one'), 'one\n');
writeFileSync(join(local, 'script'), 'echo sourced\n');
writeFileSync(join(home, 'outside'), 'out of reach\n');
const inputFile = (path: string): InputFile => ({
  path,
  kind: 'file',
  mode: 0o644,
  hostPath: join(local, path),
});
const files: StepInput = {
  kind: 'files',
  name: 'local context',
  files: [
    { path: '/dir', kind: 'directory', mode: 0o755, hostPath: join(local, 'dir') },
    inputFile('/dir/one'),
    inputFile('/script'),
    { path: '/out', kind: 'symlink', mode: 0o777, link: '../outside' },
    { path: '/away', kind: 'symlink', mode: 0o777, link: home },
    { path: '/dir/link', kind: 'symlink', mode: 0o777, link: join(home, 'made-by-link') },
  ],
};
let image: StepInput = { kind: 'none' };

const base = busyboxBase();
await step('base', base.actions, { inputs: [{ kind: 'none' }, { kind: 'files', files: base.files }] });
await step(
  'ssh-add',
  [
    {
      kind: 'copy',
      input: 2,
      source: '/',
      destination: '/',
      owner: ROOT_OWNER,
      modes: 'keep',
      times: 'epoch',
    },
  ],
  {
    inputs: [{ kind: 'none' }, { kind: 'none' }, { kind: 'files', files: programFiles('/usr/bin/ssh-add') }],
  },
);
const owner = single ? '0:0' : '1000:1001';
await step('seed', [
  exec(
    `mkdir -p /seed/sub && echo a > /seed/sub/a && ln /seed/sub/a /seed/b && chmod 4711 /seed/sub/a && touch -d @1000000000 /seed/sub && chmod 750 /seed && chown -R ${owner} /seed && chmod 4711 /seed/sub/a; ln -s /etc/passwd /seed/passwd; ln -s ../../../../../../../../..${home}/outside /escape; mkdir /old && touch -d @1000000000 /old /`,
  ),
]);
image = { kind: 'layers', layers: [...layers], name: 'stage builder' };

// Mounts and their order.
const bind = (source: string, target: string, input = 1, readOnly = true): Mount => ({
  kind: 'bind',
  input,
  source,
  target,
  readOnly,
});
const cache = (id: string, target: string, more = {}): Mount => ({
  kind: 'cache',
  id,
  target,
  sharing: 'shared',
  ...more,
});
const inline = (target: string, text: string, mode = 0o755): Mount => ({
  kind: 'inline',
  target,
  mode,
  data: base64(text),
});
const secretMount = (target: string, more: object = {}): Mount => ({
  kind: 'secret',
  secretId: 's',
  identity: '{}',
  target,
  mode: 0o400,
  uid: 0,
  gid: 0,
  required: true,
  ...more,
});
const binary = Buffer.from([0, 1, 2, 0xff, 0xfe, 10, 0x80]);
const secrets = { s: { kind: 'value', value: base64(binary) } };

await mounted('order', 'cat /m/one /m/c/f /m/c/deep/x; touch /m/x 2>&1; echo kept > /m/c/g; ls /m', [
  inline('/m/c/deep/x', 'inner\n', 0o644),
  { kind: 'tmpfs', target: '/m/c/deep' },
  inline('/m/c/f', 'file\n', 0o644),
  cache('order', '/m/c/'),
  bind('/dir', '/m', 2),
]);
await mounted('orderAgain', 'cat /c/g; ls /c', [cache('order', '/c')]);
await mounted(
  'inline',
  '/dev/pipes/EOF; ls -l /dev/pipes/EOF | cut -c1-10; (echo x >> /dev/pipes/EOF) 2>&1; true',
  [inline('/dev/pipes/EOF', '#!/bin/sh\necho ran\n')],
);
results.inlineDirectly = await step('inline-directly', [
  {
    ...exec('', { mounts: [inline('/dev/pipes/EOF', '#!/bin/sh\necho ran directly\n')] }),
    argv: ['/dev/pipes/EOF'],
  },
]);
await mounted('bindFile', '. /s; cat /p; (echo x > /p); (echo y > /s); true', [
  bind('/script', '/s', 2),
  bind('/etc/passwd', '/p'),
]);
await mounted('bindWritable', 'echo two > /w/two; rm /w/one; ls /w; echo n > /v/n; rm -r /v/sub; ls /v', [
  bind('/dir', '/w', 2, false),
  bind('/seed', '/v', 1, false),
]);
results.bindOwnCopies = await step('bind-own-copies', [
  exec('touch /w/first /v/first', { mounts: [bind('/dir', '/w', 2, false), bind('/seed', '/v', 1, false)] }),
  exec('ls /w /v', { mounts: [bind('/dir', '/w', 2, false), bind('/seed', '/v', 1, false)] }),
  exec('ls /w /v', { mounts: [bind('/dir', '/w', 2), bind('/seed', '/v')] }),
]);
await mounted('bindMissing', '', [bind('/nowhere', '/n')]);
await mounted('bindMissingFile', '', [bind('/nowhere', '/n', 2)]);
await mounted('escapeLayers', '', [bind('/escape', '/n')]);
await mounted('escapeFiles', '', [bind('/out', '/n', 2)]);
await mounted('escapeParent', '', [bind('/away/outside', '/n', 2)]);
await mounted('escapeDots', '', [bind('/../../../../outside', '/n', 2)]);
await mounted('linkWithin', '', [bind('/dir', '/m', 2), inline('/m/link', 'x')]);
results.madeByLink = existsSync(join(home, 'made-by-link'));
await mounted('withinFile', '', [inline('/f', 'x'), inline('/f/g', 'x')]);
await mounted('targetRoot', '', [{ kind: 'tmpfs', target: '/' }]);
await mounted('targetProc', '', [{ kind: 'tmpfs', target: '/proc/x' }]);
await mounted('targetLent', '', [inline('/run/tsbuild/launcher', 'x')]);
await mounted('overRun', 'ls /run; ls /run/tsbuild | grep launcher; touch /run/x', [
  { kind: 'tmpfs', target: '/run' },
]);
await mounted('overEtc', 'ls /etc; cat /etc/passwd | head -n 1', [bind('/etc', '/etc')]);
await mounted(
  'tmpfsSize',
  'df -k /t | tail -n 1 | tr -s " " | cut -d" " -f2; dd if=/dev/zero of=/t/f bs=1k count=2000 2>/dev/null; wc -c < /t/f',
  [{ kind: 'tmpfs', target: '/t', sizeBytes: 1 << 20 }],
);
await run('cwdInMount', 'pwd; ls', { cwd: '/m/sub', mounts: [bind('/seed', '/m')] });

// Nothing of a mountpoint stays, and no time changes, whatever is mounted.
await mounted(
  'stubs',
  'ls /old > /dev/null; for i in c t b f s a; do ls -d /old/$i/x; done',
  [
    cache('stubs', '/old/c/x'),
    { kind: 'tmpfs', target: '/old/t/x' },
    bind('/seed', '/old/b/x'),
    inline('/old/f/x', 'x'),
    secretMount('/old/s/x'),
    bind('/script', '/old/a/x', 2),
  ],
  { secrets },
);
await run('times', 'stat -c %Y /old /; ls /old');

// Caches.
await mounted(
  'seeded',
  'stat -c "%n %a %u:%g %Y" /c/sub /c/sub/a | sed "s/ [0-9]*$//"; stat -c %Y /c/sub; stat -c "%a %u:%g" /c; stat -c %h /c/b; cat /c/sub/a; readlink /c/passwd; echo new > /c/new; rm /c/sub/a',
  [cache('seeded', '/c', { seed: { input: 1, source: '/seed' } })],
);
await mounted('seededAgain', 'ls /c /c/sub', [
  cache('seeded', '/c', { seed: { input: 1, source: '/seed' } }),
]);
await mounted('seededFiles', 'cat /c/one', [
  cache('seeded-files', '/c', { seed: { input: 2, source: '/dir' }, sharing: 'locked' }),
]);
await mounted('seedMissing', '', [cache('seed-missing', '/c', { seed: { input: 1, source: '/nowhere' } })]);
await mounted('seedFile', '', [cache('seed-file', '/c', { seed: { input: 1, source: '/etc/passwd' } })]);
await mounted('seedEscape', '', [cache('seed-escape', '/c', { seed: { input: 2, source: '/away' } })]);
await mounted('readOnly', 'ls /c; touch /c/x 2>&1; true', [cache('order', '/c', { readOnly: true })]);
await mounted('modes', 'stat -c "%a %u:%g" /c /d', [
  cache('modes', '/c', { mode: 0o1777, uid: 1000, gid: 1001 }),
  cache('modes', '/d'),
]);

// Secrets.
await mounted(
  'secretFile',
  'od -An -tx1 /run/secrets/s 2>/dev/null || wc -c < /run/secrets/s; stat -c "%a %u:%g" /run/secrets/s /key; mount | grep -c " /run/secrets/s type tmpfs"; (echo x > /key); true',
  [secretMount('/run/secrets/s'), secretMount('/key', { mode: 0o440, uid: 1000, gid: 1001 })],
  { secrets },
);
await mounted('secretOptional', 'ls /run/secrets 2>&1; true', [
  secretMount('/run/secrets/none', { secretId: 'none', required: false }),
]);
await run(
  'secretVariables',
  'printf %s "$A" | wc -c; echo "[${B-unset}] [${C-unset}]"; echo "$A" | wc -c; echo "<$D>"; env | grep -c ^B=',
  {
    secretEnv: [
      { name: 'A', secretId: 'a', identity: '{}' },
      { name: 'B', secretId: 'none', identity: '{}', optional: true },
      { name: 'C', secretId: 'dict', identity: '{}' },
      { name: 'D', secretId: 'dict', identity: '{}' },
    ],
  },
  {
    secrets: {
      a: { kind: 'value', value: base64(Buffer.from([0xff, 0xfe, 65])) },
      dict: { kind: 'variables', values: { D: base64('dddd-dddd') } },
    },
  },
);
await run('secretNul', '', { secretEnv: [{ name: 'A', secretId: 's', identity: '{}' }] }, { secrets });
await mounted('otherOwner', 'true', [secretMount('/key', { uid: 1000 })], { secrets });

// The agent.
const socket = join(home, 'agent');
const agent = spawn('ssh-agent', ['-D', '-a', socket], { stdio: 'ignore' });
const ended = new Promise((resolve) => agent.once('close', resolve));
while (!existsSync(socket)) {
  await new Promise((resolve) => setTimeout(resolve, 10));
}
const env = { ...process.env, SSH_AUTH_SOCK: socket };
execFileSync('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-C', 'the key', '-f', join(home, 'key')]);
execFileSync('ssh-add', ['-q', join(home, 'key')], { env });
const ssh = (more: object = {}): Mount => ({
  kind: 'ssh',
  id: 'default',
  target: '/run/buildkit/ssh_agent.0',
  mode: 0o600,
  uid: 0,
  gid: 0,
  required: true,
  ...more,
});
const agents = { default: { path: socket, raw: false } };
await mounted(
  'ssh',
  'echo $SSH_AUTH_SOCK; stat -c "%F %a %u:%g" $SSH_AUTH_SOCK; ssh-add -l | cut -d" " -f3-; ssh-add -T /run/key.pub && echo signed; ssh-add -D 2>&1; ssh-add -x < /dev/null > /dev/null 2>&1 || echo no lock; ssh-add -l | wc -l',
  [ssh(), inline('/run/key.pub', readFileSync(join(home, 'key.pub'), 'utf8'), 0o644)],
  { agents },
);
await run(
  'sshUser',
  'ssh-add -l | cut -d" " -f3-; id -u',
  {
    user: 'app',
    mounts: [ssh({ uid: 1000, gid: 1000 })],
  },
  { agents },
);
// Between users that are only recorded nothing is denied.
if (!single) {
  await run('sshOtherUser', 'ssh-add -l 2>&1; true', { user: 'app', mounts: [ssh()] }, { agents });
}
await mounted('sshAbsent', 'echo "${SSH_AUTH_SOCK-unset}"; ls /run/buildkit 2>&1; true', [
  ssh({ required: false }),
]);
await mounted('sshRaw', 'ssh-add -D 2>&1; ssh-add -l 2>&1; true', [ssh()], {
  agents: { default: { path: socket, raw: true } },
});
agent.kill();
await ended;
await mounted('sshDead', 'ssh-add -l 2>&1; true', [ssh()], { agents });

// The sandbox.
await run(
  'names',
  'hostname; cat /proc/sys/kernel/hostname; grep -h "db\\|me" /etc/hosts; head -n 1 /etc/hosts',
  {
    hostname: 'me',
    extraHosts: [
      ['db', '10.0.0.7'],
      ['six', 'fd00::1'],
    ],
    network: 'none',
  },
);
await run(
  'shm',
  'df -k /dev/shm | tail -n 1 | tr -s " " | cut -d" " -f2; touch /dev/shm/x; stat -c %a /dev/shm',
  {
    shmSizeBytes: 2 << 20,
  },
);
await run('ulimits', 'ulimit -n; ulimit -Hn; ulimit -c', {
  ulimits: [
    { name: 'nofile', soft: 100, hard: 200 },
    { name: 'core', soft: 0, hard: 0 },
  ],
});
await run('ulimitsNow', 'ulimit -Hn');
const hardest = Number((results.ulimitsNow as Done).lines[0]);
await run('ulimitTooHigh', 'true', { ulimits: [{ name: 'nofile', soft: 10, hard: hardest + 1 }] });
await run('ulimitUnknown', 'true', { ulimits: [{ name: 'nothing', soft: 1, hard: 1 }] });
await run('ulimitReversed', 'true', { ulimits: [{ name: 'nofile', soft: 20, hard: 10 }] });
const look =
  'grep CapBnd /proc/self/status; mkdir -p /mnt; mount -t tmpfs x /mnt 2>/dev/null && touch /mnt/x && echo mounted; mount | grep -c "on /proc/acpi\\|on /sys/firmware\\|on /proc/fs"; ls /dev/pipes';
await mounted('secure', look, [inline('/dev/pipes/A', 'x')]);
await run('insecure', look, { security: 'insecure', mounts: [inline('/dev/pipes/A', 'x')] });
await run('insecureUser', 'id -u; grep CapEff /proc/self/status', {
  security: 'insecure',
  user: 'app',
});
await run('secureUser', 'grep CapEff /proc/self/status', { user: 'app' });
results.hostPipes = existsSync('/dev/pipes');

// Devices.
for (const dir of cdiDirs) {
  mkdirSync(dir);
}
mkdirSync(join(home, 'driver'));
writeFileSync(join(home, 'driver/libfake.so.999'), 'library\n');
writeFileSync(join(home, 'driver/tool'), '#!/bin/sh\necho tool\n', { mode: 0o755 });
symlinkSync('libfake.so.999', join(home, 'driver/link'));
writeFileSync(
  join(cdiDirs[0] as string, 'one.yaml'),
  `cdiVersion: "0.6.0"
kind: vendor.example/net
annotations: { org.mobyproject.buildkit.device.class: accelerator }
containerEdits:
  env: ["COMMON=1"]
  mounts:
    - { hostPath: ${home}/driver/libfake.so.999, containerPath: /usr/lib/fake/libfake.so.999, options: [ro, nosuid, nodev, bind] }
    - { hostPath: ${home}/driver/tool, containerPath: /usr/bin/tool, options: [ro] }
    - { hostPath: ${home}/driver, containerPath: /opt/driver, options: [ro] }
  hooks:
    - { hookName: createContainer, path: /usr/bin/nvidia-cdi-hook, args: [nvidia-cdi-hook, create-symlinks, --link, "libfake.so.999::/usr/lib/fake/libfake.so.1", --link, "/usr/bin/tool::/usr/local/bin/other"] }
    - { hookName: createContainer, path: /usr/bin/nvidia-cdi-hook, args: [nvidia-cdi-hook, update-ldcache, --folder, /usr/lib/fake] }
devices:
  - name: "0"
    containerEdits: { deviceNodes: [{ path: /dev/fake0, hostPath: /dev/zero }], env: ["DEVICE=0"] }
  - name: "1"
    containerEdits: { deviceNodes: [{ path: /dev/fakes/one, hostPath: /dev/zero }] }
  - name: gone
    containerEdits: { deviceNodes: [{ path: /dev/never, hostPath: ${home}/no-such-node }] }
`,
);
await run(
  'device',
  'head -c 2 /dev/fake0 | wc -c; echo $COMMON $DEVICE; tool; other; command -v tool; ls /usr/bin/tool 2>&1; touch /opt/driver/x 2>&1; ls $LD_LIBRARY_PATH; readlink $LD_LIBRARY_PATH/libfake.so.1; cat $LD_LIBRARY_PATH/libfake.so.1; ls /usr/lib/fake 2>&1; ls /dev/fakes 2>&1; true',
  {
    env: [['COMMON', 'mine']],
    devices: [{ name: 'vendor.example/net=0', required: true }],
  },
);
await run('deviceAll', 'ls /dev/fake0 /dev/fakes/one; echo $LD_LIBRARY_PATH', {
  env: [['LD_LIBRARY_PATH', '/mine']],
  devices: [
    { name: 'vendor.example/net=1', required: true },
    { name: 'vendor.example/net', required: true },
  ],
});
await run('deviceMissing', 'true', { devices: [{ name: 'vendor.example/other=0', required: true }] });
await run('deviceOptional', 'echo went on', {
  devices: [
    { name: 'vendor.example/other=0', required: false },
    { name: 'vendor.example/net=gone', required: false },
  ],
});
writeFileSync(
  join(cdiDirs[1] as string, 'odd.json'),
  JSON.stringify({
    cdiVersion: '0.3.0',
    kind: 'vendor.example/odd',
    devices: [{ name: 'a' }],
    containerEdits: { hooks: [{ hookName: 'createContainer', path: '/opt/hook', args: ['hook', 'dance'] }] },
  }),
);
await run('deviceHook', 'true', { devices: [{ name: 'vendor.example/odd=a', required: true }] });
await run('deviceNodeMissing', 'true', { devices: [{ name: 'vendor.example/net=gone', required: true }] });

// GPUs: two, each described by its number and by its UUID.
const gpus = [0, 1].flatMap((number) => {
  const containerEdits = {
    deviceNodes: [{ path: `/dev/nvidia${number}`, hostPath: ['/dev/zero', '/dev/full'][number] }],
  };
  return [
    { name: String(number), containerEdits },
    { name: `GPU-${number}`, containerEdits },
  ];
});
writeFileSync(
  join(cdiDirs[1] as string, 'gpu.json'),
  JSON.stringify({
    cdiVersion: '0.5.0',
    kind: 'nvidia.com/gpu',
    devices: gpus,
    containerEdits: {
      env: ['NVIDIA_VISIBLE_DEVICES=void'],
      mounts: [
        {
          hostPath: join(home, 'driver/tool'),
          containerPath: '/usr/bin/nvidia-smi',
          options: ['ro', 'bind'],
        },
        // As the driver's parameters are: a file of the step's own `/proc`, one of the few that runc takes.
        { hostPath: join(home, 'driver/tool'), containerPath: '/proc/uptime', options: ['ro', 'bind'] },
      ],
    },
  }),
);
const seeGpus =
  'ls /dev/nvidia* | tr "\n" " "; nvidia-smi; cmp /proc/uptime $(command -v nvidia-smi) && echo covered; touch $(command -v nvidia-smi) 2>&1; echo $NVIDIA_VISIBLE_DEVICES $NVIDIA_DRIVER_CAPABILITIES';
const gpuEnv: ExecAction['env'] = [['NVIDIA_VISIBLE_DEVICES', 'all']];
await run('gpuAll', seeGpus, { env: gpuEnv, gpus: [{ type: 'ANY', count: 2 }] });
await run('gpuType', seeGpus, { env: gpuEnv, gpus: [{ type: 'H100', count: 1 }] });
await run('gpuStrict', 'true', { gpus: [{ type: 'H100', count: 1 }] }, { gpuPolicy: 'strict' });
await run('gpuTooMany', 'true', { gpus: [{ type: 'ANY', count: 3 }] });
await run(
  'gpuIgnored',
  'ls /dev/nvidia* 2>&1 | wc -l',
  { gpus: [{ type: 'H100', count: 1 }] },
  { gpuPolicy: 'ignore' },
);
results.gpuLate = await step('gpuLate', [
  exec('echo ran'),
  exec('true', { gpus: [{ type: 'ANY', count: 3 }] }),
]);

// Cache mounts by id.
const call = async (work: () => Promise<unknown>) => {
  try {
    return await work();
  } catch (error) {
    const { code, message } = error as TsbuildError;
    return { code, message };
  }
};
const archive = join(home, 'cache.tar');
results.exported = await call(() =>
  worker.call('exportMount', { id: 'seeded', output: archive, compression: 'none' }, { signal }),
);
results.archive = execFileSync('tar', ['--numeric-owner', '-tvf', archive], { encoding: 'utf8' })
  .trim()
  .split('\n')
  .map((line) => line.replace(/ +\d+ \d{4}-\d\d-\d\d \d\d:\d\d/, ''));
results.archiveOwner = statSync(archive).uid === process.getuid?.();
results.imported = await call(() =>
  worker.call('importMount', { id: 'imported', input: archive }, { signal }),
);
await mounted('importedSeen', 'stat -c "%n %a %u:%g" /c /c/sub /c/new; ls /c', [cache('imported', '/c')]);
writeFileSync(join(home, 'no-archive'), 'nonsense '.repeat(1000));
results.importBad = await call(() =>
  worker.call('importMount', { id: 'imported', input: join(home, 'no-archive') }, { signal }),
);
results.importAbsent = await call(() =>
  worker.call('importMount', { id: 'imported', input: join(home, 'absent') }, { signal }),
);
await mounted('importedStill', 'ls /c', [cache('imported', '/c')]);
results.list = (await worker.call('listMounts', {}, { signal })).mounts.map(
  ({ id, sizeBytes, copies, inUse, usedMs }) => [
    id,
    sizeBytes,
    copies,
    inUse,
    usedMs > Date.now() - 3_600_000,
  ],
);
results.exportUnknown = await call(() =>
  worker.call('exportMount', { id: 'unknown', output: archive, compression: 'none' }, { signal }),
);
results.removeUnknown = await call(() =>
  worker.call('removeMounts', { ids: ['modes', 'unknown'], whenInUse: 'refuse' }, { signal }),
);
let begun: () => void = () => undefined;
const started = new Promise<void>((resolve) => {
  begun = resolve;
});
const using = worker.call(
  'step',
  {
    layer: 'using' as LayerId,
    parents: [...layers],
    actions: [
      exec('echo begun; while [ ! -e /c/stop ]; do sleep 0.05; done; echo mine > /c/late; ls /c', {
        mounts: [cache('busy', '/c')],
      }),
    ],
    inputs: [{ kind: 'none' }],
    secrets: {},
    logPath: join(storeDir, 'logs', 'using.log'),
    lentEnv: {},
  },
  { signal, onEvent: (event) => event.kind === 'log' && event.text === 'begun' && begun() },
);
await started;
results.busy = [
  await call(() => worker.call('removeMounts', { ids: ['busy'], whenInUse: 'refuse' }, { signal })),
  await call(() =>
    worker.call('exportMount', { id: 'busy', output: archive, compression: 'none' }, { signal }),
  ),
  await call(() => worker.call('importMount', { id: 'busy', input: archive }, { signal })),
  await call(() => worker.call('removeMounts', { ids: ['busy'], whenInUse: 'keep' }, { signal })),
];
results.detached = await call(() =>
  worker.call('removeMounts', { ids: ['busy'], whenInUse: 'detach' }, { signal }),
);
await mounted('afterDetach', 'ls /c; touch /c/fresh', [cache('busy', '/c')]);
const busyDir = join(storeDir, 'mounts/busy');
const gone = readdirSync(busyDir).find((name) => name.startsWith('gone-')) ?? '';
if (worker.hello.idMode === 'root' || lstatSync(join(busyDir, gone)).uid === process.getuid?.()) {
  writeFileSync(join(busyDir, gone, 'stop'), '');
}
await using;
results.removed = await call(() =>
  worker.call('removeMounts', { ids: ['busy', 'seeded', 'modes'], whenInUse: 'refuse' }, { signal }),
);
results.busyLeft = readdirSync(busyDir).filter((name) => /data/.test(name));
results.listAfter = (await worker.call('listMounts', {}, { signal })).mounts.map(({ id }) => id);

let terminal = '';
await worker.call(
  'run',
  {
    layers: [...layers],
    argv: [
      '/bin/sh',
      '-c',
      'tty; stat -c "%u %a" "$(tty)"; read line </dev/tty; echo "got $line" >/dev/console',
    ],
    env: [['PATH', '/bin']],
    cwd: '/',
    user: single ? '' : 'app',
    network: 'host',
    files: [],
    secretValues: [],
    input: { terminal: { columns: 80, rows: 24 } },
  },
  {
    signal,
    onSession: (send) => send({ kind: 'input', base64: Buffer.from('typed\r').toString('base64') }),
    onEvent: (event) => {
      terminal += event.kind === 'output' ? Buffer.from(event.base64, 'base64').toString() : '';
    },
  },
);
results.terminal = terminal.split('\r\n');

await worker.close();
results.tmp = readdirSync(join(storeDir, 'tmp'));
results.driverLink = readlinkSync(join(home, 'driver/link'));
console.log(JSON.stringify(results));
