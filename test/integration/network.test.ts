/** What programs reach in each network: as root, as a user with subordinate ids and as one without. */
import { createSocket, type Socket } from 'node:dgram';
import { writeFileSync } from 'node:fs';
import { networkInterfaces } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { lacks } from '../support/requires.ts';
import { canMakeUsers, runJson, type Stage, stage } from '../support/unprivileged-user.ts';

const HEADER_BYTES = 12;
const TYPE_AND_CLASS_BYTES = 4;
const ANSWER = Buffer.from('c00c000100010000003c0004c000024d', 'hex');

/** Answers every question with 192.0.2.77. Source: RFC 1035, section 4. */
async function serveNames(address: string): Promise<Socket> {
  const socket = createSocket('udp4');
  socket.on('message', (query, peer) => {
    const end = query.indexOf(0, HEADER_BYTES) + 1 + TYPE_AND_CLASS_BYTES;
    const header = Buffer.from('000081800001000100000000', 'hex');
    query.copy(header, 0, 0, 2);
    socket.send(Buffer.concat([header, query.subarray(HEADER_BYTES, end), ANSWER]), peer.port, peer.address);
  });
  await new Promise<void>((resolve) => socket.bind(53, address, resolve));
  return socket;
}

function ownAddress(): string {
  const all = Object.values(networkInterfaces()).flatMap((each) => each ?? []);
  return all.find(({ family, internal }) => family === 'IPv4' && !internal)?.address ?? '';
}

/** Nobody else's, on the machine's loopback interface: as systemd-resolved has it. */
const OWN_RESOLVER = '127.0.0.153';

// biome-ignore lint/suspicious/noExplicitAny: the scenario's JSON, asserted on below.
type Results = Record<string, any>;

describe.runIf(canMakeUsers() && !lacks('busybox', 'bwrap', 'pasta', 'openssl', 'default-route')).each([
  { user: 'root', resolver: 'elsewhere' },
  { user: 'with-ids', resolver: 'of the machine' },
  { user: 'without-ids', resolver: 'of the machine' },
] as const)('as $user, names by a resolver $resolver', ({ user, resolver }) => {
  let where: Stage;
  let names: Socket;
  let results: Results;

  beforeAll(async () => {
    where = stage(user);
    const address = ownAddress();
    const nameserver = resolver === 'elsewhere' ? address : OWN_RESOLVER;
    names = await serveNames(nameserver);
    const file = join(where.dir, 'resolv.conf');
    writeFileSync(file, `nameserver ${nameserver}\n`);
    // The machine's own stays as it is for everybody else.
    const mounted: Stage = {
      ...where,
      command: (...words) => {
        const [program, argv] = where.command(...words);
        // Where udev does not make it so, not everybody may open it.
        const script =
          'mount --bind "$0" "$(realpath /etc/resolv.conf)" && mknod "$0.tun" c 10 200 && chmod 666 "$0.tun" && ' +
          'mount --bind "$0.tun" /dev/net/tun && exec "$@"';
        return ['unshare', ['--mount', 'sh', '-c', script, file, program, ...argv]];
      },
    };
    results = (await runJson(
      mounted,
      'test/support/network-scenario.ts',
      join(where.dir, 'store'),
      address,
    )) as Results;
  }, 120_000);
  afterAll(() => {
    names?.close();
    where?.remove();
  });

  test('host is the network of the machine', () => {
    expect(results['run-host']).toMatchObject({
      namespace: results.host,
      far: 'far',
      near: 'near',
      resolved: '1',
    });
  });

  test('none is a loopback interface that is up, and nothing else', () => {
    expect(results['run-none']).toMatchObject({
      interfaces: 'lo',
      far: '',
      near: '',
      gateway: '',
      resolved: '0',
      resolver: '0',
      own: 'itself',
    });
    expect(results['run-none'].namespace).not.toBe(results.host);
  });

  test('private leads where the machine does, with names, and not to its loopback interface', () => {
    const found = results['run-private'];
    expect(found).toMatchObject({
      far: 'far',
      near: '',
      gateway: '',
      resolved: '1',
      resolver: '1',
      own: 'itself',
    });
    expect(found.namespace).not.toBe(results.host);
    // Of `/sys` too: not those of the machine.
    expect(found.interfaces.split(' ')).toHaveLength(2);
    expect(results.both).toEqual(['far1=far', 'far2=far']);
  });

  test('what connects it ends with the container, cancelled or not', () => {
    expect(results).toMatchObject({ cancelled: 'cancelled', left: [] });
  });

  test('neither the network nor what is lent for it is in a key or a layer', () => {
    expect(results.cached).toEqual({ id: results.id, all: true, codes: [] });
    expect(results.files).toEqual(['/bin/sh', '/file']);
    expect(results.again).toEqual({ files: results.files, codes: ['W_PROXY_LOOPBACK'], lent: [true, true] });
  });

  test("the proxy of TSBUILD_APT_MIRROR, on the machine's loopback interface, is reached", () => {
    expect(results.mirror).toMatch(/^HTTP\/1.1 400 /);
  });

  test('a step that asks for none has none, whatever the others have', () => {
    expect(results.none).toEqual(['interfaces=lo']);
  });

  if (user === 'root') {
    test('without pasta the error says what to install', () => {
      expect(results.missing).toEqual({
        code: 'E_NETWORK_PRIVATE',
        hint: expect.stringContaining('apt-get install passt'),
      });
    });
  }
});
