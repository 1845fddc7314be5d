import { existsSync, mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { StepOutput } from '../../../src/executor/step-output.ts';

let dir: string;
let logPath: string;
let shown: string[];
beforeEach(() => {
  vi.useFakeTimers({ now: 1000 });
  dir = mkdtempSync(join(tmpdir(), 'tsbuild-output-'));
  logPath = join(dir, 'logs/step.log');
  shown = [];
});
afterEach(() => {
  vi.useRealTimers();
  rmSync(dir, { recursive: true, force: true });
});

function open(secrets: readonly string[] = [], keepsLog = true): StepOutput {
  return new StepOutput({
    ...(keepsLog ? { logPath } : {}),
    secrets,
    onText: (stream, text, timeMs) => shown.push(`${timeMs} ${stream} ${text}`),
  });
}
const bytes = (text: string) => Buffer.from(text);
const log = () => readFileSync(logPath, 'utf8');

describe('StepOutput', () => {
  test('shows and records whole lines of both streams, each with its time', () => {
    const output = open();
    output.write('stdout', bytes('one\ntw'));
    vi.setSystemTime(1005);
    output.write('stderr', bytes('error\r\n'));
    output.write('stdout', bytes('o\n\n'));
    output.close();
    expect(shown).toEqual(['1000 stdout one', '1005 stderr error', '1005 stdout two', '1005 stdout ']);
    expect(log()).toBe('1000 stdout one\n1005 stderr error\n1005 stdout two\n1005 stdout \n');
    expect(output.tail()).toBe('one\nerror\ntwo\n');
  });

  test('nothing said leaves no file; what is said is for its owner alone', () => {
    open().close();
    expect(existsSync(logPath)).toBe(false);
    const output = open();
    output.write('stdout', bytes('x\n'));
    output.close();
    expect(statSync(logPath).mode & 0o777).toBe(0o600);
  });

  test('an end without a line feed is a line', () => {
    const output = open();
    output.write('stdout', bytes('no end'));
    output.endExec();
    output.write('stdout', bytes('next\n'));
    output.close();
    expect(shown).toEqual(['1000 stdout no end', '1000 stdout next']);
    expect(log()).toBe('1000 stdout no end\n1000 stdout next\n');
  });

  test('a prompt is shown after a moment, once, and recorded as one line', () => {
    const output = open();
    output.write('stdout', bytes('name? '));
    expect(shown).toEqual([]);
    vi.advanceTimersByTime(100);
    expect(shown).toEqual(['1100 stdout name? ']);
    output.write('stdout', bytes('Ada\n'));
    vi.advanceTimersByTime(1000);
    output.close();
    expect(shown).toEqual(['1100 stdout name? ', '1100 stdout Ada']);
    expect(log()).toBe('1100 stdout name? Ada\n');
  });

  test('a character that is cut is not shown by half', () => {
    const output = open();
    const text = bytes('aü');
    output.write('stdout', text.subarray(0, 2));
    vi.advanceTimersByTime(100);
    output.write('stdout', text.subarray(2));
    output.close();
    expect(shown).toEqual(['1100 stdout a', '1100 stdout ü']);
    expect(log()).toBe('1100 stdout aü\n');
  });

  test('a line of any length is passed on in parts, and joined again it is complete', () => {
    const output = open();
    const line = 'ü€🦀x'.repeat(20_000);
    for (let at = 0; at < bytes(line).length; at += 1000) {
      output.write('stdout', bytes(line).subarray(at, at + 1000));
    }
    output.write('stdout', bytes('\n'));
    output.close();
    expect(shown.length).toBeGreaterThan(2);
    expect(shown.map((text) => text.replace(/^\d+ stdout /, '')).join('')).toBe(line);
    const records = log().trimEnd().split('\n');
    expect(records.slice(0, -1).every((record) => record.includes(' stdout+ '))).toBe(true);
    expect(records.map((record) => record.replace(/^\d+ stdout\+? /, '')).join('')).toBe(line);
    expect(output.tail().length).toBeLessThanOrEqual(8192);
  });

  test('bytes that are no text are recorded as they are', () => {
    const output = open();
    output.write('stdout', Buffer.from([0xff, 0x00, 0xc3, 0x0a]));
    output.close();
    expect(readFileSync(logPath).subarray('1000 stdout '.length)).toEqual(
      Buffer.from([0xff, 0x00, 0xc3, 0x0a]),
    );
  });

  test('secrets are nowhere, also when they are cut, and the streams do not mix', () => {
    const output = open(['hunter2!']);
    output.write('stdout', bytes('a hunt'));
    output.write('stderr', bytes('er2! b hunter2!\n'));
    output.write('stdout', bytes('er2! c\n'));
    output.write('stdout', bytes('ends with hunte'));
    vi.advanceTimersByTime(100);
    output.close();
    const all = `${shown.join('\n')}\n${log()}\n${output.tail()}`;
    expect(all).not.toContain('hunter2!');
    expect(shown).toEqual([
      '1000 stderr er2! b ***',
      '1000 stdout a *** c',
      '1100 stdout ends with ',
      '1100 stdout hunte',
    ]);
  });

  test('only the last lines are kept for the error', () => {
    const output = open([], false);
    output.write('stdout', bytes(Array.from({ length: 200 }, (_, index) => `line ${index}\n`).join('')));
    output.close();
    expect(output.tail().split('\n')).toHaveLength(50);
    expect(output.tail()).toMatch(/^line 150\n[\s\S]*line 199$/);
    expect(existsSync(logPath)).toBe(false);
  });
});
