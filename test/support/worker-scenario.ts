/** Run as some user with a store and a snapshotter: does many things with one worker and prints what came of them. */

import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { TsbuildError } from '../../src/errors.ts';
import type { Action, ExecAction } from '../../src/graph/action.ts';
import { ROOT_OWNER } from '../../src/graph/action.ts';
import type { LayerId } from '../../src/solver/op.ts';
import { startWorker } from '../../src/worker/client.ts';
import type { StepInput, StepParams, WorkerEvent } from '../../src/worker/protocol.ts';
import { busyboxBase } from './busybox-root.ts';
import { execAction } from './exec-action.ts';

const [storeDir = '', snapshotter = 'auto', isolation = 'auto'] = process.argv.slice(2);
const bundle = join(storeDir, '..', 'bundle.pem');
writeFileSync(bundle, '-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----\n');
const signal = new AbortController().signal;
const worker = await startWorker({
  storeDir,
  snapshotter: snapshotter as 'auto' | 'overlay' | 'copy',
  isolation: isolation as 'auto' | 'chroot',
  hostTrust: { caBundles: [bundle], proxies: { http_proxy: 'http://proxy.test:1' }, mirrors: {} },
  signal,
});
const layers: LayerId[] = [];

const exec = (script: string, more: Partial<ExecAction> = {}): ExecAction =>
  execAction(['/bin/sh', '-c', script], more);

interface Done {
  readonly lines: string[];
  readonly empty?: boolean;
  readonly existed?: boolean;
  readonly error?: Record<string, unknown>;
}

async function step(
  name: string,
  actions: readonly Action[],
  more: Partial<StepParams> = {},
  own: AbortSignal = signal,
): Promise<Done> {
  const lines: string[] = [];
  const onEvent = (event: WorkerEvent) => {
    if (event.kind === 'log') {
      lines.push(`${event.stream}: ${event.text}`);
    }
  };
  const layer = name as LayerId;
  const params: StepParams = {
    layer,
    parents: [...layers],
    actions,
    inputs: [{ kind: 'none' }],
    secrets: {},
    logPath: join(storeDir, 'logs', `${name}.log`),
    lentEnv: { TSBUILD_IS_BUILD: '1' },
    ...more,
  };
  try {
    const result = await worker.call('step', params, { signal: own, onEvent });
    layers.push(layer);
    return { lines, ...result };
  } catch (error) {
    const {
      code,
      message,
      hint,
      reason,
      exitCode,
      signal: by,
      logTail,
    } = error as TsbuildError & Record<string, unknown>;
    return {
      lines,
      error: { name: (error as Error).name, code, message, hint, reason, exitCode, signal: by, logTail },
    };
  }
}

const results: Record<string, unknown> = { hello: worker.hello };
const base = busyboxBase();
results.base = await step('base', base.actions, {
  inputs: [{ kind: 'none' }, { kind: 'files', files: base.files }],
});
results.nothing = await step('nothing', [exec('true')]);
results.nothingFiles = readdirSync(join(storeDir, 'snapshots/nothing/fs'));
results.again = await step('nothing', [exec('false')]);
layers.pop();
results.facts = await step('facts', [
  exec(
    'id -u; umask; hostname; pwd; echo $HOME; echo $IMAGE $TSBUILD_IS_BUILD $http_proxy $SSL_CERT_FILE; echo "$PATH"; readlink /dev/fd; echo x > /dev/stdout; echo e >&2; grep CapBnd /proc/self/status; touch /proc/sys/x 2>/dev/null || echo ro; cat /run/tsbuild/ca-certificates.crt | head -n 1; cat < /dev/stdin | wc -c',
    {
      env: [
        ['IMAGE', 'yes'],
        ['http_proxy', 'mine'],
      ],
      cwd: '/made/here',
    },
  ),
]);
results.user = await step('user', [
  exec('id -u; id -G; echo $HOME; touch /tmp/f; echo hi > /dev/stdout', { user: 'app' }),
]);
results.status = await step('status', [exec('echo out; echo last >&2; exit 7')]);
results.signal = await step('signal', [exec('kill -SEGV $$')]);
results.timeout = await step('timeout', [exec('sleep 100', { timeoutMs: 300 })]);
results.notFound = await step('not-found', [{ ...exec(''), argv: ['no-such-program'] }]);
results.notExecutable = await step('not-executable', [{ ...exec(''), argv: ['/etc/passwd'] }]);
results.daemon = await step('daemon', [
  exec('(setsid sh -c "while true; do date > /beat; sleep 0.01; done" &) ; sleep 0.1'),
]);
results.noNetwork = await step('no-network', [
  exec('ip link | grep -c ^[0-9]; ip link | grep -c "lo.*UP"', { network: 'none' }),
]);
results.secret = await step(
  'secret',
  [
    exec('printf "%s" "$TOKEN" | cut -c1-5; printf "%s-" "$TOKEN"; cat /run/secrets/one; ls /run/secrets', {
      secretEnv: [{ name: 'TOKEN', secretId: 's', identity: '{}' }],
      mounts: [
        {
          kind: 'secret',
          secretId: 's',
          identity: '{}',
          target: '/run/secrets/one',
          mode: 0o400,
          uid: 0,
          gid: 0,
          required: true,
        },
      ],
    }),
    exec('echo "${TOKEN:-unset}"; ls -d /run/secrets 2>&1; true'),
  ],
  {
    secrets: {
      s: {
        kind: 'variables',
        values: { TOKEN: Buffer.from('hunter2-very-secret').toString('base64') },
      },
    },
  },
);
results.secretLog =
  existsSync(join(storeDir, 'logs/secret.log')) && readFileSync(join(storeDir, 'logs/secret.log'), 'utf8');
