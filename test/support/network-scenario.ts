/** Run as some user with a store: what programs reach in each network, and what is left of it. Prints JSON. */

import { execFileSync } from 'node:child_process';
import { mkdirSync, readdirSync, readFileSync, readlinkSync, symlinkSync } from 'node:fs';
import { createServer, type Server } from 'node:net';
import { join } from 'node:path';
import { Engine, type EngineOptions } from '../../src/engine.ts';
import { TsbuildError } from '../../src/errors.ts';
import type { BuildEvent } from '../../src/solver/event.ts';
import { busyboxImage } from './busybox.ts';
import { makeCompanyCa } from './company-ca.ts';

const [storeDir = '', address = ''] = process.argv.slice(2);

/** Says who it is to everybody who asks. */
async function greet(
  host: string,
  word: string,
): Promise<{ readonly server: Server; readonly port: number }> {
  const server = createServer((socket) => {
    socket.on('error', () => undefined);
    // Neither side ends at once: the pasta of 2023 loses the end of a connection that ends as it begins.
    socket.once('data', () => socket.end(`${word}\n`));
  });
  await new Promise<void>((resolve) => server.listen(0, host, resolve));
  return { server, port: (server.address() as { port: number }).port };
}

const far = await greet(address, 'far');
const near = await greet('127.0.0.1', 'near');
const SCRIPT = `
  ask() { { echo hello; usleep 200000; } | timeout 5 nc -w 1 "$1" "$2" 2>/dev/null; }
  echo namespace=$(readlink /proc/self/ns/net)
  echo interfaces=$(ls /sys/class/net)
  echo far=$(ask ${address} ${far.port})
  echo near=$(ask 127.0.0.1 ${near.port})
  echo gateway=$(ask 10.0.2.2 ${near.port})
  echo resolved=$(timeout 3 nslookup -type=a some.name.test 2>/dev/null | grep -c 192.0.2.77)
  echo resolver=$(grep -c ^nameserver /etc/resolv.conf)
`;
/** The loopback interface of a namespace that is nobody else's. */
const OWN = `${SCRIPT}
  # Who connects and leaves before it has read takes the answer of one.
  (while true; do echo itself | nc -l -p 7777 >/dev/null; done) &
  for i in 1 2 3 4 5 6 7 8 9 10; do
    found=$(timeout 2 nc -w 1 127.0.0.1 7777 </dev/null 2>/dev/null)
    [ -n "$found" ] && break
    usleep 50000
  done
  echo own=$found
`;

const events: BuildEvent[] = [];
const open = (options: EngineOptions = {}) =>
  Engine.open({
    storeDir,
    env: { PATH: process.env.PATH },
    hostCa: 'never',
    onEvent: (event) => events.push(event),
    ...options,
  });
const facts = (text: string) =>
  Object.fromEntries(
    text
      .trim()
      .split('\n')
      .map((line) => [line.slice(0, line.indexOf('=')), line.slice(line.indexOf('=') + 1).trim()]),
  );
const codes = () =>
  events.flatMap((event) =>
    event.kind === 'warning' && event.code !== 'W_ISOLATION_SINGLE_ID' ? [event.code] : [],
  );
const pastas = () =>
  readdirSync('/proc').filter((pid) => {
    try {
      return (
        /^\d+$/.test(pid) &&
        readFileSync(`/proc/${pid}/cmdline`, 'latin1').startsWith('pasta\0') &&
        readFileSync(`/proc/${pid}/cmdline`, 'latin1').includes(storeDir)
      );
    } catch {
      return false;
    }
  });

const results: Record<string, unknown> = { host: readlinkSync('/proc/self/ns/net') };
const image = busyboxImage();
{
  await using engine = await open();
  for (const network of ['host', 'none', 'private'] as const) {
    const { stdout } = await engine.run(image, ['sh', '-c', network === 'host' ? SCRIPT : OWN], { network });
    results[`run-${network}`] = facts(String(stdout));
  }
  // Several at a time have the same addresses and do not meet.
  const both = await Promise.all(
    [1, 2].map((each) =>
      engine.run(
        image,
        [
          'sh',
          '-c',
          `echo far${each}=$({ echo hello; usleep 200000; } | timeout 5 nc -w 1 ${address} ${far.port})`,
        ],
        {
          network: 'private',
        },
      ),
    ),
  );
  results.both = both.map(({ stdout }) => String(stdout).trim());
  const controller = new AbortController();
  results.cancelled = await engine
    .run(image, ['sh', '-c', 'echo started; sleep 60'], {
      network: 'private',
      signal: controller.signal,
      onOutput: () => controller.abort(),
    })
    .then(
      () => 'ended',
      () => 'cancelled',
    );
  results.left = pastas();
}
const step = image.runCommands('echo same > /file; env | grep -ic -e _proxy= -e ca-certificates.crt || true');
{
  // Nothing of how the network is reached counts.
  await using engine = await open();
  const [plain] = await engine.build([step]);
  results.id = plain?.id;
  results.files = await engine.listFiles(step, '/');
}
{
  const bundle = makeCompanyCa(join(storeDir, '..')).path;
  await using engine = await open({
    network: 'private',
    hostCa: 'always',
    env: { PATH: process.env.PATH, http_proxy: 'http://127.0.0.1:3128', SSL_CERT_FILE: bundle },
  });
  events.length = 0;
  const [cached] = await engine.build([step]);
  results.cached = { id: cached?.id, all: cached?.layers.every((layer) => layer.cached), codes: codes() };
  await engine.build([step], { forceBuild: true });
  await engine.build([step], { forceBuild: true });
  results.again = {
    files: await engine.listFiles(step, '/'),
    codes: codes(),
    lent: events.flatMap((event) => (event.kind === 'log' ? [Number(event.text) > 0] : [])),
  };
  events.length = 0;
  // What asks for none has none.
  await engine.build(
    [busyboxImage().dockerfileCommands(['RUN --network=none echo interfaces=$(ls /sys/class/net)'])],
    { ignoreCache: true },
  );
  results.none = events.flatMap((event) => (event.kind === 'log' ? [event.text] : []));
}
{
  // What the engine itself lends on the loopback interface of the machine is reached all the same.
  await using engine = await open({
    network: 'private',
    env: { PATH: process.env.PATH, TSBUILD_APT_MIRROR: 'http://mirror.invalid/debian' },
  });
  const { stdout } = await engine.run(image, [
    'sh',
    '-c',
    `port=$(sed -n 's/.*127.0.0.1:\\([0-9]*\\).*/\\1/p' /run/tsbuild/apt.conf)
     { echo hello; usleep 200000; } | timeout 5 nc -w 1 127.0.0.1 $port | head -n 1`,
  ]);
  results.mirror = String(stdout).trim();
}
if (process.getuid?.() === 0) {
  const bin = join(storeDir, '../bin');
  mkdirSync(bin);
  symlinkSync(
    execFileSync('sh', ['-c', 'command -v bwrap'], { encoding: 'utf8' }).trim(),
    join(bin, 'bwrap'),
  );
  process.env.PATH = bin;
  await using engine = await open();
  results.missing = await engine.run(image, ['true'], { network: 'private' }).then(
    () => undefined,
    (error) => (error instanceof TsbuildError ? { code: error.code, hint: error.hint } : String(error)),
  );
}
far.server.close();
near.server.close();
console.log(JSON.stringify(results));
