/** A way to a server of this machine on which each connection is slow, as distance or the server's own limits make it. */
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';

export interface SlowProxyOptions {
  /** Of each connection, from the server. @defaultValue no limit */
  readonly bytesPerSecond?: number;
  /** Before what a client sends is passed on. @defaultValue 0 */
  readonly roundTripMs?: number;
}

export interface SlowProxy extends AsyncDisposable {
  readonly host: string;
  /** Of the requests for parts, as they came. */
  readonly ranges: readonly string[];
  /** Connections that were open at once, at most. */
  readonly mostAtOnce: number;
}

/** @param host - `127.0.0.1:5000` */
export async function startSlowProxy(host: string, options: SlowProxyOptions = {}): Promise<SlowProxy> {
  const open = new Set<Socket>();
  const ranges: string[] = [];
  let mostAtOnce = 0;
  const server = createServer((client) => {
    const { hostname, port } = new URL(`http://${host}`);
    const upstream = connect({ host: hostname, port: Number(port) });
    open.add(client);
    mostAtOnce = Math.max(mostAtOnce, open.size);
    for (const [socket, other] of [
      [client, upstream],
      [upstream, client],
    ] as const) {
      socket.on('error', () => other.destroy());
      socket.on('close', () => other.destroySoon());
    }
    client.on('close', () => open.delete(client));
    // The first request waits for the handshake too.
    let waitMs = 2 * (options.roundTripMs ?? 0);
    client.on('data', (bytes) => {
      ranges.push(...(/^range: *bytes=(.*?)\r$/im.exec(bytes.toString('latin1'))?.slice(1) ?? []));
      setTimeout(() => upstream.write(bytes), waitMs);
      waitMs = options.roundTripMs ?? 0;
    });
    slowly(upstream, client, options.bytesPerSecond ?? Number.POSITIVE_INFINITY);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    host: `127.0.0.1:${(server.address() as AddressInfo).port}`,
    ranges,
    get mostAtOnce() {
      return mostAtOnce;
    },
    async [Symbol.asyncDispose]() {
      const closed = new Promise((resolve) => server.close(resolve));
      for (const socket of open) {
        socket.destroy();
      }
      await closed;
    },
  };
}

function slowly(from: Socket, to: Socket, bytesPerSecond: number): void {
  let freeMs = 0;
  from.on('data', (bytes) => {
    const nowMs = performance.now();
    freeMs = Math.max(freeMs, nowMs) + (bytes.length / bytesPerSecond) * 1000;
    const flowing = to.write(bytes);
    // Timers are of whole milliseconds.
    if (flowing && freeMs - nowMs < 1) {
      return;
    }
    from.pause();
    const goOn = () => setTimeout(() => from.resume(), Math.max(1, freeMs - performance.now()));
    if (flowing) {
      goOn();
    } else {
      to.once('drain', goOn);
    }
  });
}
