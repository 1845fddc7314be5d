/*
 * What a hostile step tries. Each attack runs in a process of its own and prints one line: `NAME ok` where it got what it should not,
 * else `NAME ERRNO`. Linked statically: it runs on a root file system without a C library.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/personality.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static int call(long number, long a, long b, long c, long d, long e)
{
	return syscall(number, a, b, c, d, e) < 0 ? -errno : 0;
}

#ifdef __x86_64__
/* As a 32-bit program would call: other numbers, the same kernel. */
static int call32(long number, long a, long b, long c)
{
	long result;
	__asm__ volatile("int $0x80" : "=a"(result) : "a"(number), "b"(a), "c"(b), "d"(c) : "memory", "r8", "r9", "r10", "r11");
	return (int)result < 0 ? (int)result : 0;
}
static int mount32(void) { return call32(21, 0, 0, 0); }
static int unshare32(void) { return call32(310, CLONE_NEWUSER, 0, 0); }
static int keyctl32(void) { return call32(288, 0, -3, 0); }
static int clone3_32(void) { return call32(435, 0, 0, 0); }
static int modify_ldt_32_stays(void) { return call32(123, 0, 0, 0); }
static int getpid_x32(void) { return call(0x40000000 + SYS_getpid, 0, 0, 0, 0, 0); }
#endif

static int write_to(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	return write(fd, text, strlen(text)) < 0 ? -errno : 0;
}

static int read_of(const char *path)
{
	char byte;
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0)
		return -errno;
	ssize_t count = read(fd, &byte, 1);
	return count < 0 ? -errno : count == 0 ? -ENODATA : 0;
}

/* Mounts and namespaces. */
static int do_mount(void) { return mount("x", "/tmp", "tmpfs", 0, "") ? -errno : 0; }
static int remount(void) { return mount("", "/proc/sys", "", MS_REMOUNT | MS_BIND, "") ? -errno : 0; }
static int do_umount(void) { return umount2("/proc/sys", MNT_DETACH) ? -errno : 0; }
static int pivot(void) { return call(SYS_pivot_root, (long)".", (long)".", 0, 0, 0); }
static int open_tree_clone(void) { return call(428, AT_FDCWD, (long)"/", 1, 0, 0); }
static int do_fsopen(void) { return call(430, (long)"tmpfs", 0, 0, 0, 0); }
static int do_move_mount(void) { return call(429, AT_FDCWD, (long)"/proc/sys", AT_FDCWD, (long)"/tmp", 0); }
static int unshare_user(void) { return unshare(CLONE_NEWUSER) ? -errno : 0; }
static int unshare_mount(void) { return unshare(CLONE_NEWNS) ? -errno : 0; }
static int unshare_files_stays(void) { return unshare(CLONE_FILES | CLONE_FS) ? -errno : 0; }
static int clone_user(void)
{
	long pid = syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, 0, 0, 0, 0);
	if (pid == 0)
		_exit(0);
	return pid < 0 ? -errno : 0;
}
static int do_clone3(void) { return call(435, 0, 0, 0, 0, 0); }
static int setns_of_init(void)
{
	int fd = open("/proc/1/ns/mnt", O_RDONLY);
	if (fd < 0)
		return -errno;
	return setns(fd, 0) ? -errno : 0;
}
static int setns_own(void)
{
	int fd = open("/proc/self/ns/uts", O_RDONLY);
	return setns(fd, 0) ? -errno : 0;
}
static int chroot_stays(void) { return chroot("/") ? -errno : 0; }

