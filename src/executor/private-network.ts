/**
 * A network of a step's own that reaches what this machine reaches, through pasta (package passt), which passes connections on as an
 * ordinary process would make them. The addresses are the same on every machine. Nothing leads to the machine's loopback interface,
 * neither its services nor, the network namespace being another, its abstract sockets.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { accessSync, constants, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { HostError } from '../errors.ts';
import { native } from '../native/addon.ts';

/** Where the step asks for names that the machine asks itself for, as with a resolver on 127.0.0.53. */
const FORWARDED_RESOLVER = '10.0.2.3';
const FORWARDED_RESOLVER_6 = 'fd74:7362::3';

const IPV4 = ['-a', '10.0.2.100', '-n', '24', '-g', '10.0.2.2'];
/** Of the private range (RFC 4193). */
const IPV6 = ['-a', 'fd74:7362::64', '-g', 'fd74:7362::1'];
const READY_TIMEOUT_MS = 10_000;
const POLL_MS = 2;
const MAX_COMPLAINT_LENGTH = 2000;

export interface PrivateNetwork {
  /** Ends it, with all connections. */
  close(): Promise<void>;
}

export interface PrivateNetworkOptions {
  /** A process in the network namespace. */
  readonly pid: number;
  /** Of this step alone. */
  readonly dir: string;
  /** Ports of this machine's loopback interface that are on the step's too. */
  readonly ports: readonly number[];
  readonly signal: AbortSignal;
}

/**
 * Connects a network namespace and waits until it can be used.
 *
 * @throws {HostError} `E_NETWORK_PRIVATE`; `signal.reason` when aborted. Nothing stays behind then.
 */