const cache = { kind: 'cache', id: 'a/b', target: '/var/cache/x', sharing: 'locked' } as const;
results.cacheWrite = await step('cache-write', [exec('echo kept > /var/cache/x/f', { mounts: [cache] })]);
results.cacheRead = await step('cache-read', [
  exec('cat /var/cache/x/f; rm -rf /var/cache/x/*', { mounts: [cache] }),
]);
results.cacheEmpty = readdirSync(join(storeDir, 'snapshots/cache-write/fs'));
results.tmpfs = await step('tmpfs', [
  exec('echo a > /scratch/f; mount | grep -c "/scratch type tmpfs"', {
    mounts: [{ kind: 'tmpfs', target: '/scratch' }],
  }),
]);
const other: StepInput = { kind: 'layers', layers: layers.slice(0, 1) };
results.bind = await step(
  'bind',
  [
    exec('head -n 1 /other/passwd; touch /other/x 2>&1; true', {
      mounts: [{ kind: 'bind', input: 1, source: '/etc', target: '/other', readOnly: true }],
    }),
  ],
  { inputs: [{ kind: 'none' }, other] },
);
results.copyFrom = await step(
  'copy-from',
  [
    {
      kind: 'copy',
      input: 1,
      source: '/etc',
      destination: '/copied/etc',
      owner: ROOT_OWNER,
      modes: 'keep',
      times: 'epoch',
    },
    {
      kind: 'copy',
      input: 1,
      source: '/etc/passwd',
      destination: '/copied/',
      owner: ROOT_OWNER,
      modes: 'normalise',
      times: 'epoch',
    },
    { kind: 'rm', path: '/copied/etc/group', allowMissing: false },
    exec('ls -l /copied /copied/etc | grep -v total'),
  ],
  { inputs: [{ kind: 'none' }, other] },
);
results.missing = await step('missing', [{ kind: 'rm', path: '/nope', allowMissing: false }]);
results.opaque = await step('opaque', [
  exec('rm -rf /copied && mkdir /copied && ls /copied | wc -l; rm -rf /sys /var/cache 2>/dev/null; true'),
]);
const own = new AbortController();
const cancelled = step('cancelled', [exec('sleep 100')], {}, own.signal);
setTimeout(() => own.abort(new Error('stop')), 300);
results.cancelled = await cancelled;
results.read = await worker.call('readFile', { layers, path: '/etc/passwd', maxBytes: 5000 }, { signal });
results.exists = [
  await worker.call('exists', { layers, path: '/bin/sh' }, { signal }),
  await worker.call('exists', { layers, path: '/copied/passwd' }, { signal }),
];
results.big = (
  await step('big', [
    exec(
      'i=0; while [ $i -lt 3000 ]; do echo "line number $i"; i=$((i+1)); done; head -c 200000 /dev/zero | tr "\\0" x',
    ),
  ])
).lines.reduce((sum, line) => sum + line.length - 8, 0);
results.bigLog = readFileSync(join(storeDir, 'logs/big.log'), 'utf8').split('\n').length;
await worker.close();
results.tmp = readdirSync(join(storeDir, 'tmp'));
console.log(JSON.stringify(results));
