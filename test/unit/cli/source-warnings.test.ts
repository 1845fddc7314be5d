import { describe, expect, test } from 'vitest';
import { SourceWarnings } from '../../../src/cli/source-warnings.ts';
import type { BuildEvent, WarningSource } from '../../../src/solver/event.ts';
import { cli } from '../../support/cli.ts';

const warning = (code: string, message: string, source?: WarningSource): BuildEvent => ({
  kind: 'warning',
  timeMs: 0,
  code,
  message,
  ...(source === undefined ? {} : { source }),
});
const inFile = (line: number, file = '/project/Dockerfile', message = 'a message') =>
  warning('UndefinedVar', message, { file, line });

describe('warnings about a file', () => {
  test('are lines below its name, each once', () => {
    const warnings = new SourceWarnings('/project');
    const events = [
      inFile(3),
      warning('FromAsCasing', "'as' is not in the case of 'FROM'", { file: '/project/Dockerfile', line: 12 }),
      inFile(3),
      warning('W_FILE', 'of the whole file', { file: '/project/Dockerfile' }),
      inFile(1, '/elsewhere/Dockerfile', 'red \u001b[31m'),
    ];
    expect(events.map((event) => warnings.take(event))).toEqual(events.map(() => true));
    expect(warnings.text()).toBe(
      `3 warnings in Dockerfile (tsbuild build --check shows the lines):
  line 3   UndefinedVar  a message
  line 12  FromAsCasing  'as' is not in the case of 'FROM'
           W_FILE        of the whole file
1 warning in /elsewhere/Dockerfile (tsbuild build --check shows the lines):
  line 1  UndefinedVar  red
`,
    );
  });

  test('end where a screen does', () => {
    const warnings = new SourceWarnings('/');
    for (let line = 1; line <= 30; line += 1) {
      warnings.take(inFile(line));
    }
    expect(warnings.text()).toContain('30 warnings in');
    expect(warnings.text()).toContain('  line 20  UndefinedVar  a message\n  … and 10 more\n');
  });

  test('others are left to the progress, and none is no text', () => {
    const warnings = new SourceWarnings('/');
    expect(warnings.take(warning('W_CACHE', 'a message'))).toBe(false);
    expect(warnings.take({ kind: 'built', timeMs: 0, durationMs: 1 })).toBe(false);
    expect(warnings.text()).toBe('');
  });
});

describe('of a build', () => {
  const events = [inFile(3, 'Dockerfile'), warning('W_CACHE', 'something else')];
  const block = `1 warning in Dockerfile (tsbuild build --check shows the lines):\n  line 3  UndefinedVar  a message\n`;
  const build = (...flags: string[]) =>
    cli(['build', ...flags, '--file=Dockerfile', '.'], {
      events,
      diagnostics: [{ code: 'UndefinedVar', message: 'a message', source: { file: 'Dockerfile', line: 3 } }],
      cwd: import.meta.dirname,
    });

  test('come once, at the end', async () => {
    const { stderr } = await build('--progress=plain');
    expect(stderr).toBe(`WARNING: something else (W_CACHE)\n\n${block}`);
  });

  test('come before the error', async () => {
    const { status, stderr } = await cli(['build', '.'], {
      events,
      failure: new Error('no'),
      cwd: import.meta.dirname,
    });
    expect(status).not.toBe(0);
    expect(stderr.indexOf(block)).toBeGreaterThan(-1);
    expect(stderr.indexOf(block)).toBeLessThan(stderr.indexOf('error: '));
  });

  test('are events for programs, and nothing for who wants to hear nothing', async () => {
    const { stderr } = await build('--progress=json');
    expect(
      stderr
        .trim()
        .split('\n')
        .map((line) => JSON.parse(line)),
    ).toEqual(events);
    expect((await build('--quiet')).stderr).toBe('');
  });
});
