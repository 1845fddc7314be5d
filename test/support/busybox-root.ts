/** A small root filesystem of static busybox, made as a layer by the worker itself, so that its owners are right in every id mode. */

import type { Action } from '../../src/graph/action.ts';
import { ROOT_OWNER } from '../../src/graph/action.ts';
import type { InputFile } from '../../src/worker/protocol.ts';
import { busyboxPath } from './busybox.ts';

const APPLETS = (
  'sh ash cat chmod chown chgrp cp cut date dd df echo env false find grep head hostname id ip kill ln ls mkdir mkfifo mknod ' +
  'mount mv nc printf ps pwd readlink rm rmdir sed setsid sleep sort stat su sync tail tar test touch tr true tty umask ' +
  'seq umount uname wc wget whoami xargs yes nohup usleep'
).split(' ');

const PASSWD = 'root:x:0:0:root:/root:/bin/sh\napp:x:1000:1000:app:/home/app:/bin/sh\n';
const GROUP = 'root:x:0:\napp:x:1000:\nextra:x:2000:app\nmore:x:2001:app,root\n';

/** What a `step` needs to make the base: its actions and its one input. */
export function busyboxBase(): { actions: readonly Action[]; files: readonly InputFile[] } {
  const own = { owner: ROOT_OWNER };
  const text = (path: string, content: string): Action => ({
    kind: 'mkfile',
    path,
    mode: 0o644,
    ...own,
    data: Buffer.from(content).toString('base64'),
  });
  const files: InputFile[] = [
    { path: '/bin', kind: 'directory', mode: 0o755 },
    { path: '/bin/busybox', kind: 'file', mode: 0o755, hostPath: busyboxPath() },
    ...APPLETS.map(
      (name): InputFile => ({ path: `/bin/${name}`, kind: 'symlink', link: 'busybox', mode: 0o777 }),
    ),
  ];
  const actions: Action[] = [
    { kind: 'copy', input: 1, source: '/', destination: '/', ...own, modes: 'keep', times: 'epoch' },
    ...['/etc', '/root', '/tmp', '/usr/bin', '/var'].map(
      (path): Action => ({ kind: 'mkdir', path, mode: path === '/tmp' ? 0o1777 : 0o755, ...own }),
    ),
    text('/etc/passwd', PASSWD),
    text('/etc/group', GROUP),
  ];
  return { actions, files };
}
