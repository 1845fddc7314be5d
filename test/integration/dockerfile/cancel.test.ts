/** A build that is stopped, whatever it is doing: the right status, and nothing of it is left. */
import { spawnSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { createServer, type Socket } from 'node:net';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { lacks } from '../../support/requires.ts';
import type { RunSetting } from '../../support/tsbuild.ts';
import { SHELL_STAGE, Workbench } from '../../support/workbench.ts';

const FOREVER = 'sleep 1000';

describe.skipIf(lacks('root', 'bwrap', 'busybox', 'git'))('a build that is stopped', () => {
  let bench: Workbench;
  beforeEach(() => {
    bench = new Workbench();
    bench.context('ctx', { f: 'f' });
  });
  afterEach(() => bench[Symbol.dispose]());

  async function expectCancelled(setting: RunSetting, args: readonly string[] = ['ctx']): Promise<void> {
    const ran = await bench.build(['-f', '-', ...args], setting);
    expect(ran.stderr).toContain('cancelled by SIGINT');
    expect(ran.status, ran.stderr).toBe(130);
    expect(bench.leftovers()).toEqual([]);
    expect(agents()).toEqual([]);
    // The store is as good as before.
    const after = await bench.build(['-f', '-', 'ctx'], { stdin: 'FROM scratch\nCOPY f /f\n' });
    expect(after.status, after.stderr).toBe(0);
  }

  /** Agents that hold a key of this bench. */
  const agents = () => bench.processes().filter((line) => line.startsWith('ssh-agent'));

  test('in a RUN with mounts of every kind and an agent of its own', async () => {
    bench.write({ 'secret.txt': 's' });
    spawnSync('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-f', bench.at('key')]);
    const mounts =
      '--mount=type=cache,target=/c,sharing=private --mount=target=/ctx,rw --mount=type=secret,id=s --mount=type=ssh --mount=type=tmpfs,target=/t';
    await expectCancelled(
      {
        stdin: `${SHELL_STAGE}RUN ${mounts} (trap '' INT TERM; ${FOREVER}) & echo x > /ctx/x; echo at-it; trap '' INT TERM; ${FOREVER}\n`,
        signalAt: { text: ' at-it', signal: 'SIGINT' },
      },
      ['--secret', `id=s,src=${bench.at('secret.txt')}`, '--ssh', `default=${bench.at('key')}`, 'ctx'],
    );
  });

  test('while it waits for a cache that another step holds', async () => {
    const mount = '--mount=type=cache,target=/c,sharing=locked';
    await expectCancelled({
      stdin: `${SHELL_STAGE}FROM sh AS a
RUN ${mount} echo holds; ${FOREVER}
FROM sh AS b
RUN ${mount} true; echo holds; ${FOREVER}
FROM scratch
COPY --from=a / /a
COPY --from=b / /b
`,
      signalAt: { text: ' holds', signal: 'SIGINT' },
    });
  });

  test.each([
    ['a clone', (origin: string) => `ADD ${origin}/repo.git /r/`, '/repo.git/info/refs'],
    ['a download', (origin: string) => `ADD ${origin}/file /f`, '/file'],
  ])('in %s whose server says nothing more', async (_what, line, path) => {
    await using server = await startSilentServer();
    await expectCancelled({
      stdin: `FROM scratch\n${line(server.origin)}\n`,
      signalWhen: { happens: server.asked(path), signal: 'SIGINT' },
    });
  });

  test('in a context that comes through standard input', async () => {
    await using server = await startSilentServer();
    const ran = await bench.build([`${server.origin}/context.tar`], {
      signalWhen: { happens: server.asked('/context.tar'), signal: 'SIGINT' },
    });
    expect(ran.status, ran.stderr).toBe(130);
    expect(bench.leftovers()).toEqual([]);
  });

  test('by SIGKILL, leaves nothing that the next one does not take away', async () => {
    bench.write({
      'tar/Dockerfile': `${SHELL_STAGE}RUN --mount=type=cache,target=/c --mount=type=ssh echo at-it; ${FOREVER}\n`,
    });
    spawnSync('cp', [bench.at('ctx/busybox'), bench.at('tar/')]);
    spawnSync('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-f', bench.at('key')]);
    const tar = spawnSync('tar', ['-C', bench.at('tar'), '-cf', '-', '.'], { maxBuffer: 2 ** 26 }).stdout;
    const ran = await bench.build(['--ssh', `default=${bench.at('key')}`, '-'], {
      stdin: tar,
      signalAt: { text: ' at-it', signal: 'SIGKILL' },
    });
    expect(ran.status).toBe(null);
    for (let attempt = 0; bench.processes().length > 0 && attempt < 200; attempt += 1) {
      await new Promise((resolve) => setTimeout(resolve, 25));
    }
    // The kernel ends everything that was started, without any help.
    expect(bench.processes()).toEqual([]);
    expect(readdirSync(bench.at('store/tmp'))).not.toEqual([]);
    const after = await bench.build(['-f', '-', 'ctx'], { stdin: 'FROM scratch\nCOPY f /f\n' });
    expect(after.status, after.stderr).toBe(0);
    expect(bench.leftovers()).toEqual([]);
  });
});

interface SilentServer extends AsyncDisposable {
  readonly origin: string;
  /** When somebody asks for the path. */
  asked(path: string): Promise<void>;
}

/** Begins every answer and never goes on. */
async function startSilentServer(): Promise<SilentServer> {
  const sockets = new Set<Socket>();
  const waiting = new Map<string, () => void>();
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on('error', () => undefined);
    socket.once('data', (request) => {
      socket.write(
        'HTTP/1.1 200 OK\r\ncontent-type: application/octet-stream\r\ncontent-length: 1000000\r\n\r\nsome',
      );
      for (const [path, asked] of waiting) {
        if (request.toString('latin1').includes(` ${path}`)) {
          asked();
        }
      }
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as { port: number };
  return {
    origin: `http://127.0.0.1:${port}`,
    asked: (path) => new Promise((resolve) => waiting.set(path, resolve)),
    [Symbol.asyncDispose]: () =>
      new Promise<void>((resolve) => {
        server.close(() => resolve());
        for (const socket of sockets) {
          socket.destroy();
        }
      }),
  };
}
