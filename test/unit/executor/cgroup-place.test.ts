import { mkdirSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { findCgroupPlace } from '../../../src/executor/cgroup-place.ts';

let dir: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'tsbuild cgroups-'));
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

const escaped = (path: string) => path.replaceAll(' ', '\\040');
/** Hierarchies of version 1 as plain directories. */
const mount = (controllers: string, root = '/') => {
  mkdirSync(join(dir, controllers, 'mine'), { recursive: true });
  return `30 25 0:27 ${root} ${escaped(join(dir, controllers))} rw,nosuid shared:5 - cgroup cgroup rw,${controllers}`;
};

test('version 1: each controller in the hierarchy of its own, where this process is in it', () => {
  const mountinfo = [
    '1 1 8:1 / / rw - ext4 /dev/sda rw',
    mount('cpu,cpuacct'),
    mount('memory'),
    mount('pids'),
  ].join('\n');
  const membership = '4:cpu,cpuacct:/mine\n3:memory:/mine\n2:pids:/\n1:name=systemd:/x\n';
  const { place } = findCgroupPlace({ mountinfo, membership });
  expect(place).toEqual({
    version: 1,
    directories: {
      memory: join(dir, 'memory/mine'),
      cpu: join(dir, 'cpu,cpuacct/mine'),
      pids: join(dir, 'pids'),
    },
    reason: '',
  });
  expect(readdirSync(join(dir, 'pids'))).toEqual(['mine']);
});

test('of a container the hierarchy begins at its own group', () => {
  const mountinfo = mount('memory', '/docker/abc');
  const at = (path: string) =>
    findCgroupPlace({ mountinfo, membership: `3:memory:${path}\n` }).place.directories;
  expect(at('/docker/abc/mine')).toEqual({ memory: join(dir, 'memory/mine') });
  expect(at('/docker/abcd')).toEqual({});
  expect(at('/../outside')).toEqual({});
});

test('what is not there is named', () => {
  const { place } = findCgroupPlace({ mountinfo: mount('memory'), membership: '3:memory:/gone\n' });
  expect(place.directories).toEqual({});
  expect(place.reason).toMatch(
    /memory\/gone' cannot be divided.*; no control groups for cpu are mounted; .*pids/,
  );
});
