/** The layer of a COPY that nothing goes on from is a blob only; whoever needs its files later gets them from there. */
import { linkSync, readdirSync, rmSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { SHELL_STAGE, Workbench } from '../../support/workbench.ts';

let bench: Workbench;
beforeAll(() => {
  bench = new Workbench();
});
afterAll(() => {
  bench[Symbol.dispose]();
});

const FILES = {
  'a/one': 'one',
  'a/run': { text: '#!/bin/sh\n', mode: 0o750 },
  'b/link': { link: '../a/one' },
  'b/empty': '',
  c: null,
};

describe('a last COPY', () => {
  test('makes no snapshot, and later steps find its files', async () => {
    const context = bench.context('plain', FILES);
    const stdin = `${SHELL_STAGE}FROM sh\nCOPY . /srv/\n`;
    const copied = await bench.image(['-f', '-', context], { stdin });
    const snapshots = () => readdirSync(bench.at('store/snapshots')).length;
    expect(snapshots()).toBe(1);
    const next = `${stdin}RUN test "$(cat /srv/b/link)" = one && test -x /srv/a/run && test -d /srv/c && echo ok > /srv/ok\n`;
    const after = await bench.image(['-f', '-', context], { stdin: next });
    expect(snapshots()).toBe(3);
    expect(after.diffIds.slice(0, -1)).toEqual(copied.diffIds);
    expect(after.read('srv/ok')).toBe('ok\n');
    const exported = await bench.build(['-f', '-', '-o', `type=local,dest=${bench.at('local')}`, context], {
      stdin,
    });
    expect(exported.status, exported.stderr).toBe(0);
    expect(readdirSync(bench.at('local/srv/a')).sort()).toEqual(['one', 'run']);
  });

  test('is the layer that it is when a snapshot is made, in every form', async () => {
    const context = bench.context('same', FILES);
    linkSync(`${context}/a/one`, `${context}/a/two`);
    // Nothing is made on the way, so that no clock is in the layer.
    const setting = {
      stdin: 'FROM scratch\nCOPY --chown=7:8 . /\n',
      env: { SOURCE_DATE_EPOCH: '1700000000' },
    };
    const bySnapshot = new Workbench();
    try {
      const uncompressed = [
        '-o',
        `type=oci,dest=${bySnapshot.at('first')},tar=false,compression=uncompressed`,
      ];
      const made = await bySnapshot.build([...uncompressed, '-f', '-', context], setting);
      expect(made.status, made.stderr).toBe(0);
      expect(readdirSync(bySnapshot.at('store/snapshots'))).toHaveLength(1);
      const [direct, other] = [
        await bench.image(['-f', '-', context], setting),
        await bySnapshot.image(['-f', '-', context], setting),
      ];
      expect(direct.diffIds).toEqual(other.diffIds);
      expect(direct.stat('a/run')).toMatch(/^-rwxr-x--- 7\/8 /);
      // Another form of what is only a blob.
      const later = await bench.build(
        ['-o', `type=oci,dest=${bench.at('later')},tar=false,compression=uncompressed`, '-f', '-', context],
        setting,
      );
      expect(later.stdout).toBe(made.stdout);
    } finally {
      bySnapshot[Symbol.dispose]();
    }
  });

  test('is made again when its blob is lost', async () => {
    const context = bench.context('lost', FILES);
    const stdin = 'FROM scratch\nCOPY --chown=9:9 . /\n';
    const { diffIds } = await bench.image(['-f', '-', context], { stdin });
    rmSync(bench.at('store/blobs'), { recursive: true });
    expect((await bench.image(['-f', '-', context], { stdin })).diffIds).toEqual(diffIds);
  });

  test('goes through links of the base, which takes a snapshot', async () => {
    const context = bench.context('linked', { 'lib/f': 'new' });
    const stdin = `${SHELL_STAGE}FROM sh AS base\nCOPY busybox /usr/lib/busybox\nCOPY link /\nFROM base\nCOPY lib /lib\n`;
    bench.write({ 'linked/link/lib': { link: 'usr/lib' } });
    const image = await bench.image(['-f', '-', context], { stdin });
    expect(image.read('usr/lib/f')).toBe('new');
  });

  test('over a file is refused as ever', async () => {
    const context = bench.context('over', { 'd/busybox/f': 'x' });
    const ran = await bench.build(['-f', '-', context], {
      stdin: 'FROM scratch AS a\nCOPY busybox /\nFROM a\nCOPY d /\n',
    });
    expect(ran.status).toBe(2);
    expect(ran.stderr).toContain('E_PATH_BLOCKED');
  });
});
