import { existsSync, mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { StepOutput } from '../../../src/executor/step-output.ts';

const MAX_LINE = 64 * 1024;

let dir: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'tsbuild-output-'));
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

function capture(secrets: readonly string[] = []) {
  const shown: string[] = [];
  const logPath = join(dir, 'logs/step.log');
  const output = new StepOutput({
    logPath,
    secrets,
    onText: (stream, text) => shown.push(`${stream}: ${text}`),
  });
  return {
    shown,
    output,
    logPath,
    out: (text: string) => output.write('stdout', Buffer.from(text)),
    err: (text: string) => output.write('stderr', Buffer.from(text)),
    /** Without the times, which are checked to be ones. */
    log: () =>
      readFileSync(logPath, 'utf8')
        .split('\n')
        .slice(0, -1)
        .map((record) => {
          const [, time, rest] = /^(\d{13}) ([\s\S]*)$/.exec(record) ?? [];
          expect(Math.abs(Date.now() - Number(time))).toBeLessThan(60_000);
          return rest;
        }),
  };
}

test('lines are shown when they are whole, each of its stream', () => {
  const { out, err, shown, output, log } = capture();
  out('one\ntw');
  err('oops\n');
  out('o\n\nthree');
  expect(shown).toEqual(['stdout: one', 'stderr: oops', 'stdout: two', 'stdout: ']);
  output.close();
  expect(shown.slice(4)).toEqual(['stdout: three']);
  expect(log()).toEqual(['stdout one', 'stderr oops', 'stdout two', 'stdout ', 'stdout three']);
});

test('a carriage return before the line feed is no part of the line, others are', () => {
  const { out, shown, output, log } = capture();
  out('dos\r\n10%\r20%\r\nend\r');
  output.close();
  expect(shown).toEqual(['stdout: dos', 'stdout: 10%\r20%', 'stdout: end\r']);
  expect(log()).toEqual(['stdout dos', 'stdout 10%\r20%', 'stdout end\r']);
});

test('each exec ends its own line, and the file goes on', () => {
  const { out, shown, output, log } = capture();
  out('first');
  output.endExec();
  output.endExec();
  out('second');
  output.close();
  output.close();
  expect(shown).toEqual(['stdout: first', 'stdout: second']);
  expect(log()).toEqual(['stdout first', 'stdout second']);
});

test('the file is for its owner alone, and made anew; a step that says nothing has none', () => {
  const silent = capture();
  silent.output.close();
  expect(existsSync(silent.logPath)).toBe(false);
  for (const text of ['earlier', 'now']) {
    const { out, output, log, logPath } = capture();
    out(`${text}\n`);
    expect(log()).toEqual([`stdout ${text}`]);
    expect(statSync(logPath).mode & 0o777).toBe(0o600);
    output.close();
  }
});

test('without a file lines are shown all the same', () => {
  const shown: string[] = [];
  const output = new StepOutput({ secrets: [], onText: (_stream, text) => shown.push(text) });
  output.write('stdout', Buffer.from('a\nb\n'));
  output.close();
  expect(shown).toEqual(['a', 'b']);
  expect(output.tail()).toBe('a\nb');
});

describe('lines without their end', () => {
  beforeEach(() => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
  });
  afterEach(() => {
    vi.useRealTimers();
  });

  test('are shown after a while, once, and recorded when they end', () => {
    const { out, shown, output, log } = capture();
    out('Password');
    out(': ');
    expect(shown).toEqual([]);
    vi.runAllTimers();
    expect(shown).toEqual(['stdout: Password: ']);
    out('ok\nnext\n');
    expect(shown.slice(1)).toEqual(['stdout: ok', 'stdout: next']);
    output.close();
    expect(log()).toEqual(['stdout Password: ok', 'stdout next']);
    expect(vi.getTimerCount()).toBe(0);
  });

  test('are not cut within a character', () => {
    const { shown, output } = capture();
    const bytes = Buffer.from('a€');
    output.write('stdout', bytes.subarray(0, 2));
    vi.runAllTimers();
    expect(shown).toEqual(['stdout: a']);
    output.write('stdout', bytes.subarray(2));
    output.close();
    expect(shown.slice(1)).toEqual(['stdout: €']);
    expect(output.tail()).toBe('a€');
  });

  test('hold back what may be the beginning of a secret', () => {
    const { out, shown, output } = capture(['hunter2']);
    out('is it hunt');
    vi.runAllTimers();
    expect(shown).toEqual(['stdout: is it ']);
    out('er2?');
    vi.runAllTimers();
    expect(shown.slice(1)).toEqual(['stdout: ***?']);
    out(' hunt');
    output.close();
    expect(output.tail()).toBe('is it ***? hunt');
  });
});

