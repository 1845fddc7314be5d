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
      const tree = ['-o', `type=local,dest=${bySnapshot.at('tree')}`];
      const made = await bySnapshot.build([...tree, '-f', '-', context], setting);
      expect(made.status, made.stderr).toBe(0);
      expect(readdirSync(bySnapshot.at('store/snapshots'))).toHaveLength(1);
      const both = async (output: string) =>
        await Promise.all(
          [bench, bySnapshot].map((each) =>
            each.build(['-o', `${output},dest=${each.at('archive')}`, '-f', '-', context], setting),
          ),
        );
      for (const output of ['type=oci', 'type=oci,compression=uncompressed', 'type=docker,name=x']) {
        const [direct, other] = await both(output);
        expect(direct?.status, direct?.stderr).toBe(0);
        expect(direct?.stdout).toBe(other?.stdout);
      }
      expect((await bench.image(['-f', '-', context], setting)).stat('a/run')).toMatch(/^-rwxr-x--- 7\/8 /);
    } finally {
      bySnapshot[Symbol.dispose]();
    }
  });

  test.each([['compression=estargz'], ['rewrite-timestamp=true']])(
    'makes a snapshot where the blob is not the layer: %s',
    async (form) => {
      const context = bench.context(`other-${form}`, FILES);
      const setting = { stdin: 'FROM scratch\nCOPY . /\n', env: { SOURCE_DATE_EPOCH: '1000000000' } };
      const output = ['-o', `type=oci,dest=${bench.at(`layout-${form}`)},tar=false,${form}`];
      const first = await bench.build([...output, '-f', '-', context], setting);
      expect(first.status, first.stderr).toBe(0);
      const image = await bench.image(['-f', '-', context], setting);
      expect(image.ran.stderr).not.toContain('W_CACHE_LOST');
      expect(image.layers.flat()).not.toContain('stargz.index.json');
      expect(image.stat('a/one')).not.toContain('2001-09-09');
    },
  );

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
