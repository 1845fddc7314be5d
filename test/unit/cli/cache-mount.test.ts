import { describe, expect, it } from 'vitest';
import { UsageError } from '../../../src/errors.ts';
import { cli } from '../../support/cli.ts';

describe('cache-mount', () => {
  it('list shows id, size, copies and when it was used', async () => {
    const { status, stdout } = await cli(['cache-mount', 'list']);
    expect(status).toBe(0);
    expect(stdout).toMatch(
      /^ID +SIZE +COPIES +USED\n\/root\/\.npm +2\.3MB +2 +\d+ days ago\napt +10B +1 +now\n$/,
    );
    expect((await cli(['cache-mount', 'list', '-q'])).stdout).toBe('/root/.npm\napt\n');
    expect(JSON.parse((await cli(['cache-mount', 'list', '--json'])).stdout)).toMatchObject([
      { id: '/root/.npm', sizeBytes: 2_345_678, copies: 2, inUse: false },
      { id: 'apt', inUse: true },
    ]);
  });

  it('rm takes several ids and needs one', async () => {
    const { status, stdout, calls } = await cli(['cache-mount', 'rm', 'a', '/b']);
    expect([status, stdout]).toEqual([0, 'removed a\nremoved /b\n']);
    expect(calls.cacheMounts).toEqual([['rm', 'a', '/b']]);
    expect((await cli(['cache-mount', 'rm'])).status).toBe(2);
  });

  it('export and import name files from where the user is', async () => {
    const exported = await cli(['cache-mount', 'export', 'a', 'x.tar', '--compression', 'gzip'], {
      cwd: '/w',
    });
    expect([exported.status, exported.stdout]).toEqual([0, 'x.tar 1.0kB\n']);
    expect(exported.calls.cacheMounts).toEqual([['export', 'a', '/w/x.tar', 'gzip']]);
    const plain = await cli(['cache-mount', 'export', 'a', '/x.tar'], { cwd: '/w' });
    expect(plain.calls.cacheMounts).toEqual([['export', 'a', '/x.tar', 'by name']]);
    const imported = await cli(['cache-mount', 'import', 'a', 'x.tar'], { cwd: '/w' });
    expect([imported.status, imported.stdout]).toEqual([0, 'a 2.0kB\n']);
    expect(imported.calls.cacheMounts).toEqual([['import', 'a', '/w/x.tar']]);
    expect((await cli(['cache-mount', 'export', 'a'])).status).toBe(2);
    expect((await cli(['cache-mount', 'export', 'a', 'b', '--compression', 'xz'])).status).toBe(2);
  });

  it('an error of the engine is the exit status', async () => {
    const failure = new UsageError("the cache mount 'a' is in use", { code: 'E_CACHE_MOUNT_IN_USE' });
    for (const words of [
      ['rm', 'a'],
      ['export', 'a', 'f'],
      ['import', 'a', 'f'],
    ]) {
      const { status, stdout, stderr } = await cli(['cache-mount', ...words], { failure });
      expect([status, stdout]).toEqual([2, '']);
      expect(stderr).toContain("the cache mount 'a' is in use");
    }
  });
});