/* The kernel. */
static int do_bpf(void)
{
	union bpf_attr attributes = {.map_type = BPF_MAP_TYPE_ARRAY, .key_size = 4, .value_size = 4, .max_entries = 1};
	return call(SYS_bpf, BPF_MAP_CREATE, (long)&attributes, sizeof attributes, 0, 0);
}
static int io_uring(void)
{
	char parameters[256] = {0};
	return call(425, 1, (long)parameters, 0, 0, 0);
}
static int do_userfaultfd(void) { return call(SYS_userfaultfd, 1, 0, 0, 0, 0); }
static int perf(void)
{
	char attributes[128] = {0};
	return call(SYS_perf_event_open, (long)attributes, 0, -1, -1, 0);
}
static int keyctl_session(void) { return call(SYS_keyctl, 0, -3, 1, 0, 0); }
static int keyctl_user(void) { return call(SYS_keyctl, 0, -4, 1, 0, 0); }
static int do_add_key(void) { return call(SYS_add_key, (long)"user", (long)"x", (long)"x", 1, -4); }
static int module(void) { return call(SYS_init_module, 0, 0, (long)"", 0, 0); }
static int kexec(void) { return call(SYS_kexec_load, 0, 0, 0, 0, 0); }
static int do_reboot(void) { return call(SYS_reboot, 0xfee1dead, 672274793, 0, 0, 0); }
static int swap_off(void) { return call(SYS_swapoff, (long)"/x", 0, 0, 0, 0); }
static int settime(void)
{
	struct timespec now;
	clock_gettime(CLOCK_REALTIME, &now);
	return clock_settime(CLOCK_REALTIME, &now) ? -errno : 0;
}
static int kernel_log(void) { return call(SYS_syslog, 10, 0, 0, 0, 0); }
static int by_handle(void)
{
	/* The root of most file systems is inode 2: of ext4, what the store lies on. */
	struct { struct file_handle head; unsigned char bytes[8]; } handle = {{8, 1}, {2}};
	int at = open("/run/tsbuild/cache", O_RDONLY);
	int fd = syscall(SYS_open_by_handle_at, at < 0 ? AT_FDCWD : at, &handle, O_RDONLY);
	return fd < 0 ? -errno : 0;
}
static int fanotify(void) { return call(SYS_fanotify_init, 0, 0, 0, 0, 0); }
static int acct_off(void) { return call(SYS_acct, 0, 0, 0, 0, 0); }
static int quota(void) { return call(SYS_quotactl, 0x800007 << 8, 0, 0, 0, 0); }
static int tiocsti(void) { return ioctl(0, TIOCSTI, "x") ? -errno : 0; }
static int tiocsti_high_bits(void) { return call(SYS_ioctl, 0, (1L << 32) | TIOCSTI, (long)"x", 0, 0); }
static int vsock(void) { return socket(40, SOCK_STREAM, 0) < 0 ? -errno : 0; }
static int af_alg(void) { return socket(38, SOCK_SEQPACKET, 0) < 0 ? -errno : 0; }
static int future_call(void) { return call(900, 0, 0, 0, 0, 0); }
static int personality_stays(void) { return personality(ADDR_NO_RANDOMIZE) < 0 ? -errno : 0; }
static int netlink_stays(void) { return socket(AF_NETLINK, SOCK_RAW, 0) < 0 ? -errno : 0; }

/* Files of the kernel. */
static int core_pattern(void) { return write_to("/proc/sys/kernel/core_pattern", "|/evil"); }
static int modprobe(void) { return write_to("/proc/sys/kernel/modprobe", "/evil"); }
static int sysrq(void) { return write_to("/proc/sysrq-trigger", "h"); }
static int uevent_helper(void) { return write_to("/sys/kernel/uevent_helper", "/evil"); }
static int kcore(void) { return read_of("/proc/kcore"); }
static int kmsg(void) { return read_of("/proc/kmsg"); }
static int keys_file(void) { return read_of("/proc/keys"); }
static int page_flags(void) { return read_of("/proc/kpageflags"); }
static int interrupts(void) { return read_of("/proc/interrupts"); }
static int timers(void) { return read_of("/proc/timer_list"); }
static int mtrr(void) { return write_to("/proc/mtrr", "disable=99"); }
static int find_writable(const char *top, int depth)
{
	/* Whatever takes what is written is an attack by itself. Files that cannot be written to say EIO, although root may open them. */
	DIR *directory = opendir(top);
	struct dirent *entry;
	char path[512];
	int found = -ENOENT;
	if (directory == NULL)
		return found;
	while ((entry = readdir(directory)) != NULL) {
		/* Stall information: a file's watchers are its own. */
		if (entry->d_name[0] == '.' || strcmp(entry->d_name, "pressure") == 0 || (strcmp(top, "/proc") == 0 && (entry->d_name[0] <= '9' || strstr(entry->d_name, "self") != NULL)))
			continue;
		snprintf(path, sizeof path, "%s/%s", top, entry->d_name);
		if (entry->d_type == DT_DIR && depth > 0) {
			if (find_writable(path, depth - 1) == 0)
				found = 0;
		} else if (entry->d_type == DT_REG) {
			int fd = open(path, O_WRONLY | O_NONBLOCK);
			if (fd >= 0 && (write(fd, "", 0) == 0 || errno != EIO)) {
				fprintf(stderr, "writable %s\n", path);
				found = 0;
			}
			close(fd);
		}
	}
	closedir(directory);
	return found;
}
static int writable_proc(void) { return find_writable("/proc", 8); }
static int writable_sys(void) { return find_writable("/sys", 6); }
static int cgroup_make(void)
{
	if (mkdir("/sys/fs/cgroup/evil", 0755) == 0)
		return 0;
	return mkdir("/sys/fs/cgroup/memory/evil", 0755) ? -errno : 0;
}

