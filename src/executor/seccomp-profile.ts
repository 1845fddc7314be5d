/**
 * The system calls that a step does not get, each with the reason. `docs/reference/seccomp.md` is made from this table, and so are the
 * program that the launcher installs and the profile that an OCI runtime is handed.
 *
 * What is not here is allowed, as far as our time knows it: a call that is newer than the table of names is answered as an older kernel would.
 * See docs/adr/0022-seccomp.md.
 */

/** `EPERM` where the kernel says so to somebody without the privilege; `ENOSYS` where kernels without it exist, and programs know another way. */
export type SeccompAnswer = 'EPERM' | 'ENOSYS' | 'EAFNOSUPPORT';

export interface SeccompRule {
  readonly names: readonly string[];
  readonly answer: SeccompAnswer;
  /** Only calls with such an argument; of one argument, all of them are alternatives. @defaultValue every call */
  readonly when?: SeccompCondition;
  /** What a step could do with it, and what it gets instead. One sentence or two, for the reference. */
  readonly reason: string;
}

/** On the low 32 bits of an argument, which are all that the kernel looks at in these calls. */
export type SeccompCondition = {
  /** From 0. */
  readonly argument: number;
  /** What the reference calls it. */
  readonly called: string;
} & (
  | { readonly kind: 'any-bit'; readonly mask: number }
  | { readonly kind: 'equal'; readonly values: readonly number[] }
  | { readonly kind: 'other-than'; readonly values: readonly number[] }
);

/** Of clone(2) and unshare(2): mount, UTS, IPC, user, pid, network and cgroup namespaces. */
const NAMESPACE_FLAGS = 0x7e02_0000;
/** Of unshare(2) only: in clone(2) the bit is part of the signal. */
const NEW_TIME = 0x80;
const TIOCSTI = 0x5412;
const TIOCLINUX = 0x541c;
/** AF_UNIX, AF_INET, AF_INET6, AF_NETLINK, AF_PACKET. */
const SOCKET_FAMILIES = [1, 2, 10, 16, 17];

export const SECCOMP_RULES: readonly SeccompRule[] = [
  {
    names: ['init_module', 'finit_module', 'delete_module', 'kexec_load', 'kexec_file_load'],
    answer: 'EPERM',
    reason: 'They put code into the kernel, which is the host. Nothing in an image can need that.',
  },
  {
    names: ['reboot', 'swapon', 'swapoff', 'acct', 'quotactl', 'quotactl_fd', 'vhangup'],
    answer: 'EPERM',
    reason: "The machine's own affairs: its power, its swap, its accounts and quotas, its consoles.",
  },
  {
    names: ['settimeofday', 'stime', 'clock_settime', 'clock_settime64'],
    answer: 'EPERM',
    reason: "There is one clock, the host's. Reading it and its adjustments stays allowed.",
  },
  {
    names: ['iopl', 'ioperm', 'vm86', 'vm86old'],
    answer: 'EPERM',
    reason: 'Ports of the hardware, and a mode of old processors that has been a way into the kernel.',
  },
  {
    names: [
      'mount',
      'umount',
      'umount2',
      'pivot_root',
      'fsopen',
      'fsconfig',
      'fsmount',
      'fspick',
      'open_tree',
      'open_tree_attr',
      'move_mount',
      'mount_setattr',
    ],
    answer: 'EPERM',
    reason:
      'What is masked or read-only in /proc and /sys could be uncovered, and parsers of file systems reached. chroot(2) stays, for debootstrap and its like.',
  },
  {
    names: ['clone'],
    answer: 'EPERM',
    when: { argument: 0, called: 'flags', kind: 'any-bit', mask: NAMESPACE_FLAGS },
    reason:
      'In a user namespace of its own a step has all capabilities, and so reaches most of the kernel that was ever exploited: nf_tables, overlayfs, traffic control. Bazel and its like go on without; a browser wants --no-sandbox, as in Docker.',
  },
  {
    names: ['unshare'],
    answer: 'EPERM',
    when: { argument: 0, called: 'flags', kind: 'any-bit', mask: NAMESPACE_FLAGS | NEW_TIME },
    reason: 'As clone(2). To have a file table or a working directory of its own is allowed.',
  },
  {
    names: ['setns'],
    answer: 'EPERM',
    reason: 'A way back into namespaces that a step was put out of.',
  },
  {
    names: ['clone3'],
    answer: 'ENOSYS',
    reason: 'Its flags are in memory, where no filter can look. C libraries go on with clone(2).',
  },
  {
    names: ['add_key', 'request_key', 'keyctl'],
    answer: 'ENOSYS',
    reason:
      "Keyrings know users and no containers: keys of root's, or of yours, could be read. runc and Kerberos take the answer for a kernel without keys and go on; EPERM is an error to them.",
  },
  {
    names: ['bpf', 'perf_event_open', 'userfaultfd'],
    answer: 'EPERM',
    reason:
      'Programs in the kernel, its counters, and page faults that wait for whoever wants to win a race in it. Hardened hosts answer the same to users.',
  },
  {
    names: ['io_uring_setup', 'io_uring_enter', 'io_uring_register'],
    answer: 'ENOSYS',
    reason:
      'Work that is queued there passes no filter, and much was found in it. libuv, databases and runtimes go on with epoll.',
  },
  {
    names: ['open_by_handle_at'],
    answer: 'EPERM',
    reason:
      'Files by number instead of by path: everything on the disk that the root file system lies on. name_to_handle_at(2) only tells the number, and is allowed.',
  },
  {
    names: ['fanotify_init', 'fanotify_mark'],
    answer: 'EPERM',
    reason: 'Watches, or holds up, what others do on a whole file system. inotify(7) stays.',
  },
  {
    names: ['syslog'],
    answer: 'EPERM',
    reason: "The kernel's log: addresses, devices and whatever other programs wrote there.",
  },
  {
    names: ['ioctl'],
    answer: 'EPERM',
    when: { argument: 1, called: 'request', kind: 'equal', values: [TIOCSTI, TIOCLINUX] },
    reason: 'TIOCSTI and TIOCLINUX type into a terminal as if its user did.',
  },
  {
    names: ['socket', 'socketpair'],
    answer: 'EAFNOSUPPORT',
    when: { argument: 0, called: 'family', kind: 'other-than', values: SOCKET_FAMILIES },
    reason:
      'AF_VSOCK leads past every network namespace to the hypervisor; the rare families (AF_ALG, AF_CAN, AF_RDS, AF_TIPC …) load modules that few have looked at. Unix, IP, netlink and packet sockets are allowed. i386 programs that go through socketcall(2), whose arguments are in memory, are not held.',
  },
  {
    names: ['uselib', 'sysfs', 'ustat', '_sysctl', 'lookup_dcookie', 'nfsservctl'],
    answer: 'ENOSYS',
    reason: 'Left over from old kernels; newer ones have dropped most of them, and nothing needs them.',
  },
];