describe('long lines', () => {
  test('are shown and recorded in parts that say so', () => {
    const { out, shown, output, log } = capture();
    const line = `${'x'.repeat(2 * MAX_LINE)}y`;
    out(`${line}\nshort\n`);
    output.close();
    expect(log()).toEqual([
      `stdout+ ${'x'.repeat(MAX_LINE)}`,
      `stdout+ ${'x'.repeat(MAX_LINE)}`,
      'stdout y',
      'stdout short',
    ]);
    expect(shown.map((text) => text.length - 'stdout: '.length)).toEqual([MAX_LINE, MAX_LINE, 1, 5]);
  });

  test('of exactly the limit are whole', () => {
    const { out, output, log } = capture();
    out('x'.repeat(MAX_LINE));
    out('\n');
    output.close();
    expect(log()).toEqual([`stdout ${'x'.repeat(MAX_LINE)}`]);
  });

  test('are cut between characters', () => {
    const { out, shown, output } = capture();
    const line = `ab${'€'.repeat(MAX_LINE / 2)}`;
    out(`${line}\n`);
    output.close();
    expect(shown.length).toBeGreaterThan(1);
    expect(shown.map((text) => text.slice('stdout: '.length)).join('')).toBe(line);
    expect(shown.join('')).not.toContain('\ufffd');
  });

  test('with what was shown of them before are not shown twice', () => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
    try {
      const { out, shown, output } = capture();
      out('abc');
      vi.runAllTimers();
      out('x'.repeat(MAX_LINE));
      output.close();
      expect(shown.map((text) => text.slice('stdout: '.length)).join('')).toBe(`abc${'x'.repeat(MAX_LINE)}`);
    } finally {
      vi.useRealTimers();
    }
  });
});

test('secrets are masked in what is shown, kept and recorded, wherever they are cut', () => {
  const { shown, output, logPath } = capture(['hunter2', 'line one\nline two']);
  for (const byte of Buffer.from('a hunter2 b\nline one\nline two!\nhunter')) {
    output.write('stdout', Buffer.of(byte));
  }
  output.close();
  expect(shown).toEqual(['stdout: a *** b', 'stdout: ***!', 'stdout: hunter']);
  expect(output.tail()).toBe('a *** b\n***!\nhunter');
  expect(readFileSync(logPath, 'utf8')).not.toMatch(/hunter2|line one/);
});

test('a secret that is cut between two streams is none', () => {
  const { out, err, shown, output } = capture(['hunter2']);
  out('hunt');
  err('er2\n');
  output.close();
  expect(shown).toEqual(['stderr: er2', 'stdout: hunt']);
});

test('bytes that are no text are recorded as they are', () => {
  const { output, logPath } = capture();
  const bytes = Buffer.from(Array.from({ length: 256 }, (_, byte) => byte).filter((byte) => byte !== 10));
  output.write('stderr', Buffer.concat([bytes, Buffer.from('\n')]));
  output.close();
  const recorded = readFileSync(logPath);
  expect(recorded.subarray(recorded.indexOf('stderr ') + 7)).toEqual(
    Buffer.concat([bytes, Buffer.from('\n')]),
  );
});

