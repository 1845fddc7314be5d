import { PassThrough } from 'node:stream';
import { describe, expect, it } from 'vitest';
import type { CliContext } from '../../../src/cli/context.ts';
import { ask, readSecret, readToEnd } from '../../../src/cli/prompt.ts';

function terminal(signal = new AbortController().signal) {
  const stdin = new PassThrough();
  const raw: boolean[] = [];
  let shown = '';
  const context: CliContext = {
    stdin: Object.assign(stdin, { setRawMode: (on: boolean) => raw.push(on) }),
    stdout: { write: () => true },
    stderr: {
      write: (chunk) => {
        shown += String(chunk);
      },
    },
    env: {},
    cwd: '/',
    signal,
    loadEngine: () => Promise.reject(new Error('not needed')),
  };
  return { context, stdin, raw, shown: () => shown };
}

describe('prompts', () => {
  it('ask twice on one stream, and hide the second answer', async () => {
    const { context, stdin, raw, shown } = terminal();
    const name = ask(context, 'Username: ');
    stdin.write('me\n');
    expect(await name).toBe('me');
    const password = readSecret(context, 'Password: ');
    stdin.write('hunx\x7fter2\r');
    expect(await password).toBe('hunter2');
    expect(raw).toEqual([true, false]);
    expect(shown()).toBe('Username: Password: \n');
  });

  it('end with Ctrl-C, in raw mode too', async () => {
    const { context, stdin, raw } = terminal();
    const password = readSecret(context, '');
    stdin.write('abc\x03');
    await expect(password).rejects.toMatchObject({ signal: 'SIGINT' });
    expect(raw).toEqual([true, false]);
    const controller = new AbortController();
    const waiting = ask(terminal(controller.signal).context, '');
    controller.abort(new Error('enough'));
    await expect(waiting).rejects.toThrow('enough');
  });

  it('read a pipe to its end', async () => {
    const { context, stdin } = terminal();
    const text = readToEnd(context);
    stdin.write('a');
    stdin.end('b\n');
    expect(await text).toBe('ab\n');
  });
});
