import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { runsElf } from '../../../src/executor/elf-probe.ts';
import { executablePlatforms, executionOf } from '../../../src/executor/emulation.ts';
import { probePlatforms } from '../../../src/executor/probe.ts';
import { hostPlatform, parsePlatform } from '../../../src/oci/platform.ts';

const MAGIC = {
  aarch64: ['7f454c460201010000000000000000000200b700', 'ffffffffffffff00fffffffffffffffffeffffff'],
  arm: ['7f454c4601010100000000000000000002002800', 'ffffffffffffff00fffffffffffffffffeffffff'],
  s390x: ['7f454c4602020100000000000000000000020016', 'ffffffffffffff00fffffffffffffffffffeffff'],
  riscv64: ['7f454c460201010000000000000000000200f300', 'ffffffffffffff00fffffffffffffffffeffffff'],
} as const;

let directory: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'tsbuild-binfmt-'));
  writeFileSync(join(directory, 'status'), 'enabled\n');
  writeFileSync(join(directory, 'register'), '');
});
afterEach(() => rmSync(directory, { recursive: true, force: true }));

/** As the kernel prints an entry. */
function register(name: keyof typeof MAGIC, flags: string, state = 'enabled') {
  const [magic, mask] = MAGIC[name];
  writeFileSync(
    join(directory, `qemu-${name}`),
    `${state}\ninterpreter /usr/bin/qemu-${name}\nflags: ${flags}\noffset 0\nmagic ${magic}\nmask ${mask}\n`,
  );
}

function host(architecture = 'amd64', runs: readonly string[] = []) {
  return { architecture, binfmtDir: directory, runs: (other: string) => runs.includes(other) };
}
const execution = (platform: string, of = host()) => executionOf(parsePlatform(platform), of);

describe('executionOf', () => {
  test('this architecture is native, whatever the variant', () => {
    expect(execution('linux/amd64')).toEqual({ kind: 'native' });
    expect(execution('linux/amd64/v3')).toEqual({ kind: 'native' });
  });

  test.each([
    ['amd64', 'linux/386', '386'],
    ['arm64', 'linux/arm/v7', 'arm'],
  ])('%s runs %s if a program of it does', (own, platform, other) => {
    expect(execution(platform, host(own, [other]))).toEqual({ kind: 'native' });
    expect(execution(platform, host(own))).toMatchObject({ kind: 'impossible' });
  });

  test('nothing else is run because a program happens to', () => {
    expect(execution('linux/arm64', host('amd64', ['arm64']))).toMatchObject({ kind: 'impossible' });
  });

  test('the flag F makes the difference', () => {
    register('aarch64', 'F');
    register('arm', 'OC');
    expect(execution('linux/arm64')).toEqual({ kind: 'emulated', interpreter: '/usr/bin/qemu-aarch64' });
    expect(execution('linux/arm/v7')).toEqual({
      kind: 'emulated-from-image',
      interpreter: '/usr/bin/qemu-arm',
    });
  });

  test('an entry is known by what it matches, in either byte order', () => {
    register('s390x', 'OCF');
    expect(execution('linux/s390x').kind).toBe('emulated');
    expect(execution('linux/riscv64').kind).toBe('impossible');
    register('riscv64', 'F');
    expect(execution('linux/riscv64').kind).toBe('emulated');
  });

  test('what is disabled does not count', () => {
    register('aarch64', 'F', 'disabled');
    expect(execution('linux/arm64')).toEqual({
      kind: 'impossible',
      why: "the emulator '/usr/bin/qemu-aarch64' is registered with binfmt_misc and disabled",
    });
    register('aarch64', 'F');
    writeFileSync(join(directory, 'status'), 'disabled\n');
    expect(execution('linux/arm64').kind).toBe('impossible');
  });

  test('entries by file name, and what cannot be read, are passed over', () => {
    writeFileSync(join(directory, 'jar'), 'enabled\ninterpreter /usr/bin/java\nflags: \nextension .jar\n');
    writeFileSync(join(directory, 'odd'), 'enabled\n');
    register('aarch64', 'F');
    expect(execution('linux/arm64').kind).toBe('emulated');
  });

  test('where binfmt_misc is not to be seen, a program is tried', () => {
    rmSync(directory, { recursive: true });
    expect(execution('linux/arm64', host('amd64', ['arm64'])).kind).toBe('emulated');
    expect(execution('linux/arm64').kind).toBe('impossible');
  });

  test('programs of another system are not run', () => {
    expect(execution('windows/amd64')).toMatchObject({ kind: 'impossible' });
  });
});

test('doctor shows the platforms of which programs run', () => {
  register('aarch64', 'F');
  register('arm', '');
  expect(executablePlatforms(host('amd64', ['386'])).map(({ platform }) => platform)).toEqual([
    'linux/amd64',
    'linux/386',
    'linux/arm64',
    'linux/arm/v7',
  ]);
  expect(probePlatforms(host('amd64', ['386']))).toEqual({
    name: 'platforms',
    ok: true,
    required: false,
    detail:
      'linux/amd64, linux/386, linux/arm64 (by /usr/bin/qemu-aarch64), linux/arm/v7 (by /usr/bin/qemu-arm, where the image has it)',
  });
});

test('the smallest program of this machine runs on it', () => {
  expect(runsElf(hostPlatform().architecture)).toBe(true);
  expect(runsElf('unheard-of')).toBe(false);
});
