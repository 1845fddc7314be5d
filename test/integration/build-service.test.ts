/** examples/build-service, run as its README says. */
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setImmediate } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { busyboxPath } from '../support/busybox.ts';
import { lacks } from '../support/requires.ts';

const ROOT = join(import.meta.dirname, '../..');
const MAX_BODY_BYTES = 4 * 1024 * 1024;
const CHUNK_BYTES = 64 * 1024;
const DOCKERFILE = 'FROM scratch\nENV PATH=/bin\nCOPY --chmod=755 busybox /bin/sh\n';

describe.skipIf(lacks('bwrap', 'busybox', 'root'))('the build service', () => {
  let directory: string;
  let service: ChildProcess;
  let ended: Promise<number | null>;
  let url: string;
  let stderr = '';

  beforeAll(async () => {
    directory = mkdtempSync(join(tmpdir(), 'tsbuild-service-'));
    mkdirSync(join(directory, 'tmp'));
    service = spawn(process.execPath, [join(ROOT, 'examples/build-service/main.ts')], {
      env: {
        PATH: process.env.PATH,
        HOME: process.env.HOME,
        TMPDIR: join(directory, 'tmp'),
        TSBUILD_HOME: join(directory, 'store'),
        PORT: '0',
        MAX_BUILDS: '2',
        MAX_BODY_BYTES: String(MAX_BODY_BYTES),
      },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    ended = new Promise((resolve) => service.once('exit', resolve));
    service.stderr?.on('data', (chunk) => {
      stderr += chunk;
    });
    url = await new Promise<string>((resolve, reject) => {
      void ended.then((status) => reject(new Error(`the service ended with ${status}: ${stderr}`)));
      service.stdout?.on('data', (chunk) => {
        const found = /listening on (\S+)/.exec(String(chunk))?.[1];
        if (found !== undefined) {
          resolve(found);
        }
      });
    });
  });

  afterAll(async () => {
    service.kill('SIGKILL');
    await ended;
    rmSync(directory, { recursive: true, force: true });
  });

  const busybox = () => ({ base64: readFileSync(busyboxPath()).toString('base64') });
  const post = (body: object | string, init: RequestInit = {}) =>
    fetch(`${url}/builds`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: typeof body === 'string' ? body : JSON.stringify(body),
      ...init,
    });
  const steps = (text: string, more: object = {}) => ({
    dockerfile: DOCKERFILE + text,
    files: { busybox: busybox() },
    ...more,
  });
  const running = async () => ((await (await fetch(`${url}/builds`)).json()) as { builds: string[] }).builds;
  // biome-ignore lint/suspicious/noExplicitAny: lines of JSON, looked at by their fields.
  type Line = any;

  async function* linesOf(response: Response): AsyncGenerator<Line> {
    let rest = '';
    for await (const chunk of (response.body ?? []) as AsyncIterable<Uint8Array>) {
      rest += Buffer.from(chunk).toString('utf8');
      const lines = rest.split('\n');
      rest = lines.pop() ?? '';
      yield* lines.map((line) => JSON.parse(line));
    }
  }

  async function allOf(lines: AsyncIterable<Line>): Promise<Line[]> {
    const all: Line[] = [];
    for await (const line of lines) {
      all.push(line);
    }
    return all;
  }

  /** The steps' own processes are gone, and so are the files of their builds. */
  async function cleanedUp(marker: string): Promise<void> {
    for (let attempt = 0; ; attempt += 1) {
      const alive = readdirSync('/proc').filter((pid) => {
        try {
          return /^\d+$/.test(pid) && readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes(marker);
        } catch {
          return false;
        }
      });
      const left = readdirSync(join(directory, 'tmp'));
      if (alive.length === 0 && left.length === 0 && (await running()).length === 0) {
        return;
      }
      expect(attempt, `left: ${alive.join(', ')}; ${left.join(', ')}`).toBeLessThan(200);
      await new Promise((resolve) => setTimeout(resolve, 25));
    }
  }

  test('builds, and streams what its steps say while they run', async () => {
    const text =
      'COPY a/hello.txt /\nARG WHO\nRUN read line < /hello.txt; echo "$line $WHO"; sleep 1; echo later >&2\n';
    const request = steps(text, { buildArgs: { WHO: 'you' }, tag: 'hello:1' });
    const files = { ...request.files, 'a/hello.txt': 'hello\n' };
    const response = await post({ ...request, files });
    expect(response.status).toBe(200);
    expect(response.headers.get('content-type')).toBe('application/x-ndjson');
    const lines: Line[] = [];
    let before: readonly string[] = [];
    for await (const line of linesOf(response)) {
      lines.push(line);
      if (line.text === 'hello you') {
        // It is still building.
        before = await running();
      }
    }
    expect(lines[0]).toEqual({ build: response.headers.get('x-build-id') });
    expect(before).toEqual([lines[0].build]);
    expect(lines).toContainEqual({
      step: expect.stringContaining('RUN'),
      stream: 'stdout',
      text: 'hello you',
    });
    expect(lines).toContainEqual({ step: expect.stringContaining('RUN'), stream: 'stderr', text: 'later' });
    expect(lines.at(-1)).toEqual({
      done: { digest: expect.stringMatching(/^sha256:/), id: expect.stringMatching(/^im-/) },
    });
    const again = await allOf(linesOf(await post({ ...request, files })));
    expect(again.at(-1)).toEqual(lines.at(-1));
    expect(again.filter(({ outcome }) => outcome !== undefined && outcome !== 'cached')).toEqual([]);
    await cleanedUp('no such process');
  });

  test('a step that fails ends the stream with its code', async () => {
    const lines = await allOf(linesOf(await post(steps('RUN echo sorry; exit 3\n'))));
    expect(lines).toContainEqual(expect.objectContaining({ text: 'sorry' }));
    expect(lines.at(-1).error).toMatchObject({ code: 'E_BUILD_FAILED' });
    await cleanedUp('no such process');
  });

  test('a client that leaves cancels its build', async () => {
    const leave = new AbortController();
    const response = await post(steps('RUN echo up; sleep 986001\n'), { signal: leave.signal });
    await expect(async () => {
      for await (const line of linesOf(response)) {
        if (line.text === 'up') {
          leave.abort();
        }
      }
    }).rejects.toThrow();
    await cleanedUp('sleep 986001');
  });

  test('DELETE cancels a build, and its stream says so', async () => {
    const response = await post(steps('RUN echo up; sleep 986002\n'));
    const lines: Line[] = [];
    for await (const line of linesOf(response)) {
      lines.push(line);
      if (line.text === 'up') {
        expect((await fetch(`${url}/builds/${lines[0].build}`, { method: 'DELETE' })).status).toBe(202);
      }
    }
    expect(lines.at(-1)).toEqual({ error: { code: 'CANCELLED', message: 'the build was cancelled' } });
    await cleanedUp('sleep 986002');
    expect((await fetch(`${url}/builds/${lines[0].build}`, { method: 'DELETE' })).status).toBe(404);
  });

  test('more builds than it may run are sent away', async () => {
    const leave = new AbortController();
    const full = await Promise.all(
      [1, 2].map((number) => post(steps(`RUN echo ${number}; sleep 986003\n`), { signal: leave.signal })),
    );
    const third = await post(steps('RUN echo 3\n'));
    expect(third.status).toBe(429);
    expect(third.headers.get('retry-after')).toBe('5');
    expect(await third.json()).toMatchObject({ error: { code: 'BUSY' } });
    leave.abort();
    await Promise.allSettled(full.map((response) => response.text()));
    await cleanedUp('sleep 986003');
    expect((await post(steps('RUN echo 3\n'))).status).toBe(200);
    await cleanedUp('no such process');
  });

  test.each([
    ['{', 400, 'BAD_REQUEST'],
    ['[]', 400, 'BAD_REQUEST'],
    [{}, 400, 'BAD_REQUEST'],
    [{ dockerfile: 'FROM scratch', fiels: {} }, 400, 'BAD_REQUEST'],
    [{ dockerfile: 'FROM scratch', files: { '../x': '' } }, 400, 'BAD_REQUEST'],
    [{ dockerfile: 'FROM scratch', files: { '/etc/x': '' } }, 400, 'BAD_REQUEST'],
    [{ dockerfile: 'FROM scratch', files: { x: 4 } }, 400, 'BAD_REQUEST'],
    [{ dockerfile: 'FROM scratch\nRUM x' }, 422, 'E_DOCKERFILE_INSTRUCTION'],
    [{ dockerfile: '' }, 422, 'E_DOCKERFILE_EMPTY'],
    [{ dockerfile: 'FROM scratch AS a', target: 'b' }, 422, 'E_DOCKERFILE_STAGE'],
    [{ dockerfile: 'x'.repeat(MAX_BODY_BYTES) }, 413, 'BODY_TOO_LARGE'],
  ])('bad input is refused (%#)', async (body, status, code) => {
    const response = await post(body);
    expect(await response.json()).toMatchObject({ error: { code } });
    expect(response.status).toBe(status);
    await cleanedUp('no such process');
  });

  test('a body of unknown length is cut off at the limit', async () => {
    let sent = 0;
    const body = (async function* () {
      for (; sent < 16 * MAX_BODY_BYTES; sent += CHUNK_BYTES) {
        yield Buffer.alloc(CHUNK_BYTES, 'x');
        await setImmediate();
      }
    })();
    const init = { body: ReadableStream.from(body), duplex: 'half' } as RequestInit;
    const response = await post('', init);
    expect(response.status).toBe(413);
    await response.body?.cancel();
    expect(sent).toBeLessThan(16 * MAX_BODY_BYTES);
  });

  test.each([
    ['GET', '/', 404],
    ['PUT', '/builds', 405],
    ['GET', '/builds/x', 405],
    ['DELETE', '/builds/x', 404],
  ])('%s %s is %d', async (method, path, status) => {
    expect((await fetch(url + path, { method })).status).toBe(status);
  });

  test('another type of body is refused', async () => {
    expect((await post('FROM scratch', { headers: { 'content-type': 'text/plain' } })).status).toBe(415);
  });

  test('SIGTERM ends it in order, with what it is doing', async () => {
    const response = await post(steps('RUN echo up; sleep 986004\n'));
    const lines: Line[] = [];
    for await (const line of linesOf(response)) {
      lines.push(line);
      if (line.text === 'up') {
        service.kill('SIGTERM');
      }
    }
    expect(lines.at(-1)).toMatchObject({ error: { code: 'CLOSING' } });
    expect(await ended).toBe(0);
    expect(stderr).toBe('');
    expect(readdirSync(join(directory, 'tmp'))).toEqual([]);
    expect(readdirSync(join(directory, 'store/engines'))).toEqual([]);
  });
});
