// biome-ignore-all lint/suspicious/noTemplateCurlyInString: shells expand them, not JavaScript.
/** Where the value of a secret must not be: everywhere but in the step, also when the step does its worst to show it. */
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { Engine } from '../../src/engine.ts';
import { Volume } from '../../src/frontend/fluent/volume.ts';
import { Secret } from '../../src/secret/secret.ts';
import { busyboxImage } from '../support/busybox.ts';
import { lacks } from '../support/requires.ts';

const VALUE = 'correct-horse-battery-9f31';
const KEY = '-----BEGIN KEY-----\nQUJDREVGR0hJSktMTU5PUA\ncXdlcnR5dWlvcGFzZGZnaA\n-----END KEY-----\n';
const PIECES = [VALUE, 'QUJDREVGR0hJSktMTU5PUA', 'cXdlcnR5dWlvcGFzZGZnaA'];

describe.skipIf(lacks('bwrap', 'busybox', 'root'))('the value of a secret', () => {
  let dir: string;
  let events: unknown[];

  beforeEach(() => {
    dir = mkdtempSync(join(tmpdir(), 'tsbuild-secrets-'));
    events = [];
  });
  afterEach(() => rmSync(dir, { recursive: true, force: true }));

  const open = () =>
    Engine.open({
      storeDir: join(dir, 'store'),
      env: { PATH: process.env.PATH, HOME: dir },
      onEvent: (event) => events.push(event),
    });

  function expectNowhere(more: readonly string[] = []): void {
    const texts: [string, Buffer][] = [
      ['events', Buffer.from(JSON.stringify(events))],
      ...more.map((text): [string, Buffer] => ['text', Buffer.from(text)]),
      ...filesBelow(dir).map((path): [string, Buffer] => [path, readFileSync(path)]),
    ];
    for (const piece of PIECES) {
      for (const form of [piece, Buffer.from(piece).toString('base64'), encodeURIComponent(piece)]) {
        expect(texts.filter(([, bytes]) => bytes.includes(form)).map(([where]) => where)).toEqual([]);
      }
    }
  }

  test('is in no file, event, error, export or process list, however the step prints it', async () => {
    const secrets = [Secret.fromDict({ TOKEN: VALUE, TOKEN_LINE: `${VALUE}\n`, KEY, SHORT: 'abc' })];
    const image = busyboxImage()
      .runCommands(
        [
          'echo "$TOKEN"; echo "[$TOKEN]" >&2; printf %s "$TOKEN_LINE" | tr "\\n" " "; echo',
          // In pieces, with pauses so that they come apart.
          'printf "correct-horse"; sleep 0.2; printf -- "-battery"; sleep 0.2; echo "-9f31"',
          // One line at a time, as tools quote a key.
          'echo "$KEY"; echo "$KEY" | sed "s/^/> /"; echo "$KEY" | tr "\\n" "|"; echo',
          'echo "short $SHORT"; echo "$TOKEN" > /dev/stderr; sleep 0.5',
        ].join('; '),
        { secrets },
      )
      .runCommands('echo after; env; cat /proc/*/environ /proc/*/cmdline 2>/dev/null; ls -R /run');
    const seen: string[] = [];
    {
      await using engine = await open();
      const building = engine.build([image], {
        outputs: [{ type: 'oci', tar: false, dest: join(dir, 'out'), compression: 'uncompressed' }],
      });
      const timer = setInterval(() => seen.push(...processList()), 50);
      await building.finally(() => clearInterval(timer));
      expect(seen.some((line) => line.includes('bwrap'))).toBe(true);
      expectNowhere(seen.filter((line) => !line.includes('vitest')));
    }
    expectNowhere();
    expect(JSON.stringify(events)).toContain('short abc');
  });

  test('is in nothing that is written where it was stored under a key, nor in a volume of the step', async () => {
    const env = { PATH: process.env.PATH, HOME: dir, TSBUILD_SECRETS_KEY: 'words of the key' };
    await using engine = await Engine.open({
      storeDir: join(dir, 'store'),
      env,
      onEvent: (event) => events.push(event),
    });
    await engine.secrets.create('planted', { TOKEN: VALUE });
    await engine.secrets.update('planted', { KEY });
    const options = {
      secrets: [Secret.fromName('planted', { requiredKeys: ['TOKEN'] })],
      volumes: { '/v': Volume.fromName('v', { createIfMissing: true }) },
    };
    const script = 'echo "$TOKEN"; echo "$KEY" >&2; echo "${#TOKEN}" > /v/length; ls -la /v';
    const image = busyboxImage().runCommands(script, options);
    await engine.build([image], {
      outputs: [{ type: 'oci', tar: false, dest: join(dir, 'out'), compression: 'uncompressed' }],
    });
    const { stdout } = await engine.run(image, ['/bin/sh', '-c', script], options);
    const error = await engine
      .build([busyboxImage().runCommands(`${script}; exit 3`, options)])
      .catch(String);
    expect(readFileSync(join(dir, 'store/volumes/main/v/length'), 'utf8')).toBe(`${VALUE.length}\n`);
    expectNowhere([
      stdout.toString(),
      String(error),
      JSON.stringify(await engine.plan(image)),
      String(options.secrets),
    ]);
  });

  test('is not in the error of a step that fails with it', async () => {
    const secrets = [Secret.fromDict({ TOKEN: VALUE, KEY })];
    const failing = [
      'echo "$TOKEN" >&2; printf %s "$TOKEN"; exit 3',
      'printf %s "$KEY" >&2; kill -9 $$',
      'exec "/no/$TOKEN"',
      'cd "$TOKEN"',
      'eval "$KEY"',
    ];
    await using engine = await open();
    for (const command of failing) {
      const error = await engine.build([busyboxImage().runCommands(command, { secrets })]).then(
        () => undefined,
        (thrown: Error) => thrown,
      );
      expect(error).toBeInstanceOf(Error);
      expectNowhere([JSON.stringify({ ...error }), String(error), String(error?.stack)]);
    }
  });

  test('is out of reach of another step that runs meanwhile', async () => {
    const hold = busyboxImage().runCommands('sleep 1', { secrets: [Secret.fromDict({ TOKEN: VALUE })] });
    const look = busyboxImage().runCommands(
      'sleep 0.3; for p in /proc/[0-9]*; do cat $p/environ $p/cmdline; ls -l $p/root/run/ $p/fd; done 2>&1; find / -xdev -name "secret*"',
    );
    await using engine = await open();
    await engine.build([hold, look]);
    expectNowhere();
  });
});

function filesBelow(dir: string): string[] {
  return readdirSync(dir, { recursive: true, withFileTypes: true }).flatMap((entry) => {
    const path = join(entry.parentPath, entry.name);
    return entry.isFile() && statSync(path, { throwIfNoEntry: false }) !== undefined ? [path] : [];
  });
}

/** Command lines and environments of every process but the tests' own. */
function processList(): string[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .flatMap((pid) => {
      const read = (file: string) => {
        try {
          return readFileSync(`/proc/${pid}/${file}`, 'latin1');
        } catch {
          return '';
        }
      };
      const line = read('cmdline');
      // What the step runs itself has it in its environment; it may be seen by the host's root only.
      return line.startsWith('/bin/sh') || line.startsWith('sh') || line.startsWith('sleep')
        ? [line]
        : [`${line} ${read('environ')}`];
    });
}
