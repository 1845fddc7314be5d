/** Programs with somebody before them: terminals, standard input as it comes, shells in images and in steps that failed. */
import { spawnSync } from 'node:child_process';
import { EventEmitter } from 'node:events';
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Engine } from '../../src/engine.ts';
import type { FailedStep } from '../../src/worker/failed-step-session.ts';
import { busyboxDefinition, busyboxImage, busyboxPath } from '../support/busybox.ts';
import { onPty, type PtyAction, USUAL_MODES } from '../support/pty.ts';
import { lacks } from '../support/requires.ts';

const ROOT = join(import.meta.dirname, '../..');
const SECRET = 'sesame-open-4711';
const PROMPT = '# ';

describe.skipIf(lacks('root', 'bwrap', 'busybox', 'python3'))('interactive work', () => {
  let dir: string;
  let image: string;
  let context: string;
  let env: NodeJS.ProcessEnv;

  beforeAll(() => {
    dir = mkdtempSync(join(tmpdir(), 'tsbuild-interactive-'));
    image = join(dir, 'image.ts');
    writeFileSync(image, busyboxDefinition("runCommands('true')"));
    context = join(dir, 'context');
    mkdirSync(context);
    copyFileSync(busyboxPath(), join(context, 'busybox'));
    writeFileSync(
      join(context, 'Dockerfile'),
      [
        'FROM scratch',
        'COPY busybox /bin/sh',
        'ENV PATH=/bin GREETING=hello',
        'WORKDIR /work',
        'RUN echo "app:x:1000:1000::/work:/bin/sh" >> /etc/passwd && chmod 777 /work',
        'USER app',
        'RUN --mount=type=cache,target=/cache,uid=1000 --mount=type=secret,id=token,uid=1000,env=TOKEN \\',
        '  echo made > made; echo cached > /cache/kept; printf "\\033]0;owned\\007\\033]52;c;b3du\\007"; test -e /cache/mended && false',
        '',
      ].join('\n'),
    );
    env = { ...process.env, TSBUILD_HOME: join(dir, 'store'), TERM: 'xterm', TOKEN: SECRET };
  });
  afterAll(() => {
    expect(readFileSync('/proc/self/mountinfo', 'utf8')).not.toContain(dir);
    rmSync(dir, { recursive: true, force: true });
  });

  const argv = (...args: string[]) => [process.execPath, join(ROOT, 'bin/tsbuild.js'), ...args];
  const typed = (args: string[], steps: (readonly [string, PtyAction])[], size = {}) =>
    onPty(argv(...args), steps, { env, ...size });
  const piped = (args: string[], input: string | Buffer) => {
    const [program = '', ...rest] = argv(...args);
    return spawnSync(program, rest, { input, env, encoding: 'utf8', maxBuffer: 1 << 26 });
  };

  test('run -it gives a terminal: its name, size, kind, and a new size', async () => {
    const ran = await typed(
      ['run', '-q', '-it', image, '--', 'sh'],
      [
        [PROMPT, 'tty; stty size; echo "$TERM"; echo x >/dev/tty; echo y >/dev/console\r'],
        ['pts/0.*101.*xterm.*x\r\ny\r\n', { size: [55, 12] }],
        [PROMPT, 'stty size\r'],
        ['12 55', 'exit 7\r'],
      ],
      { columns: 101, rows: 33 },
    );
    expect(ran).toMatchObject({ problem: null, status: 7, modes: USUAL_MODES });
    expect(ran.text).toContain('33 101');
  });

  test('every key is the program’s: Ctrl-C, Ctrl-Z with job control, Ctrl-D', async () => {
    const job = (word: string) => `sh -c 'echo ${word}ing; sleep 60'\r`;
    const ran = await typed(
      ['run', '-q', '-it', image, '--', 'sh'],
      [
        [PROMPT, job('wait')],
        ['\nwaiting\r\n', '\x03'],
        [PROMPT, `${job('stay')}`],
        ['\nstaying\r\n', '\x1a'],
        ['Stopped', 'kill -9 %1; echo g""o; cat\r'],
        ['\ngo\r\n', 'line\r\x04'],
        ['line\r\nline\r\n.*# ', '\x04'],
      ],
    );
    expect(ran).toMatchObject({ problem: null, modes: USUAL_MODES });
  });

  test('the terminal is put back, and modes that the program left on are switched off, when the worker is killed', async () => {
    const ran = await typed(
      ['run', '-q', '-it', image, '--', 'sh', '-c', 'printf "\\033[?1049h\\033[?25lready"; sleep 60'],
      [['ready', { 'kill-worker': true }]],
    );
    expect(ran).toMatchObject({ problem: null, status: 3, modes: USUAL_MODES });
    expect(ran.text).toContain('\x1b[?1049l\x1b[?25h');
    expect(ran.text).toContain('E_WORKER_DIED');
  });

  test.each<[string, PtyAction, number]>([
    ['SIGTERM', { kill: 'SIGTERM' }, 143],
    ['a terminal that is closed', { 'hang-up': true }, 129],
    ['SIGKILL', { kill: 'SIGKILL' }, -9],
  ])('nothing is left after %s', async (_name, action, status) => {
    const ran = await typed(
      ['run', '-q', '-it', image, '--', 'sh', '-c', `echo ready; exec sleep 54${Math.abs(status)}.25`],
      [['ready', action]],
    );
    expect(ran).toMatchObject({ problem: null, status });
    if (status === 143) {
      expect(ran.modes).toEqual(USUAL_MODES);
    }
    await expect
      .poll(() => commandLines().filter((line) => line.includes(`54${Math.abs(status)}.25`)))
      .toEqual([]);
  });

  test('-i hands standard input on as it comes, to its end', () => {
    const bytes = Buffer.alloc(3_000_000, 'x');
    expect(
      piped(['run', '-q', '-i', image, '--', 'sh', '-c', 'cat /dev/stdin | wc -c; exit 4'], bytes),
    ).toMatchObject({
      status: 4,
      stdout: '3000000\n',
    });
    // A program that does not read it ends all the same.
    expect(piped(['run', '-q', '-i', image, '--', 'sh', '-c', 'exit 0'], bytes).status).toBe(0);
    expect(piped(['run', '-q', image, '--', 'sh', '-c', 'wc -c'], 'unseen').stdout).toBe('0\n');
  });

  test('-t alone has no input; -it without a terminal is refused', () => {
    expect(piped(['run', '-q', '-t', image, '--', 'sh', '-c', 'tty; echo two >&2'], '').stdout).toBe(
      '/dev/pts/0\r\ntwo\r\n',
    );
    const refused = piped(['run', '-q', '-it', image, '--', 'sh'], '');
    expect(refused.status).toBe(2);
    expect(refused.stderr).toContain('E_NO_TERMINAL');
  });

  test('shell finds a shell, reads commands without a terminal, and says where there is none', async () => {
    const entry = join(dir, 'entry.ts');
    writeFileSync(entry, busyboxDefinition("entrypoint(['/bin/false']).workdir('/tmp')"));
    expect(piped(['shell', '-q', entry, '-e', 'A=b'], 'pwd; echo $A; exit 5\n')).toMatchObject({
      status: 5,
      stdout: '/tmp\nb\n',
    });
    expect(piped(['shell', '-q', entry, '--', 'sh', '-c', 'echo hi'], '').stdout).toBe('hi\n');
    const ran = await typed(
      ['shell', '-q', entry],
      [
        [PROMPT, 'tty\r'],
        ['pts/0', 'exit 3\r'],
      ],
    );
    expect(ran).toMatchObject({ problem: null, status: 3 });

    const bare = join(dir, 'bare.ts');
    const text = busyboxDefinition('env({})').replace("'/bin/sh'", "'/bin/box'");
    writeFileSync(bare, text);
    const none = piped(['shell', '-q', bare], '');
    expect(none.stderr).toContain('E_NO_SHELL');
    expect(none.status).toBe(2);
  });

  test('--on-error=shell: a shell with all that the step had; then the build fails as it would have', async () => {
    const build = ['build', '--on-error=shell', '--secret', 'id=token,env=TOKEN', context];
    const ran = await typed(build, [
      [
        '~ \\$ ',
        'id -u; pwd; cat made /cache/kept; echo "$GREETING $TOKEN"; echo new > /cache/mended; eval "$TSBUILD_FAILED_COMMAND"; echo "again $?"\r',
      ],
      [`1000\r\n/work\r\nmade\r\ncached\r\nhello ${SECRET}\r\n.*again 1`, 'exit 0\r'],
    ]);
    expect(ran).toMatchObject({ problem: null, status: 1, modes: USUAL_MODES });
    expect(ran.text).toContain('What you change is thrown away');
    expect(ran.text.slice(ran.text.lastIndexOf('FINISHED'))).toContain('(E_BUILD_FAILED)');
    // Before the shell nothing that the step wrote was acted on: neither a title nor the clipboard.
    const before = ran.text.slice(0, ran.text.indexOf('What you change'));
    // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what it looks for.
    expect(before).not.toMatch(/\x1b\]|\x07/);
    expect(readdirSync(join(dir, 'store/tmp'))).toEqual([]);

    const refused = piped([...build, '--progress=plain'], '');
    expect(refused.stderr).toContain('W_NO_TERMINAL');
    expect(refused.status).toBe(1);
  });

  test('--on-error=keep: what the step left is opened later, without its secrets, and goes with prune', () => {
    const kept = piped(['build', '-q', '--on-error=keep', '--secret', 'id=token,env=TOKEN', context], '');
    const [, name = ''] = /tsbuild shell (failed:[0-9a-f]+)/.exec(kept.stderr) ?? [];
    expect(name, kept.stderr).not.toBe('');
    const seen = piped(
      ['shell', '-q', name],
      'id -u; pwd; cat made /cache/kept; echo "[$TOKEN]"; echo x > made; exit 6\n',
    );
    expect(seen).toMatchObject({ status: 6, stdout: '1000\n/work\nmade\ncached\n[]\n' });
    // What was changed there is not kept.
    expect(piped(['shell', '-q', 'failed:latest', '--', 'sh', '-c', 'cat made'], '').stdout).toBe('made\n');
    const stored = spawnSync('grep', ['-rl', SECRET, join(dir, 'store')], { encoding: 'utf8' });
    expect(stored.stdout).toBe('');
    // It is nobody's result: the step runs again.
    expect(piped(['build', '-q', '--secret', 'id=token,env=TOKEN', context], '').status).toBe(1);

    expect(piped(['prune'], '').stdout).toContain(name.replace('failed:', 'failed-'));
    const gone = piped(['shell', '-q', name], '');
    expect(gone.stderr).toContain('E_FAILED_STEP_NOT_FOUND');
    expect(readdirSync(join(dir, 'store/failed'))).toEqual([]);
  });

  test('an embedder has the same: streams, sizes, and steps that failed', async () => {
    await using engine = await Engine.open({ storeDir: join(dir, 'embedded'), env: { TERM: 'vt220' } });
    const terminal = Object.assign(new EventEmitter(), { columns: 40, rows: 10 });
    const stdin = new PassThrough();
    let text = '';
    const ran = engine.run(busyboxImage(), ['sh'], {
      stdin,
      terminal,
      onStart: () => stdin.write('stty size; echo $TERM\n'),
      onOutput: (_stream, chunk) => {
        text += chunk;
        if (text.includes('vt220\r\n') && terminal.columns === 40) {
          terminal.columns = 41;
          terminal.emit('resize');
          stdin.end('stty size; exit 9\n');
        }
      },
    });
    expect(await ran).toMatchObject({ exitCode: 9 });
    expect(text).toMatch(/10 40.*10 41/s);
    expect(terminal.listenerCount('resize')).toBe(0);

    const seen: string[] = [];
    const look = async (failed: FailedStep) => {
      const { exitCode } = await failed.run(['sh', '-c', 'cat /left; exit 8'], {
        onOutput: (_stream, chunk) => seen.push(String(chunk)),
      });
      seen.push(failed.command, String(exitCode));
      await expect(failed.run(['nothing-of-that-name'])).rejects.toMatchObject({
        code: 'E_STEP_NOT_STARTED',
      });
    };
    // Two fail at once: one is handed over, and the other waits for it.
    const failing = (word: string) => busyboxImage().runCommands(`echo ${word} > /left; exit 3`);
    await expect(engine.build([failing('one'), failing('two')], { onError: look })).rejects.toMatchObject({
      code: 'E_BUILD_FAILED',
      exitCode: 3,
    });
    expect(seen).toHaveLength(3);
    expect(seen[1]).toContain(seen[0]?.trim());
    expect(seen[2]).toBe('8');
    // What a caller's function throws is what the build throws.
    const broken = new Error('broken');
    await expect(engine.build([failing('three')], { onError: () => Promise.reject(broken) })).rejects.toBe(
      broken,
    );

    const error = await engine.build([failing('four')], { onError: 'keep' }).catch((thrown) => thrown);
    const kept: string[] = [];
    await engine.runInFailed(error.keptAs, ['sh', '-c', 'cat /left'], {
      onOutput: (_stream, chunk) => kept.push(String(chunk)),
    });
    expect(kept.join('')).toBe('four\n');
    // A week later it goes.
    const id = error.keptAs.replace('failed:', '');
    const record = join(dir, 'embedded/failed', `${id}.json`);
    const snapshot = join(dir, 'embedded/snapshots', `failed-${id}`);
    expect(existsSync(snapshot)).toBe(true);
    const facts = JSON.parse(readFileSync(record, 'utf8'));
    writeFileSync(record, JSON.stringify({ ...facts, timeMs: facts.timeMs - 8 * 24 * 3600 * 1000 }));
    const later = await engine.build([failing('five')], { onError: 'keep' }).catch((thrown) => thrown);
    expect([existsSync(record), existsSync(snapshot)]).toEqual([false, false]);
    await expect(engine.runInFailed(error.keptAs, undefined)).rejects.toMatchObject({
      code: 'E_FAILED_STEP_NOT_FOUND',
      hint: `kept are ${later.keptAs}`,
    });
  });

  test.skipIf(lacks('pasta'))(
    'what a failed step left is opened with the network of the engine',
    async () => {
      await using engine = await Engine.open({ storeDir: join(dir, 'private'), network: 'private' });
      const error = await engine
        .build([busyboxImage().runCommands('exit 3')], { onError: 'keep' })
        .catch((thrown) => thrown);
      const networkOf = async (network?: 'host') => {
        let text = '';
        await engine.runInFailed(error.keptAs, ['sh', '-c', 'readlink /proc/self/ns/net'], {
          ...(network === undefined ? {} : { network }),
          onOutput: (_stream, chunk) => {
            text += chunk;
          },
        });
        return text.trim();
      };
      const host = readlinkSync('/proc/self/ns/net');
      expect(await networkOf()).toMatch(/^net:/);
      expect(await networkOf()).not.toBe(host);
      expect(await networkOf('host')).toBe(host);
    },
  );
});

function commandLines(): string[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map((pid) => {
      try {
        return readFileSync(`/proc/${pid}/cmdline`, 'utf8');
      } catch {
        return '';
      }
    });
}