/* Devices. */
static int block_device(void)
{
	unlink("/tmp/disk");
	if (mknod("/tmp/disk", S_IFBLK | 0600, makedev(254, 0)) != 0)
		return -errno;
	int result = read_of("/tmp/disk");
	unlink("/tmp/disk");
	return result;
}
static int memory_device(void)
{
	unlink("/dev/memory");
	if (mknod("/dev/memory", S_IFCHR | 0600, makedev(1, 1)) != 0)
		return -errno;
	int result = read_of("/dev/memory");
	unlink("/dev/memory");
	return result;
}
static int chmod_device(void) { return chmod("/dev/full", 0666) ? -errno : 0; }
static int chown_device(void) { return chown("/dev/full", 0, 0) ? -errno : 0; }
static int terminal(void) { return open("/dev/tty", O_RDWR) < 0 ? -errno : 0; }
static int console(void) { return open("/dev/console", O_RDWR) < 0 ? -errno : 0; }

/* Processes. */
static int trace_init(void) { return ptrace(PTRACE_ATTACH, 1, 0, 0) ? -errno : 0; }
static int seize_init(void) { return ptrace(PTRACE_SEIZE, 1, 0, 0) ? -errno : 0; }
static int init_memory(void) { return open("/proc/1/mem", O_RDWR) < 0 ? -errno : 0; }
static int init_environment(void) { return read_of("/proc/1/environ"); }
static int init_root(void) { return open("/proc/1/root/etc", O_RDONLY) < 0 ? -errno : 0; }
static int init_cwd(void) { return open("/proc/1/cwd/", O_RDONLY) < 0 ? -errno : 0; }
static int init_executable(void) { return open("/proc/1/exe", O_RDONLY) < 0 ? -errno : 0; }
static int init_descriptor(void) { return open("/proc/1/fd/3", O_WRONLY) < 0 ? -errno : 0; }
static int init_descriptor_taken(void)
{
	int fd = call(SYS_pidfd_open, 1, 0, 0, 0, 0) < 0 ? -1 : (int)syscall(SYS_pidfd_open, 1, 0);
	return fd < 0 ? -errno : call(438, fd, 3, 0, 0, 0);
}
static int read_init(void)
{
	char byte;
	struct iovec here = {&byte, 1}, there = {(void *)0x400000, 1};
	return process_vm_readv(1, &here, 1, &there, 1, 0) < 0 ? -errno : 0;
}
/* The process that the test names, which is outside. */
static int outside;
static int signal_outside(void) { return kill(outside, 0) ? -errno : 0; }
static int trace_outside(void) { return ptrace(PTRACE_ATTACH, outside, 0, 0) ? -errno : 0; }
static int environment_outside(void)
{
	char path[64];
	snprintf(path, sizeof path, "/proc/%d/environ", outside);
	return read_of(path);
}
static int signal_init(void) { return kill(1, SIGKILL) ? -errno : 0; }
static int trace_child_stays(void)
{
	int status;
	pid_t child = fork();
	if (child == 0) {
		ptrace(PTRACE_TRACEME, 0, 0, 0);
		raise(SIGSTOP);
		_exit(0);
	}
	waitpid(child, &status, 0);
	int ok = WIFSTOPPED(status) && ptrace(PTRACE_CONT, child, 0, 0) == 0;
	waitpid(child, &status, 0);
	return ok ? 0 : -EPERM;
}
/* CVE-2019-5736: the program that the sandbox is started with, overwritten while it runs. */
static int overwrite_launcher(void) { return truncate("/run/tsbuild/launcher", 0) ? -errno : 0; }
static int replace_launcher(void) { return rename("/bin/attacks", "/run/tsbuild/launcher") ? -errno : 0; }
static int descriptors(void)
{
	int open_ones = 0;
	char target[256], path[64];
	for (int fd = 0; fd < 256; fd++) {
		struct stat facts;
		if (fstat(fd, &facts) != 0)
			continue;
		snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
		ssize_t length = readlink(path, target, sizeof target - 1);
		target[length < 0 ? 0 : length] = 0;
		if (fd > 2 || (strncmp(target, "pipe:", 5) != 0 && strcmp(target, "/dev/null") != 0)) {
			fprintf(stderr, "open %d %s\n", fd, target);
			open_ones++;
		}
	}
	return open_ones > 0 ? 0 : -EBADF;
}