test('the file is complete, however much is written at once', () => {
  const { out, output, log } = capture();
  const lines = Array.from({ length: 20_000 }, (_, number) => `line number ${number}`);
  out(`${lines.join('\n')}\n`);
  output.close();
  expect(log()).toEqual(lines.map((line) => `stdout ${line}`));
});

test('the tail is the last lines, of both streams, and bounded', () => {
  const { out, err, output } = capture();
  for (let number = 0; number < 100; number += 1) {
    (number % 2 === 0 ? out : err)(`line ${number}\n`);
  }
  expect(output.tail()).toBe(Array.from({ length: 50 }, (_, index) => `line ${index + 50}`).join('\n'));
  for (let number = 0; number < 10; number += 1) {
    out(`${String(number).repeat(4000)}\n`);
  }
  expect(output.tail()).toHaveLength(8 * 1024);
  expect(output.tail().endsWith(`\n${'9'.repeat(4000)}`)).toBe(true);
  out(`${'z'.repeat(200_000)}end\n`);
  // Of a line that was cut, the last part.
  expect(output.tail()).toMatch(/\n9+\nz+end$/);
  expect(output.tail()).toHaveLength(8 * 1024);
  out(`${'y'.repeat(60_000)}end\n`);
  expect(output.tail()).toBe(`${'y'.repeat(8 * 1024 - 3)}end`);
  output.close();
});

test('what we say ourselves is in the file only, masked, on one line', () => {
  const { out, output, log, shown } = capture(['s3cret']);
  out('one\n');
  output.note('W_DEVICE: first\nsecond s3cret');
  output.close();
  expect(shown).toEqual(['stdout: one']);
  expect(log()).toEqual(['stdout one', 'tsbuild W_DEVICE: first second ***']);
});

test('an attempt that says nothing does not leave the log of the one before', () => {
  const first = capture();
  first.out('failed\n');
  first.output.close();
  const second = capture();
  second.output.close();
  expect(existsSync(second.logPath)).toBe(false);
});

test('of a log that is too long the beginning and the end are kept, whole records only', () => {
  const logPath = join(dir, 'logs/long.log');
  const output = new StepOutput({ logPath, secrets: [], onText: () => undefined, maxLogBytes: 1000 });
  const COUNT = 100_000;
  for (let index = 0; index < COUNT; index += 1) {
    output.write('stdout', Buffer.from(`line ${index}\n`));
  }
  output.note('the end');
  output.close();
  const records = readFileSync(logPath, 'utf8').split('\n').slice(0, -1);
  const at = records.findIndex((record) => record.includes('left out'));
  expect(records.slice(0, at).every((record, index) => record.endsWith(` stdout line ${index}`))).toBe(true);
  const end = records.slice(at + 1);
  expect(end.at(-1)).toMatch(/^\d{13} tsbuild the end$/);
  expect(end.at(-2)).toMatch(new RegExp(`^\\d{13} stdout line ${COUNT - 1}$`));
  expect(end.every((record) => /^\d{13} (stdout line \d+|tsbuild the end)$/.test(record))).toBe(true);
  const { size } = statSync(logPath);
  expect(size).toBeGreaterThan(200 * 1024);
  expect(size).toBeLessThan(300 * 1024);
  // Nothing is lost without being counted.
  const leftOut = Number(/tsbuild (\d+) bytes/.exec(records[at] ?? '')?.[1]);
  const lines = Array.from(
    { length: COUNT },
    (_, index) => `line ${index}`.length + '0000000000000 stdout \n'.length,
  );
  const whole = lines.reduce((total, length) => total + length, 0);
  const kept = records.filter((record) => record.includes(' stdout line ')).join('\n').length + 1;
  expect(Math.abs(kept + leftOut - whole)).toBeLessThanOrEqual(1);
});

test('a secret with several blanks is masked in what we say ourselves, too', () => {
  const { output, log } = capture(['two  blanks\tand a tab']);
  output.note('E_X: before two  blanks\tand a tab\nafter  it é');
  output.close();
  expect(log()).toEqual(['tsbuild E_X: before *** after it é']);
});
