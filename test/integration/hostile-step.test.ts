/** A program in the sandbox that is root there and means harm: what it may reach, and where the worker may follow it. */
import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { Engine } from '../../src/engine.ts';
import type { Image } from '../../src/frontend/fluent/image.ts';
import { busyboxDefinition, busyboxImage } from '../support/busybox.ts';
import { lacks } from '../support/requires.ts';
import { succeed } from '../support/tsbuild.ts';

describe.skipIf(lacks('bwrap', 'runc', 'crun', 'busybox', 'root')).each([
  ['overlay', 'bubblewrap'],
  ['overlay', 'runc'],
  ['copy', 'crun'],
] as const)('a hostile step on %s in %s', (driver, sandbox) => {
  let dir: string;
  let victim: string;
  let lines: string[];

  beforeEach(() => {
    dir = mkdtempSync(join(tmpdir(), 'tsbuild-hostile-'));
    victim = join(dir, 'victim');
    lines = [];
    mkdirSync(join(victim, 'tsbuild'), { recursive: true });
    for (const name of ['hosts', 'resolv.conf', 'passwd', 'group']) {
      writeFileSync(join(victim, name), '');
    }
  });
  afterEach(() => rmSync(dir, { recursive: true, force: true }));

  const open = () =>
    Engine.open({
      storeDir: join(dir, 'store'),
      env: { PATH: process.env.PATH, HOME: dir, TSBUILD_SNAPSHOT: driver },
      sandbox,
      onEvent: (event) => {
        if (event.kind === 'log') {
          lines.push(event.text);
        }
      },
    });
  /** What the commands print; they may fail. */
  const said = async (script: string, image: Image = busyboxImage()) => {
    await using engine = await open();
    lines = [];
    await engine.build([image.runCommands(`{ ${script}; } 2>&1 || true`)]);
    return lines.join('\n');
  };

  test('cannot change the kernel, which is the host', async () => {
    const pattern = readFileSync('/proc/sys/kernel/core_pattern', 'utf8').trimEnd();
    const changed =
      'for f in kernel/core_pattern vm/swappiness; do v=$(cat /proc/sys/$f); echo "$v" > /proc/sys/$f && echo CHANGED; done';
    const answer = await said(changed);
    expect(answer).not.toContain('CHANGED');
    expect(answer).toContain('Read-only file system');
    expect(readFileSync('/proc/sys/kernel/core_pattern', 'utf8').trimEnd()).toBe(pattern);
  });

  test('has no way to what the process above it has open', async () => {
    const answer = await said(
      'readlink /proc/1/fd/3 && echo LISTED; ls /proc/1/root/ && echo FOLLOWED; cat /proc/1/environ && echo READ',
    );
    expect(answer).not.toMatch(/LISTED|FOLLOWED|READ/);
  });

  test('does not lead the worker out by moving directories that hold mountpoints', async () => {
    await said(`mv /etc /e; mv /run /r; ln -s ${victim} /etc; ln -s ${victim} /run`);
    expect(readdirSync(victim).sort()).toEqual(['group', 'hosts', 'passwd', 'resolv.conf', 'tsbuild']);
  });

  test('does not lead a later step out of the root', async () => {
    writeFileSync(join(victim, 'passwd'), 'evil:x:4242:4242::/:/bin/sh\n');
    // Links that lead nowhere, up and round in circles, where the worker looks things up, makes directories and mounts.
    const trap = busyboxImage().runCommands(
      `ln -s ${victim} /work; mkdir /d; ln -s / /d/up; ln -s loop /loop; ln -s ${victim} /var`,
      `mkdir -p /etc; for f in passwd group; do ln -s ../../../../..${victim}/$f /etc/$f; done`,
    );
    await said('echo in > x', trap.workdir('/d/up/../../inside'));
    await using engine = await open();
    // What lies behind a link that leads nowhere is made, inside.
    await said('pwd -P > x', trap.workdir('/work/new/deep'));
    for (const cwd of ['/loop', '/loop/deep']) {
      await expect(engine.build([trap.workdir(cwd).runCommands('true')])).rejects.toMatchObject({
        code: expect.stringMatching(/^(E_PATH_BLOCKED|E_IO|E_MOUNT_TARGET)$/),
      });
    }
    expect(await engine.exists(trap, '/etc/passwd')).toBe(false);
    await expect(engine.readFile(trap, '/etc/passwd')).rejects.toMatchObject({ code: 'E_FILE_NOT_FOUND' });
    expect(await engine.listFiles(trap, '/work')).toEqual([]);
    await expect(engine.run(trap, ['/bin/sh', '-c', 'true'], { user: 'evil' })).rejects.toMatchObject({
      code: 'E_UNKNOWN_USER',
    });
    const fifo = busyboxImage().runCommands('mkdir -p /etc && rm -f /etc/passwd && mkfifo /etc/passwd');
    await expect(engine.run(fifo, ['/bin/sh', '-c', 'true'], { user: 'evil' })).rejects.toMatchObject({
      code: 'E_UNKNOWN_USER',
    });
    await expect(engine.readFile(fifo, '/etc/passwd')).rejects.toHaveProperty('code');
    expect(readdirSync(victim).sort()).toEqual(['group', 'hosts', 'passwd', 'resolv.conf', 'tsbuild']);
  });

  test('gets no variable out of an argument', async () => {
    await using engine = await open();
    const image = busyboxImage().runCommands('true\0LD_PRELOAD=/evil.so');
    await expect(engine.build([image])).rejects.toMatchObject({ code: 'E_ARG_TYPE' });
  });

  test('an exported tree follows no link that is there and removes nothing but what is in its place', async () => {
    const dest = join(dir, 'out');
    mkdirSync(dest);
    writeFileSync(join(dest, 'precious'), 'mine');
    symlinkSync(victim, join(dest, 'bin'));
    await using engine = await open();
    const write = (path: string) =>
      engine.build([busyboxImage()], { outputs: [{ type: 'local', dest: path }] });
    await write(dest);
    expect(readdirSync(dest).sort()).toEqual(['bin', 'precious']);
    expect(readFileSync(join(dest, 'precious'), 'utf8')).toBe('mine');
    expect(readdirSync(join(dest, 'bin'))).toEqual(['sh']);
    expect(readdirSync(victim)).toHaveLength(5);
    // Where a file should be, a directory of the user's with something in it stays.
    rmSync(join(dest, 'bin/sh'));
    mkdirSync(join(dest, 'bin/sh/mine'), { recursive: true });
    await expect(write(dest)).rejects.toMatchObject({ code: 'E_OUTPUT_EXISTS' });
    expect(readdirSync(join(dest, 'bin'))).toEqual(['sh']);
    expect(readdirSync(join(dest, 'bin/sh'))).toEqual(['mine']);
  });
});

