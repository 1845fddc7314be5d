/** Run as some user with a store: what a step may do and how it ends in each sandbox, and what is left of it. */

import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { TsbuildError } from '../../src/errors.ts';
import type { ExecAction } from '../../src/graph/action.ts';
import type { LayerId } from '../../src/solver/op.ts';
import { startWorker } from '../../src/worker/client.ts';
import type { HelloParams, Worker } from '../../src/worker/protocol.ts';
import { busyboxBase } from './busybox-root.ts';
import { execAction } from './exec-action.ts';

const [storeDir = '', ...sandboxes] = process.argv.slice(2);
const forever = new AbortController().signal;

interface Ran {
  readonly lines: string[];
  readonly error?: { readonly code: string; readonly message: string; readonly hint?: string };
  /** What the log says besides. */
  readonly notes: string[];
}

class Bench {
  readonly #worker: Worker;
  readonly #name: string;

  constructor(worker: Worker, name: string) {
    this.#worker = worker;
    this.#name = name;
  }

  /** What all sandboxes share. */
  async base(): Promise<void> {
    const base = busyboxBase();
    await this.#worker.call(
      'step',
      {
        layer: 'base' as LayerId,
        parents: [],
        actions: [
          ...base.actions,
          exec('cp /bin/busybox /usr/bin/su && chmod 4755 /usr/bin/su; sed -i s/root:x:/root::/ /etc/passwd'),
        ],
        inputs: [{ kind: 'none' }, { kind: 'files', files: base.files }],
        secrets: {},
        lentEnv: {},
        logPath: join(storeDir, 'logs/base.log'),
      },
      { signal: forever },
    );
    await this.#worker.call(
      'step',
      {
        layer: 'sudo' as LayerId,
        parents: ['base' as LayerId],
        actions: [exec('cp -p /usr/bin/su /usr/bin/sudo')],
        inputs: [{ kind: 'none' }],
        secrets: {},
        lentEnv: {},
        logPath: join(storeDir, 'logs/sudo.log'),
      },
      { signal: forever },
    );
  }

  async run(
    name: string,
    action: ExecAction,
    { parents = ['base'], signal = forever, onLine = (_: string) => {} } = {},
  ): Promise<Ran> {
    const lines: string[] = [];
    const logPath = join(storeDir, 'logs', `${this.#name}-${name}.log`);
    const notes = () =>
      existsSync(logPath)
        ? readFileSync(logPath, 'utf8')
            .split('\n')
            .flatMap((line) => /^\d+ tsbuild (the sandbox .*)$/.exec(line)?.[1] ?? [])
        : [];
    try {
      await this.#worker.call(
        'step',
        {
          layer: `${this.#name}-${name}` as LayerId,
          parents: parents as LayerId[],
          actions: [action],
          inputs: [{ kind: 'none' }],
          secrets: {},
          lentEnv: {},
          logPath,
        },
        {
          signal,
          onEvent: (event) => {
            if (event.kind === 'log') {
              lines.push(event.text);
              onLine(event.text);
            }
          },
        },
      );
      return { lines, notes: notes() };
    } catch (error) {
      const { code, message, hint } = error as TsbuildError;
      return { lines, notes: notes(), error: { code, message, ...(hint === undefined ? {} : { hint }) } };
    }
  }
}

function exec(script: string, more: Partial<ExecAction> = {}): ExecAction {
  return execAction(['/bin/sh', '-c', script], more);
}

/** Command lines of living processes that hold the text. */
function commandsWith(text: string): string[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name) && Number(name) !== process.pid)
    .flatMap((pid) => {
      try {
        const line = readFileSync(`/proc/${pid}/cmdline`, 'utf8');
        return line.includes(text) ? [`${pid} ${line.replaceAll('\0', ' ')}`] : [];
      } catch {
        // It ended while we looked.
        return [];
      }
    });
}

/** Bundles, state and mounts of the sandboxes in the worker's own memory, which nobody else sees. */
function left(): string[] {
  const pids = commandsWith('worker/main').map((line) => line.split(' ')[0] ?? '');
  const inside = pids.find((pid) => mountsOf(pid).includes(storeDir));
  if (inside === undefined) {
    throw new Error('the worker is not there');
  }
  const mounts = mountsOf(inside)
    .split('\n')
    .map((line) => line.split(' ')[4] ?? '')
    .filter((path) => path.includes(storeDir));
  const memory = mounts.find((path) => path.endsWith('/memory')) ?? '';
  const files = readdirSync(`/proc/${inside}/root${memory}`, { recursive: true, encoding: 'utf8' });
  return [...files.filter((path) => !path.startsWith('common')), ...mounts.filter((path) => path !== memory)];
}

function mountsOf(pid: string): string {
  try {
    return readFileSync(`/proc/${pid}/mountinfo`, 'utf8');
  } catch {
    // Another's, which has just ended.
    return '';
  }
}

