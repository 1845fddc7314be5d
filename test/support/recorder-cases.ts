/** What steps do with owners. The same layers must come of them whoever runs the worker. */
import type { Mount } from '../../src/graph/action.ts';

export interface RecorderCase {
  /** Of one step, one after the other. */
  readonly scripts: readonly string[];
  readonly user?: string;
  /** Other cases, whose layers are below. */
  readonly below?: readonly string[];
  readonly mounts?: readonly Mount[];
  /** The case whose layers are the step's input 1. */
  readonly from?: string;
}

const SHOW = `show() { stat -c '%n %u:%g %a %F' "$@"; }`;

export const RECORDER_CASES: Readonly<Record<string, RecorderCase>> = {
  chown: {
    scripts: [
      `${SHOW}; mkdir -p /srv/app; echo one > /srv/app/one; echo two > /two; ln /two /also-two; ln -s one /srv/app/link
       chown -R 1000:1001 /srv; chown -h 5:6 /srv/app/link; chown :7 /two; chown 8 /two; chmod 4750 /srv/app/one
       show /srv /srv/app /srv/app/one /srv/app/link /two /also-two
       # What was given away goes along: renamed, copied with its owner, and gives nothing to who takes its place.
       mv /srv/app/one /srv/app/first; cp -a /srv/app/first /srv/app/copy; show /srv/app/first /srv/app/copy
       for i in 1 2 3 4 5 6 7 8; do echo > /gone; chown 77:77 /gone; rm /gone; echo > /new-$i; done
       show /new-1 /new-8
       # Back to root, and a changed owner clears what the kernel clears.
       chown 0:0 /also-two; show /two; echo > /set; chmod 6755 /set; chown 9:9 /set; show /set
       chown 1:1 /nowhere 2>&1 || echo refused`,
      `${SHOW}; show /srv/app/first /set; chown 3 /srv/app/first; rm /srv/app/link; ln -s x /srv/app/link; show /srv/app/first /srv/app/link`,
    ],
  },
  // On files of a layer below: they are copied up, and keep what was recorded.
  lower: {
    below: ['chown'],
    scripts: [
      `${SHOW}; show /srv/app/first /srv/app/copy /set /srv
       echo more >> /srv/app/first; chmod 600 /srv/app/copy; mv /set /moved; show /srv/app/first /srv/app/copy /moved
       chown 4:4 /new-3; show /new-3; rm -r /srv/app; mkdir /srv/app; echo > /srv/app/first; show /srv/app /srv/app/first
       chown 0:0 /new-4; touch /new-5`,
    ],
  },
  become: {
    scripts: [
      `${SHOW}; su app -c 'id; echo mine > /tmp/mine; mkdir -m 750 /tmp/dir; ln -s x /tmp/link; mkfifo /tmp/pipe; cp /tmp/mine /tmp/dir/copy; umask 077; echo > /tmp/private'
       show /tmp/mine /tmp/dir /tmp/link /tmp/pipe /tmp/dir/copy /tmp/private
       /usr/bin/setpriv --reuid 33 --regid 34 --groups 35,36 sh -c 'id -u; id -g; id -G; echo > /tmp/thirty; chown 33:35 /tmp/thirty; chown 33:99 /tmp/thirty 2>&1 | grep -o "Operation not permitted"; chown 0 /tmp/mine 2>&1 | grep -o "Operation not permitted"'
       show /tmp/thirty
       /usr/bin/setpriv --reuid 33 --clear-groups /usr/bin/setpriv --reuid 0 true 2>&1 | grep -o 'Operation not permitted'
       mkdir /var/shared; chown 0:50 /var/shared; chmod 2775 /var/shared; echo > /var/shared/file; mkdir -m 777 /var/shared/sub; su app -c 'echo > /var/shared/sub/of-app'
       show /var/shared/file /var/shared/sub /var/shared/sub/of-app
       rm -f /tmp/pipe`,
    ],
  },
  user: {
    user: 'app',
    scripts: [
      `${SHOW}; id; echo mine > /tmp/mine; mkdir /tmp/dir; show /tmp/mine /tmp/dir; echo out > /dev/stdout; test -w /tmp/mine
       chown 0:0 /tmp/mine 2>&1 | grep -o 'Operation not permitted'; chown app:extra /tmp/mine; show /tmp/mine
       su root -c true 2>&1 | grep -o 'must be suid' || true; grep CapEff /proc/self/status`,
    ],
  },
  nodes: {
    scripts: [
      `${SHOW}; mkdir /nodes; mknod /nodes/null c 1 3; mknod -m 600 /nodes/disk b 8 1; chown 0:6 /nodes/disk
       show /nodes/null /nodes/disk; stat -c '%t:%T' /nodes/null /nodes/disk; test -c /nodes/null || echo unseen; mv /nodes/null /nodes/zero; rm -f /nodes/none; mkfifo /nodes/pipe; rm /nodes/pipe`,
    ],
  },
  attributes: {
    scripts: [
      `${SHOW}; mkdir /a; echo > /a/acl; setfacl -m u:1000:rwx,g:33:r /a/acl; setfacl -d -m u:1000:rwx /a; cd /; getfacl -cn a/acl a; show /a/acl
       chmod 640 /a/acl; getfacl -cn a/acl; echo > /a/gone; setfacl -m u:5:r /a/gone; setfacl -b /a/gone; getfacl -cn a/gone
       echo > /a/cap; setcap cap_net_raw+ep /a/cap; getcap /a/cap; chown 5:5 /a/cap; getcap /a/cap; setcap cap_net_raw+ep /a/cap`,
    ],
  },
  // A file that is given for the step alone seems to belong to whom it is given to.
  mounted: {
    from: 'chown',
    mounts: [
      { kind: 'bind', input: 1, source: '/', target: '/mnt', readOnly: true },
      { kind: 'inline', target: '/run/given', mode: 0o640, data: '' },
    ],
    scripts: [
      `${SHOW}; show /run/given /mnt/srv/app/first; cp -a /mnt/srv /copied; show /copied/app/copy; echo > /dev/shm/x; chown 5:5 /dev/shm/x; show /dev/shm/x; cd /tmp; mkdir here; echo > here/x; chown 6:6 here/x; cd here; show x ../here ./x /proc/self/cwd/x`,
    ],
  },
};
