/** Questions about a Dockerfile, with the real engine: nothing is built, and every base is `scratch`. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import * as engine from '../../../src/cli/engine-module.ts';
import { cli } from '../../support/cli.ts';

let directory: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'tsbuild-describe-'));
});
afterEach(() => rmSync(directory, { recursive: true, force: true }));

async function ask(text: string, ...flags: string[]) {
  writeFileSync(join(directory, 'Dockerfile'), text);
  const env = { PATH: process.env.PATH, HOME: directory, TSBUILD_HOME: join(directory, 'home') };
  const result = await cli(['build', ...flags, directory], { engine, env });
  const local = (written: string) => written.replaceAll(`${directory}/`, '');
  return { ...result, stdout: local(result.stdout), stderr: local(result.stderr) };
}

const golden = (name: string) => `../../golden/cli/${name}`;

const FAULTY = `# check=skip=JSONArgsRecommended
FROM scratch AS Build
COPY $src \\
  /src
FROM scratch
MAINTAINER me
CMD run it
`;

const BROKEN = `FROM scratch AS Build
MAINTAINER me
RUN true
USER \${
`;

const SEVERAL = `# VERSION is what is built.
ARG VERSION=1
ARG BASE=scratch
# Which mirror, and no description.
ARG IMAGE=$BASE
# fetch gets the sources.
FROM $IMAGE AS fetch
RUN --mount=type=secret,id=token --mount=type=ssh,required true
ARG VERSION
FROM scratch AS not-needed
ARG UNUSED=1
RUN --mount=type=secret,id=other true
FROM scratch
# FLAVOUR of the product
ARG FLAVOUR
COPY --from=fetch /a /
RUN --mount=type=secret,id=token,required true
`;

describe('tsbuild build --check', () => {
  test('shows each violation with its lines, and the exit status is 1', async () => {
    const { status, stdout, stderr } = await ask(FAULTY, '--check');
    await expect(stdout).toMatchFileSnapshot(golden('check.txt'));
    expect([status, stderr]).toEqual([1, '']);
  });

  test('as JSON, by each of its names', async () => {
    const { status, stdout } = await ask(FAULTY, '--call=check,format=json');
    await expect(stdout).toMatchFileSnapshot(golden('check.json'));
    expect(status).toBe(1);
    expect((await ask(FAULTY, '--call=lint,format=json')).stdout).toBe(stdout);
    expect((await ask(FAULTY, '--check', '--call=check,format=json')).stdout).toBe(stdout);
  });

  test('finds nothing', async () => {
    const { status, stdout } = await ask('FROM scratch\n', '--check');
    expect([status, stdout]).toEqual([0, 'Check complete, no warnings found.\n']);
    const json = await ask('FROM scratch\n', '--call=check,format=json');
    expect([json.status, JSON.parse(json.stdout)]).toEqual([
      0,
      { warnings: [], sources: [{ filename: 'Dockerfile' }] },
    ]);
  });

  test('a target and what it needs', async () => {
    const { stdout } = await ask(FAULTY, '--call=check,format=json', '--target=build');
    const { warnings } = JSON.parse(stdout) as { warnings: { ruleName: string }[] };
    // What the text alone shows is shown wherever it is.
    expect(warnings.map(({ ruleName }) => ruleName)).toEqual([
      'StageNameCasing',
      'UndefinedVar',
      'MaintainerDeprecated',
    ]);
    const other = await ask(`${FAULTY}FROM scratch AS last\n`, '--call=check,format=json', '--target=last');
    expect(other.stdout).not.toContain('UndefinedVar');
  });

  test('what was found before an error is shown with it', async () => {
    const { status, stdout } = await ask(BROKEN, '--check');
    await expect(stdout).toMatchFileSnapshot(golden('check-error.txt'));
    expect(status).toBe(1);
    const json = await ask(BROKEN, '--call=check,format=json');
    expect(json.status).toBe(1);
    expect(JSON.parse(json.stdout)).toMatchObject({
      warnings: [{ ruleName: 'StageNameCasing' }, { ruleName: 'MaintainerDeprecated' }],
      buildError: { location: { ranges: [{ start: { line: 4 }, end: { line: 4 } }] } },
    });
  });

  test.each([
    ['COPY a b\n', 'FROM'],
    ['FROM scratch\nRUM x\n', 'RUM'],
    ['# check=skip\nFROM scratch\n', 'key=value'],
  ])('%j is an error, not a violation', async (text, word) => {
    const { status, stdout } = await ask(text, '--check');
    expect(status).toBe(1);
    expect(stdout).toContain('error: ');
    expect(stdout).toContain(word);
    expect(stdout).toContain('Check ended at an error, no warnings found before it.\n');
  });

  test('error=true changes nothing: all are shown', async () => {
    const { status, stdout } = await ask(
      `# check=error=true\nFROM scratch AS A\nFROM scratch AS B\n`,
      '--check',
    );
    expect(status).toBe(1);
    expect(stdout).toContain('Check complete, 2 warnings found!\n');
  });

  test('control characters of the file stay in the file', async () => {
    const { stdout } = await ask('FROM scratch\nWORKDIR \u001b[31mred\n', '--check');
    expect(stdout).toContain('WorkdirRelativePath');
    expect(stdout).not.toContain('\u001b');
  });
});

describe('tsbuild build --call=outline', () => {
  test('lists what the target and the stages that it needs take', async () => {
    const { status, stdout } = await ask(SEVERAL, '--call=outline', '--build-arg=FLAVOUR=plum');
    await expect(stdout).toMatchFileSnapshot(golden('outline.txt'));
    expect(status).toBe(0);
    const json = await ask(SEVERAL, '--call=outline,format=json', '--build-arg=FLAVOUR=plum');
    await expect(json.stdout).toMatchFileSnapshot(golden('outline.json'));
  });

  test('of one target', async () => {
    const { stdout } = await ask(SEVERAL, '--call=outline', '--target=fetch');
    await expect(stdout).toMatchFileSnapshot(golden('outline-target.txt'));
  });

  test('an error is an error', async () => {
    const { status, stdout, stderr } = await ask(BROKEN, '--call=outline');
    expect([status, stdout]).toEqual([2, '']);
    expect(stderr).toContain('Dockerfile:4');
  });
});

describe('tsbuild build --call=targets', () => {
  test('lists the stages, and which is the default', async () => {
    const { status, stdout } = await ask(SEVERAL, '--call=targets');
    await expect(stdout).toMatchFileSnapshot(golden('targets.txt'));
    expect(status).toBe(0);
    const json = await ask(SEVERAL, '--call=targets,format=json');
    await expect(json.stdout).toMatchFileSnapshot(golden('targets.json'));
  });

  test('no more than the text is looked at', async () => {
    const text = 'FROM registry.invalid/a --no AS a\n';
    expect((await ask(text.replace(' --no', ''), '--call=targets')).stdout).toBe(
      'TARGET       DESCRIPTION\na (default)\n',
    );
    const broken = await ask(text, '--call=targets');
    expect([broken.status, broken.stdout]).toEqual([2, '']);
  });
});

describe('tsbuild build', () => {
  const text = 'FROM scratch AS Build\nCMD run it\n';

  test('builds, and says at its end what the checks found', async () => {
    const { status, stdout, stderr } = await ask(text);
    expect(status).toBe(0);
    expect(stdout).toMatch(/^sha256:[0-9a-f]{64}\n$/);
    expect(stderr.slice(stderr.indexOf('2 warnings'))).toBe(
      `2 warnings in Dockerfile (tsbuild build --check shows the lines):
  line 1  StageNameCasing      the stage 'Build' is not in lower case
  line 2  JSONArgsRecommended  CMD in shell form: the shell gets the signals, not the program
`,
    );
    expect(stderr.match(/StageNameCasing/g)).toHaveLength(1);
  });

  test('fails when that is wanted', async () => {
    const { status, stdout, stderr } = await ask(`# check=error=true\n${text}`);
    expect([status, stdout]).toEqual([2, '']);
    expect(stderr.slice(stderr.indexOf('2 warnings'))).toContain(
      'error: the Dockerfile violates build checks: StageNameCasing, JSONArgsRecommended\n',
    );
    expect(stderr.match(/line 2 /g)).toHaveLength(1);
  });
});

describe('questions that cannot be asked', () => {
  test.each([
    [['--call=chekc'], "'chekc' is not one of build, check, outline, targets, lint"],
    [['--call=outline,format=yaml'], "'format=yaml' is not format=json"],
    [['--call=outline', '--check'], '--check and --call=outline ask for different things'],
  ])('%j', async (flags, message) => {
    const { status, stdout, stderr } = await ask('FROM scratch\n', ...flags);
    expect([status, stdout]).toEqual([2, '']);
    expect(stderr).toContain(message);
  });

  test.each(['--check', '--call=targets'])('%s of a definition file', async (flag) => {
    const definition = join(directory, 'image.ts');
    writeFileSync(definition, 'export default 1;\n');
    const { status, stderr } = await cli(['build', flag, definition], { engine });
    expect(status).toBe(2);
    expect(stderr).toContain('is for a Dockerfile');
  });
});