describe.skipIf(lacks('bwrap', 'busybox', 'root'))('a careless caller', () => {
  test('that is spared when memory runs out does not have its steps spared', async () => {
    const dir = mkdtempSync(join(tmpdir(), 'tsbuild-hostile-'));
    try {
      writeFileSync(join(dir, 'image.ts'), busyboxDefinition("runCommands('cat /proc/self/oom_score_adj')"));
      const { stderr } = await succeed(['build', '--progress', 'plain', 'image.ts'], {
        cwd: dir,
        env: { TSBUILD_HOME: join(dir, 'store') },
        before: ['sh', '-c', 'echo -500 > /proc/self/oom_score_adj; exec "$@"', 'sh'],
      });
      expect(stderr).toMatch(/^#\d+ [\d.]+ 0$/m);
    } finally {
      rmSync(dir, { recursive: true, force: true });
    }
  });

  test('a directory that it left open does not reach the step', async () => {
    const dir = mkdtempSync(join(tmpdir(), 'tsbuild-hostile-'));
    try {
      writeFileSync(
        join(dir, 'image.ts'),
        busyboxDefinition(
          "runCommands('for fd in /proc/1/fd/* /proc/self/fd/*; do test -d $fd/ && ls -d $fd/.; done; ls -l /proc/self/fd | grep -v pipe; echo DONE')",
        ),
      );
      const { stderr } = await succeed(['build', '--progress', 'plain', 'image.ts'], {
        cwd: dir,
        env: { TSBUILD_HOME: join(dir, 'store') },
        before: ['sh', '-c', 'exec 9</; exec "$@"', 'sh'],
      });
      expect(stderr).toContain('DONE');
      expect(stderr).not.toMatch(/fd\/9|9 -> /);
    } finally {
      rmSync(dir, { recursive: true, force: true });
    }
  });
});
