/**
 * Lends an ssh agent to one step: a socket of the step's own, whose requests are passed on. Only listing keys and signing with them
 * get through; a step could lock or empty the user's agent otherwise.
 *
 * Source: draft-miller-ssh-agent, sections 3 (messages) and 5.1 (numbers).
 */
import { chmodSync, chownSync, closeSync, constants, openSync } from 'node:fs';
import { createConnection, createServer, type Socket } from 'node:net';
import { join } from 'node:path';
import type { SshAgentSocket } from '../secret/ssh-agents.ts';

const SSH_AGENT_FAILURE = 5;
const SSH_AGENTC_REQUEST_IDENTITIES = 11;
const SSH_AGENTC_SIGN_REQUEST = 13;
const LENGTH_BYTES = 4;
/** As OpenSSH's agent has it. */
const MAX_MESSAGE_BYTES = 256 * 1024;

export interface SocketAttributes {
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
}

/** @returns Path of the socket in `directory`; and what ends it, its connections too. */
export async function forwardAgent(
  directory: string,
  agent: SshAgentSocket,
  { mode, uid, gid }: SocketAttributes,
): Promise<{ readonly path: string; close(): Promise<void> }> {
  const open = new Set<Socket>();
  const keep = (socket: Socket): Socket => {
    open.add(socket);
    socket.once('close', () => open.delete(socket));
    return socket;
  };
  const server = createServer((client) => {
    const upstream = keep(createConnection(agent.path));
    void (agent.raw ? pipeBoth(keep(client), upstream) : serve(keep(client), upstream))
      // Either side may end in the middle; that is for the step's program to notice.
      .catch(() => undefined)
      .finally(() => {
        client.destroy();
        upstream.destroy();
      });
  });
  // The address of a socket has room for 107 bytes, and a store may lie deep.
  const short = openSync(directory, constants.O_RDONLY | constants.O_DIRECTORY);
  const path = join(directory, 'agent');
  try {
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen(`/proc/self/fd/${short}/agent`, resolve);
    });
    chownSync(path, uid, gid);
    chmodSync(path, mode);
  } catch (error) {
    server.close();
    closeSync(short);
    throw error;
  }
  return {
    path,
    close: async () => {
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      for (const socket of open) {
        socket.destroy();
      }
      await closed;
      closeSync(short);
    },
  };
}

async function pipeBoth(client: Socket, upstream: Socket): Promise<void> {
  client.pipe(upstream);
  upstream.pipe(client);
  await Promise.race(
    [client, upstream].map(
      (socket) =>
        new Promise<void>((resolve) => {
          socket.once('error', () => resolve());
          socket.once('close', () => resolve());
        }),
    ),
  );
}

/** One request after the other: answers have no numbers, so their order counts. */
async function serve(client: Socket, upstream: Socket): Promise<void> {
  client.on('error', () => undefined);
  upstream.on('error', () => undefined);
  const answers = messages(upstream);
  for await (const request of messages(client)) {
    const kind = request[LENGTH_BYTES];
    if (kind !== SSH_AGENTC_REQUEST_IDENTITIES && kind !== SSH_AGENTC_SIGN_REQUEST) {
      client.write(Buffer.from([0, 0, 0, 1, SSH_AGENT_FAILURE]));
      continue;
    }
    upstream.write(request);
    const answer = await answers.next();
    if (answer.done === true) {
      return;
    }
    client.write(answer.value);
  }
}

/** Each with its length before it. */
async function* messages(socket: Socket): AsyncGenerator<Buffer, void> {
  let held: Buffer = Buffer.alloc(0);
  for await (const chunk of socket) {
    held = Buffer.concat([held, chunk as Buffer]);
    for (;;) {
      const length = held.length < LENGTH_BYTES ? undefined : held.readUInt32BE(0);
      if (length !== undefined && length > MAX_MESSAGE_BYTES) {
        return;
      }
      if (length === undefined || held.length < LENGTH_BYTES + length) {
        break;
      }
      yield held.subarray(0, LENGTH_BYTES + length);
      held = held.subarray(LENGTH_BYTES + length);
    }
  }
}