/** How long nothing else on this machine sleeps. */
const ages = (number: number) => `${number}${process.pid}`;
const sleepers = (number: number) => commandsWith(`sleep\0${ages(number)}`).length;
const status = (field: string) => `grep ${field} /proc/self/status | tr '\\t' ' '`;
const results: Record<string, unknown> = {};
for (const sandbox of sandboxes) {
  const worker = await startWorker({
    storeDir,
    snapshotter: 'auto',
    hostTrust: { proxies: {}, mirrors: {} },
    sandbox: sandbox as HelloParams['sandbox'],
    signal: forever,
  });
  const bench = new Bench(worker, sandbox);
  await bench.base();
  // What is there for all steps.
  const before = left();
  const app = { user: worker.hello.idMode === 'single' ? '' : 'app' };
  const run = (name: string, script: string, more: Partial<ExecAction> = {}, where = {}) =>
    bench.run(name, exec(script, more), where);
  const found: Record<string, unknown> = {};
  results[sandbox] = found;

  if (sandbox === 'auto') {
    found.plain = await run('plain', status('NoNewPrivs'), app);
    found.sudo = await run('sudo', status('NoNewPrivs'), app, { parents: ['base', 'sudo'] });
    found.sudoAsRoot = await run('sudoAsRoot', status('NoNewPrivs'), {}, { parents: ['base', 'sudo'] });
    found.insecure = await run('insecure', status('NoNewPrivs'), { security: 'insecure' });
    await worker.close();
    continue;
  }

  // New privileges.
  found.setUserId = await run('setUserId', '/usr/bin/su root -c "id -u; id -g" 2>&1', app);
  found.privileges = await run('privileges', `${status('NoNewPrivs')}; ${status('Cap')}`);
  found.privilegesOfSupervisor = await run(
    'privilegesOfSupervisor',
    "grep -E '^Cap(Inh|Prm|Eff|Bnd|Amb):' /proc/1/status | tr '\\t' ' '",
  );
  found.privilegesOfUser = await run('privilegesOfUser', `${status('Groups')}; ${status('Cap')}`, app);

  // What is seen.
  found.loopback = await run(
    'loopback',
    'ip -o addr show lo | grep -c "inet 127.0.0.1/8"; ip -o link | wc -l; busybox ping -c 1 127.0.0.1 | grep -c "1 packets received"',
    {
      network: 'none',
    },
  );
  found.descriptors = await run(
    'descriptors',
    'ls /proc/self/fd | wc -l; test -e /proc/1/fd/3 || echo closed',
  );
  found.devices = await run(
    'devices',
    'for d in / /tmp /dev /dev/shm; do mknod $d/node c 1 5 2>/dev/null && [ "$(head -c 1 $d/node 2>/dev/null | wc -c)" = 1 ] && echo OPENED $d; rm -f $d/node; done; ls /dev; stat -c "%a %F" /dev /dev/shm /dev/pts; echo x > /dev/null && head -c 2 /dev/zero | wc -c; echo in | cat /dev/stdin; ls -l /dev/fd /dev/ptmx | sed "s/.* //"',
  );
  found.groups = await run(
    'groups',
    'cat /proc/self/cgroup; for d in /sys/fs/cgroup /sys/fs/cgroup/*/; do mkdir $d/mine 2>/dev/null && echo MADE $d; done; true',
  );
  found.names = await run('names', 'hostname; tr "\\0" " " < /proc/1/cmdline; echo; pwd; umask; env');
  found.kernel = await run(
    'kernel',
    'for f in sys/kernel/core_pattern sys/vm/swappiness sysrq-trigger; do echo x 2>/dev/null > /proc/$f && echo CHANGED $f; done; cat /proc/kcore /proc/keys 2>/dev/null | wc -c; ls /sys/firmware | wc -l; mkdir /sys/x 2>&1; test -w /proc/bus && echo WRITABLE; true',
  );

  // How it ends.
  found.status = await run('status', 'exit 7');
  found.signal = await run('signal', 'kill -SEGV $$');
  found.missing = await bench.run('missing', { ...exec(''), argv: ['/no/such'] });
  found.timeout = await run('timeout', 'echo begun; sleep 1000 & sleep 1000', { timeoutMs: 300 });
  const many = await run(
    'many',
    'i=0; while [ $i -lt 4000 ]; do echo "line $i of a lot of output"; i=$((i+1)); done',
  );
  found.many = [many.lines.length, many.lines.at(-1)];
  found.left = await run('left', `sleep ${ages(71)} >/dev/null 2>&1 & echo over`);
  found.daemons = sleepers(71);

  // Cancelled while it runs, and at instants at which the sandbox is only half made.
  const cancelled: string[] = [];
  for (const delayMs of [undefined, 0, 4, 8, 16, 24, 32]) {
    const controller = new AbortController();
    if (delayMs !== undefined) {
      setTimeout(() => controller.abort(new Error('enough')), delayMs);
    }
    const { error } = await run(
      `cancel${delayMs ?? ''}`,
      `echo begun; sleep ${ages(72)}`,
      {},
      {
        signal: controller.signal,
        onLine: () => controller.abort(new Error('enough')),
      },
    );
    cancelled.push(error?.message ?? 'it ended');
  }
  found.cancelled = cancelled;
  found.afterCancel = sleepers(72);

  if (sandbox !== 'bubblewrap') {
    // Somebody kills the runtime itself.
    const killed = await run(
      'killed',
      `echo begun; sleep ${ages(73)}`,
      {},
      {
        onLine: () => {
          for (const line of commandsWith(storeDir).filter((line) => line.includes(`${sandbox}-step`))) {
            process.kill(Number(line.split(' ')[0]), 'SIGKILL');
          }
        },
      },
    );
    found.killed = killed.error;
    found.afterKill = sleepers(73);
  }
  found.leftovers = left().filter((path) => path !== sandbox && !before.includes(path));
  await worker.close();
}
console.log(JSON.stringify(results));