export async function connectNamespace({
  pid,
  dir,
  ports,
  signal,
}: PrivateNetworkOptions): Promise<PrivateNetwork> {
  checkMachine();
  const routes = defaultRoutes('self');
  // By a path: pasta gives up the privilege to look into other processes before it opens the namespace.
  const namespace = join(dir, 'network');
  writeFileSync(namespace, '');
  native().mountBind(`/proc/${pid}/ns/net`, namespace, false, false);
  const child = spawn('pasta', pastaArguments(namespace, routes, ports, asksItself(hostResolvers())), {
    cwd: '/',
    env: { PATH: process.env.PATH ?? '/usr/bin:/bin' },
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  let complaint = '';
  child.stderr.on('data', (chunk: Buffer) => {
    complaint = (complaint + chunk.toString('utf8')).slice(-MAX_COMPLAINT_LENGTH);
  });
  const ended = new Promise<Error>((resolve) => {
    child.once('error', (error) => resolve(cannotStart(error)));
    child.once('close', () => resolve(failed(complaint)));
  });
  const close = async () => {
    child.kill('SIGKILL');
    await ended;
    native().unmount(namespace, true);
  };
  try {
    await untilReady(child, { pid, routes, ports }, ended, signal);
    return { close };
  } catch (error) {
    await close();
    throw error;
  }
}

const TUN = '/dev/net/tun';

/**
 * What pasta needs besides, for it does not say what it lacks.
 *
 * @throws {HostError} `E_NETWORK_PRIVATE`
 */
export function checkMachine(): void {
  const { ipv4, ipv6 } = defaultRoutes('self');
  if (!ipv4 && !ipv6) {
    throw new HostError('a step is to have a private network, and this machine has no default route', {
      code: 'E_NETWORK_PRIVATE',
      hint: 'use --network host',
    });
  }
  try {
    accessSync(TUN, constants.R_OK | constants.W_OK);
  } catch (cause) {
    const { code: errno } = cause as NodeJS.ErrnoException;
    throw new HostError(`a step is to have a private network, and '${TUN}' cannot be opened: ${errno}`, {
      code: 'E_NETWORK_PRIVATE',
      errno,
      path: TUN,
      cause,
      hint:
        errno === 'ENOENT'
          ? 'sudo modprobe tun; in a container, start it with --device /dev/net/tun'
          : `sudo chmod 666 ${TUN}; or use --network host`,
    });
  }
}

function pastaArguments(
  namespace: string,
  { ipv4, ipv6 }: Routes,
  ports: readonly number[],
  forwardsNames: boolean,
): string[] {
  return [
    '--foreground',
    '--quiet',
    '--stderr',
    // It would become nobody, who may not enter the namespace; it gives up all but what it needs anyway.
    ...['--runas', '0'],
    ...['--netns-only', '--netns', namespace],
    '--config-net',
    // The gateway's address would mean this machine's loopback interface.
    '--no-map-gw',
    // Ports of either side on the other.
    ...['-t', 'none', '-u', 'none', '-U', 'none', '-T', ports.length === 0 ? 'none' : ports.join(',')],
    ...(ipv4 ? IPV4 : ['-6']),
    ...(ipv6 ? IPV6 : ['-4']),
    // Only then: with it, answers of the machine's resolver seem to come from there, whoever was asked.
    ...(forwardsNames ? ['--dns-forward', ipv4 ? FORWARDED_RESOLVER : FORWARDED_RESOLVER_6] : []),
  ];
}

async function untilReady(
  child: ChildProcess,
  {
    pid,
    routes,
    ports,
  }: { readonly pid: number; readonly routes: Routes; readonly ports: readonly number[] },
  ended: Promise<Error>,
  signal: AbortSignal,
): Promise<void> {
  let error: Error | undefined;
  void ended.then((found) => {
    error = found;
  });
  for (const deadline = Date.now() + READY_TIMEOUT_MS; ; await delay(POLL_MS)) {
    signal.throwIfAborted();
    if (error !== undefined) {
      throw error;
    }
    const { ipv4, ipv6 } = defaultRoutes(pid);
    // It listens on the ports some time after it has made the routes.
    if (ipv4 === routes.ipv4 && ipv6 === routes.ipv6 && ports.every((port) => isListening(pid, port))) {
      return;
    }
    if (Date.now() > deadline) {
      child.kill('SIGKILL');
    }
  }
}

function netRows(pid: number | 'self', file: string): string[][] {
  try {
    return readFileSync(`/proc/${pid}/net/${file}`, 'utf8')
      .split('\n')
      .map((line) => line.trim().split(/\s+/));
  } catch {
    return [];
  }
}

const LISTEN = '0A';

/** Source: proc_pid_net(5), and include/net/tcp_states.h of the kernel. */
function isListening(pid: number, port: number): boolean {
  const suffix = `:${port.toString(16).toUpperCase().padStart(4, '0')}`;
  return netRows(pid, 'tcp').some(([, local = '', , state]) => local.endsWith(suffix) && state === LISTEN);
}

interface Routes {
  readonly ipv4: boolean;
  readonly ipv6: boolean;
}

/** Of the network that the process is in. Source: proc_pid_net(5), and fib6_seq_show of the kernel. */
function defaultRoutes(pid: number | 'self'): Routes {
  const rows = (file: string) => netRows(pid, file);
  return {
    ipv4: rows('route').some(
      ([, destination, , , , , , mask]) => destination === '00000000' && mask === '00000000',
    ),
    // One without a next hop is the kernel's own, on the loopback interface.
    ipv6: rows('ipv6_route').some(
      ([destination = '', length, , , gateway = '']) =>
        /^0+$/.test(destination) && length === '00' && !/^0*$/.test(gateway),
    ),
  };
}

function cannotStart(error: NodeJS.ErrnoException): HostError {
  return new HostError(`a step is to have a private network, and pasta cannot be started: ${error.message}`, {
    code: 'E_NETWORK_PRIVATE',
    errno: error.code,
    cause: error,
    hint: 'sudo apt-get install passt; or use --network host',
  });
}

function failed(complaint: string): HostError {
  const said = complaint
    .split('\n')
    // It says that too where there is no system log.
    .filter((line) => line !== '' && !line.startsWith('Failed to send'))
    .join('; ');
  return new HostError(`cannot make a private network: pasta ended${said === '' ? '' : `: ${said}`}`, {
    code: 'E_NETWORK_PRIVATE',
    hint: 'use --network host',
  });
}

const LOOPBACK_NAME = /^(localhost|127\.\d+\.\d+\.\d+|\[?::1\]?)$/i;

/** Whether it is on the machine itself, where a private network does not lead. */
export function isLoopback(host: string): boolean {
  return LOOPBACK_NAME.test(host);
}

export function hostResolvers(): string {
  try {
    return readFileSync('/etc/resolv.conf', 'utf8');
  } catch {
    return '';
  }
}

function nameservers(text: string): string[] {
  return text.split('\n').flatMap((line) => /^\s*nameserver\s+(\S+)/.exec(line)?.[1] ?? []);
}

function isElsewhere(address: string): boolean {
  return !isLoopback(address) && !isLinkLocal(address);
}

/** Whether the machine has a resolver of its own; resolv.conf(5): it has, where none is named. */
function asksItself(hostText: string): boolean {
  const addresses = nameservers(hostText);
  return addresses.length === 0 || !addresses.every(isElsewhere);
}

/** The host's `resolv.conf` for a private network: its own resolver is asked through pasta. */
export function privateResolvers(hostText: string, hasIpv4 = defaultRoutes('self').ipv4): string {
  const elsewhere = nameservers(hostText).filter(isElsewhere);
  const forwarded = hasIpv4 ? FORWARDED_RESOLVER : FORWARDED_RESOLVER_6;
  const resolvers = asksItself(hostText) ? [forwarded, ...elsewhere] : elsewhere;
  const rest = hostText.split('\n').filter((line) => /^\s*(search|domain|options)\s/.test(line));
  return [...resolvers.map((address) => `nameserver ${address}`), ...rest, ''].join('\n');
}

/** Its interface is the host's. */
function isLinkLocal(address: string): boolean {
  return /^fe[89ab][0-9a-f]:/i.test(address);
}

/** Of the host's `/etc/hosts` what does not mean the host itself. */
export function namesElsewhere(hostText: string): string {
  return hostText
    .split('\n')
    .filter((line) => {
      const [address = ''] = line.trim().split(/\s+/);
      return address !== '' && !address.startsWith('#') && !isLoopback(address) && !isLinkLocal(address);
    })
    .map((line) => `${line}\n`)
    .join('');
}
