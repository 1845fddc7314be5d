import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, test } from 'vitest';
import { Sandboxes, type WantedSandbox } from '../../../src/executor/choose-sandbox.ts';

describe('the sandbox of a step', () => {
  const path = process.env.PATH;
  const trees: string[] = [];
  afterEach(() => {
    process.env.PATH = path;
    for (const tree of trees.splice(0)) {
      rmSync(tree, { recursive: true });
    }
  });

  /** An image with sudo, and a machine on which the programs are installed. */
  function machine(programs: readonly string[]) {
    const tree = mkdtempSync(join(tmpdir(), 'tsbuild-test-'));
    trees.push(tree);
    for (const directory of ['bin', 'root/usr/bin', 'memory']) {
      mkdirSync(join(tree, directory), { recursive: true });
    }
    writeFileSync(join(tree, 'root/usr/bin/sudo'), '');
    for (const name of programs) {
      writeFileSync(join(tree, 'bin', name), '#!/bin/sh\n', { mode: 0o755 });
    }
    chmodSync(join(tree, 'root/usr/bin/sudo'), 0o4755);
    process.env.PATH = join(tree, 'bin');
    return (
      wanted: WantedSandbox,
      options: { works?: boolean; uid?: number; pidNamespace?: boolean } = {},
    ) => {
      const { works = true, uid = 1000, pidNamespace = true } = options;
      const launcher = works ? '/bin/true' : '/bin/false';
      const sandboxes = new Sandboxes({
        wanted,
        launcher,
        hostLauncher: launcher,
        lentLauncher: launcher,
        memoryDir: join(tree, 'memory'),
        newPrivileges: true,
        privileged: true,
        pidNamespace,
      });
      const needs = { root: join(tree, 'root'), uid, user: 'app', insecure: false };
      const { sandbox, why } = sandboxes.choose(needs);
      return [sandbox.kind, why];
    };
  }

  test('is bubblewrap, unless its user may become root', () => {
    const choose = machine(['bwrap', 'runc', 'crun']);
    expect(choose('auto', { uid: 0 })).toEqual(['bubblewrap', undefined]);
    expect(choose('auto')).toEqual(['runc', "user 'app' may become root by /usr/bin/sudo"]);
  });

  test('is bubblewrap where a runtime is installed and does not work', () => {
    const choose = machine(['bwrap', 'runc', 'crun']);
    expect(choose('auto', { works: false })).toEqual(['bubblewrap', undefined]);
    expect(choose('runc', { works: false })).toEqual(['runc', 'it was asked for']);
  });

  test('is the launcher itself without a pid namespace, and then no other can be asked for', () => {
    const choose = machine(['bwrap', 'runc']);
    expect(choose('auto', { pidNamespace: false })).toEqual(['chroot', undefined]);
    for (const wanted of ['runc', 'bubblewrap'] as const) {
      expect(() => choose(wanted, { pidNamespace: false })).toThrow(
        expect.objectContaining({ code: 'E_SANDBOX_MISSING' }),
      );
    }
  });
});