/* The host's sockets. `argument` is the name that the test listens at. */
static const char *argument = "";
static int abstract_socket(void)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);
	memcpy(address.sun_path + 1, argument, strlen(argument));
	return connect(fd, (struct sockaddr *)&address, offsetof(struct sockaddr_un, sun_path) + 1 + strlen(argument)) ? -errno : 0;
}
static int own_abstract_socket_stays(void)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = "\0tsbuild-own"};
	int server = socket(AF_UNIX, SOCK_STREAM, 0), client = socket(AF_UNIX, SOCK_STREAM, 0);
	if (bind(server, (struct sockaddr *)&address, sizeof address) || listen(server, 1))
		return -errno;
	return connect(client, (struct sockaddr *)&address, sizeof address) ? -errno : 0;
}
static int bus_socket(void)
{
	static const char *const paths[] = {"/run/dbus/system_bus_socket", "/run/user", "/tmp/.X11-unix", "/run/docker.sock", "/run/containerd", "/run/systemd"};
	for (size_t i = 0; i < sizeof paths / sizeof *paths; i++)
		if (access(paths[i], F_OK) == 0)
			return 0;
	return -ENOENT;
}

#define ATTACK(name) {#name, name}
static const struct { const char *name; int (*run)(void); } attacks[] = {
#ifdef __x86_64__
	ATTACK(mount32), ATTACK(unshare32), ATTACK(keyctl32), ATTACK(clone3_32), ATTACK(modify_ldt_32_stays), ATTACK(getpid_x32),
#endif
	ATTACK(do_mount), ATTACK(remount), ATTACK(do_umount), ATTACK(pivot), ATTACK(open_tree_clone), ATTACK(do_fsopen), ATTACK(do_move_mount),
	ATTACK(unshare_user), ATTACK(unshare_mount), ATTACK(unshare_files_stays), ATTACK(clone_user), ATTACK(do_clone3), ATTACK(setns_of_init),
	ATTACK(setns_own), ATTACK(chroot_stays),
	ATTACK(do_bpf), ATTACK(io_uring), ATTACK(do_userfaultfd), ATTACK(perf), ATTACK(keyctl_session), ATTACK(keyctl_user), ATTACK(do_add_key),
	ATTACK(module), ATTACK(kexec), ATTACK(do_reboot), ATTACK(swap_off), ATTACK(settime), ATTACK(kernel_log), ATTACK(by_handle),
	ATTACK(fanotify), ATTACK(acct_off), ATTACK(quota), ATTACK(tiocsti), ATTACK(tiocsti_high_bits), ATTACK(vsock), ATTACK(af_alg),
	ATTACK(future_call), ATTACK(personality_stays), ATTACK(netlink_stays),
	ATTACK(core_pattern), ATTACK(modprobe), ATTACK(sysrq), ATTACK(uevent_helper), ATTACK(kcore), ATTACK(kmsg), ATTACK(keys_file),
	ATTACK(page_flags), ATTACK(interrupts), ATTACK(timers), ATTACK(mtrr), ATTACK(writable_proc), ATTACK(writable_sys), ATTACK(cgroup_make),
	ATTACK(block_device), ATTACK(memory_device), ATTACK(chmod_device), ATTACK(chown_device), ATTACK(terminal), ATTACK(console),
	ATTACK(trace_init), ATTACK(seize_init), ATTACK(init_memory), ATTACK(init_environment), ATTACK(init_root), ATTACK(init_cwd),
	ATTACK(init_executable), ATTACK(init_descriptor), ATTACK(init_descriptor_taken), ATTACK(read_init),
	ATTACK(signal_init), ATTACK(signal_outside), ATTACK(trace_outside), ATTACK(environment_outside),
	 ATTACK(trace_child_stays), ATTACK(overwrite_launcher), ATTACK(replace_launcher), ATTACK(descriptors),
	ATTACK(abstract_socket), ATTACK(own_abstract_socket_stays), ATTACK(bus_socket),
};

/* Two names change places until a file appears, as fast as the kernel does it. */
static int swap(const char *one, const char *other, const char *end)
{
	while (access(end, F_OK) != 0)
		for (int i = 0; i < 1000; i++)
			syscall(SYS_renameat2, AT_FDCWD, one, AT_FDCWD, other, 2 /* RENAME_EXCHANGE */);
	return 0;
}

int main(int count, char **words)
{
	if (count == 5 && strcmp(words[1], "swap") == 0)
		return swap(words[2], words[3], words[4]);
	if (count > 1)
		argument = words[1];
	if (count > 2)
		outside = atoi(words[2]);
	for (size_t i = 0; i < sizeof attacks / sizeof *attacks; i++) {
		int status;
		fflush(NULL);
		pid_t child = fork();
		if (child == 0) {
			int result = attacks[i].run();
			printf("%s %s\n", attacks[i].name, result == 0 ? "ok" : strerrorname_np(-result));
			fflush(NULL);
			_exit(0);
		}
		if (waitpid(child, &status, 0) == child && !(WIFEXITED(status) && WEXITSTATUS(status) == 0))
			printf("%s status %x\n", attacks[i].name, status);
	}
	return 0;
}
