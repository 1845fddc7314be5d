//! What the launcher needs of processes: namespaces, the death signal, fork and exec. For programs of one thread.

use std::{
    ffi::{CString, OsStr},
    io,
    os::{
        fd::{AsRawFd, FromRawFd, OwnedFd, RawFd},
        unix::ffi::OsStrExt,
    },
};

/// Which side of a fork this is.
pub enum Fork {
    /// The parent, with the child's pid.
    Parent(i32),
    /// The child.
    Child,
}

/// How a child ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// With a status.
    Exited(i32),
    /// By a signal.
    Signalled(i32),
}

/// New user namespace.
pub const NEW_USER: i32 = libc::CLONE_NEWUSER;
/// New mount namespace.
pub const NEW_MOUNT: i32 = libc::CLONE_NEWNS;
/// New pid namespace for the child.
pub const NEW_PID: i32 = libc::CLONE_NEWPID;
/// New host name.
pub const NEW_UTS: i32 = libc::CLONE_NEWUTS;
/// New System V objects.
pub const NEW_IPC: i32 = libc::CLONE_NEWIPC;
/// New network, with nothing in it.
pub const NEW_NET: i32 = libc::CLONE_NEWNET;

fn check(result: i64) -> io::Result<i64> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// Forks, the child in new namespaces if `flags` say so.
///
/// # Errors
/// The kernel's.
pub fn fork(flags: i32) -> io::Result<Fork> {
    debug_assert!(std::fs::read_dir("/proc/self/task").map_or(true, |tasks| tasks.count() == 1));
    if flags == 0 {
        // SAFETY: the program has one thread, so that the child may use everything the parent could.
        return match check(i64::from(unsafe { libc::fork() }))? {
            0 => Ok(Fork::Child),
            pid => Ok(Fork::Parent(pid as i32)),
        };
    }
    // SAFETY: as fork: no stack is given, so that the child continues on a copy; one thread only. What glibc caches of
    // itself in fork (thread id) is not used by us.
    let pid = check(unsafe {
        libc::syscall(libc::SYS_clone, i64::from(flags | libc::SIGCHLD), 0, 0, 0, 0)
    })?;
    if pid == 0 { Ok(Fork::Child) } else { Ok(Fork::Parent(pid as i32)) }
}

/// Moves the caller to new namespaces.
///
/// # Errors
/// The kernel's.
pub fn unshare(flags: i32) -> io::Result<()> {
    // SAFETY: takes an integer; affects only this process of one thread.
    check(i64::from(unsafe { libc::unshare(flags) })).map(drop)
}

/// SIGKILL when the parent dies. Cleared by every change of credentials, so call it after them; then check
/// [`parent_pid`], because the parent may have died before.
///
/// # Errors
/// The kernel's.
pub fn die_with_parent() -> io::Result<()> {
    signalled_with_parent(libc::SIGKILL)
}

/// As [`die_with_parent`], with SIGTERM, for who has something to end first; see [`termination_events`].
///
/// # Errors
/// The kernel's.
pub fn terminate_with_parent() -> io::Result<()> {
    signalled_with_parent(libc::SIGTERM)
}

fn signalled_with_parent(signal: i32) -> io::Result<()> {
    // SAFETY: integers only.
    check(i64::from(unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, signal, 0, 0, 0) })).map(drop)
}

/// Orphans of our descendants become our children.
///
/// # Errors
/// The kernel's.
pub fn become_subreaper() -> io::Result<()> {
    // SAFETY: integers only.
    check(i64::from(unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) })).map(drop)
}

/// The parent's pid; 0 if it is outside of our pid namespace.
pub fn parent_pid() -> i32 {
    // SAFETY: always succeeds.
    unsafe { libc::getppid() }
}

/// Our pid.
pub fn pid() -> i32 {
    // SAFETY: always succeeds.
    unsafe { libc::getpid() }
}

/// Effective and real user id, effective group id.
pub fn ids() -> (u32, u32, u32) {
    // SAFETY: these always succeed.
    unsafe { (libc::geteuid(), libc::getuid(), libc::getegid()) }
}

/// Waits for a child, or for any if `pid` is -1.
///
/// # Errors
/// The kernel's; `ECHILD` when there is none.
pub fn wait(pid: i32) -> io::Result<(i32, Ended)> {
    loop {
        if let Some(ended) = wait_with(pid, 0)? {
            return Ok(ended);
        }
    }
}

/// Waits until a child has ended, and leaves it to [`wait`]: until then its number is its own.
///
/// # Errors
/// The kernel's; `ECHILD` when there is none.
pub fn wait_until_ended(pid: i32) -> io::Result<()> {
    loop {
        // SAFETY: it holds numbers, for which zero is valid, and outlives the call.
        let result = unsafe {
            let mut facts: libc::siginfo_t = std::mem::zeroed();
            libc::waitid(libc::P_PID, pid as libc::id_t, &mut facts, libc::WEXITED | libc::WNOWAIT)
        };
        match check(i64::from(result)) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => return other.map(drop),
        }
    }
}

/// As [`wait`], `None` when no child has ended.
///
/// # Errors
/// The kernel's.
pub fn wait_nohang(pid: i32) -> io::Result<Option<(i32, Ended)>> {
    wait_with(pid, libc::WNOHANG)
}

fn wait_with(pid: i32, flags: i32) -> io::Result<Option<(i32, Ended)>> {
    let mut status = 0;
    loop {
        // SAFETY: `status` outlives the call.
        let found = unsafe { libc::waitpid(pid, &mut status, flags) };
        if found < 0 {
            let error = io::Error::last_os_error();
            if error.kind() == io::ErrorKind::Interrupted {
                continue;
            }
            return Err(error);
        }
        if found == 0 {
            return Ok(None);
        }
        if libc::WIFEXITED(status) {
            return Ok(Some((found, Ended::Exited(libc::WEXITSTATUS(status)))));
        }
        if libc::WIFSIGNALED(status) {
            return Ok(Some((found, Ended::Signalled(libc::WTERMSIG(status)))));
        }
    }
}

/// Ends the process at once, without running anything that was registered for its end.
pub fn exit_now(status: i32) -> ! {
    // SAFETY: does not return.
    unsafe { libc::_exit(status) }
}

/// A pipe; both ends close on exec.
///
/// # Errors
/// The kernel's.
pub fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let mut ends = [0; 2];
    // SAFETY: the array has room for two.
    check(i64::from(unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC) }))?;
    // SAFETY: both were just made and belong to nobody else.
    Ok(unsafe { (OwnedFd::from_raw_fd(ends[0]), OwnedFd::from_raw_fd(ends[1])) })
}

/// Makes `fd` appear as `number`, open across exec.
///
/// # Errors
/// The kernel's.
pub fn duplicate_to(fd: &OwnedFd, number: RawFd) -> io::Result<()> {
    // SAFETY: integers only; `number` is a standard stream of this process.
    check(i64::from(unsafe { libc::dup2(fd.as_raw_fd(), number) })).map(drop)
}

/// A descriptor that the caller was started with. It closes on exec from now on.
///
/// # Errors
/// `EBADF` when there is none.
pub fn inherited(number: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: integers only.
    check(i64::from(unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) }))?;
    // SAFETY: it is open, and the caller says that it was given to it.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// Closes on exec every descriptor from `first` on.
pub fn close_from_on_exec(first: u32) {
    const CLOSE_RANGE_CLOEXEC: libc::c_uint = 4;
    // SAFETY: integers only; nothing is closed now. Kernels before 5.11 lack it, then descriptors of the caller leak to
    // the program, which is what happened before.
    let _ = unsafe {
        libc::syscall(libc::SYS_close_range, first, libc::c_uint::MAX, CLOSE_RANGE_CLOEXEC)
    };
}

/// Closes every descriptor from `first` on, now.
pub fn close_from(first: u32) {
    // SAFETY: integers only; the caller says that nothing of this process owns such a descriptor.
    let closed = unsafe { libc::syscall(libc::SYS_close_range, first, libc::c_uint::MAX, 0) };
    if closed == 0 {
        return;
    }
    // Kernels before 5.9 lack it.
    let names = std::fs::read_dir("/proc/self/fd").into_iter().flatten().flatten();
    let numbers: Vec<i32> =
        names.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    for number in
        numbers.into_iter().filter(|number| u32::try_from(*number).is_ok_and(|it| it >= first))
    {
        // SAFETY: as above; the one that listed them is closed by now, and closing it again fails harmlessly.
        unsafe { libc::close(number) };
    }
}

/// Nobody without `CAP_SYS_PTRACE` may trace this process or open what it has open, until it executes something else.
pub fn forbid_tracing() {
    // SAFETY: integers only.
    let _ = unsafe { libc::prctl(libc::PR_SET_DUMPABLE, 0, 0, 0, 0) };
}

/// A session keyring of our own, so that keys of the user are out of reach. Failure is harmless.
pub fn join_new_keyring() {
    const JOIN_SESSION_KEYRING: i64 = 1;
    // SAFETY: no name is given; takes no memory of ours.
    let _ =
        unsafe { libc::syscall(libc::SYS_keyctl, JOIN_SESSION_KEYRING, std::ptr::null::<u8>()) };
}

/// Groups, then group, then user; each for real, effective and saved.
///
/// # Errors
/// The kernel's; `EINVAL` for an id that the namespace does not have, `EPERM` for setgroups where it is denied.
pub fn become_user(uid: u32, gid: u32, groups: Option<&[u32]>) -> io::Result<()> {
    if let Some(groups) = groups {
        // SAFETY: the pointer is valid for the length given.
        check(i64::from(unsafe { libc::setgroups(groups.len(), groups.as_ptr()) }))?;
    }
    // SAFETY: integers only.
    check(i64::from(unsafe { libc::setresgid(gid, gid, gid) }))?;
    // SAFETY: integers only.
    check(i64::from(unsafe { libc::setresuid(uid, uid, uid) })).map(drop)
}

#[repr(C)]
struct CapabilityHeader {
    version: u32,
    pid: i32,
}

#[repr(C)]
#[derive(Clone, Copy, Default)]
struct CapabilityData {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

/// `_LINUX_CAPABILITY_VERSION_3`.
const CAPABILITY_VERSION: u32 = 0x2008_0522;

fn capabilities() -> io::Result<[CapabilityData; 2]> {
    let mut header = CapabilityHeader { version: CAPABILITY_VERSION, pid: 0 };
    let mut data = [CapabilityData::default(); 2];
    // SAFETY: version 3 reads and writes exactly two of these.
    check(unsafe { libc::syscall(libc::SYS_capget, &mut header, data.as_mut_ptr()) })?;
    Ok(data)
}

fn set_capabilities(data: &[CapabilityData; 2]) -> io::Result<()> {
    let mut header = CapabilityHeader { version: CAPABILITY_VERSION, pid: 0 };
    // SAFETY: version 3 reads exactly two of these.
    check(unsafe { libc::syscall(libc::SYS_capset, &mut header, data.as_ptr()) }).map(drop)
}

/// What the program was not given it cannot regain: the bounding set becomes the permitted set, and nothing is passed on to
/// programs of another user (no ambient and no inheritable capabilities).
///
/// # Errors
/// The kernel's.
pub fn confine_capabilities() -> io::Result<()> {
    let mut data = capabilities()?;
    drop_bounding(|capability| {
        data[(capability / 32) as usize].permitted & (1 << (capability % 32)) != 0
    });
    for half in &mut data {
        half.inheritable = 0;
    }
    set_capabilities(&data)
}

/// Programs can have no more than those that are kept, and nothing is passed on by being ambient.
fn drop_bounding(keeps: impl Fn(u32) -> bool) {
    for capability in (0..64_u32).filter(|capability| !keeps(*capability)) {
        // SAFETY: integers only; EINVAL ends the kernel's list.
        if unsafe { libc::prctl(libc::PR_CAPBSET_DROP, libc::c_ulong::from(capability), 0, 0, 0) }
            != 0
        {
            break;
        }
    }
    // SAFETY: integers only.
    unsafe { libc::prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) };
}

/// Neither this process nor what it starts has any, root or not.
///
/// # Errors
/// The kernel's.
pub fn drop_capabilities() -> io::Result<()> {
    drop_bounding(|_| false);
    set_capabilities(&[CapabilityData::default(); 2])
}

/// Whether a program that is executed could be given the capability.
pub fn may_have_capability(capability: u32) -> bool {
    // SAFETY: integers only.
    unsafe { libc::prctl(libc::PR_CAPBSET_READ, libc::c_ulong::from(capability), 0, 0, 0) == 1 }
}

/// Gives up every capability but those of these numbers.
///
/// # Errors
/// The kernel's.
pub fn limit_capabilities(keep: &[u32]) -> io::Result<()> {
    let mut data = capabilities()?;
    for (index, half) in data.iter_mut().enumerate() {
        let mask = keep
            .iter()
            .filter(|capability| (**capability / 32) as usize == index)
            .fold(0, |mask, capability| mask | 1 << (capability % 32));
        half.effective &= mask;
        half.permitted &= mask;
        half.inheritable &= mask;
    }
    set_capabilities(&data)
}

/// What mounts need.
pub const CAP_SYS_ADMIN: u32 = 21;

/// Neither this process nor what it starts can have the capability any more.
///
/// # Errors
/// The kernel's.
pub fn give_up_capability(capability: u32) -> io::Result<()> {
    // SAFETY: integers only.
    check(i64::from(unsafe {
        libc::prctl(libc::PR_CAPBSET_DROP, libc::c_ulong::from(capability), 0, 0, 0)
    }))?;
    let mut data = capabilities()?;
    let half = &mut data[(capability / 32) as usize];
    let others = !(1 << (capability % 32));
    half.effective &= others;
    half.permitted &= others;
    // It takes the ambient one along.
    half.inheritable &= others;
    set_capabilities(&data)
}

/// Executing a setuid program or one with file capabilities gives nothing any more.
///
/// # Errors
/// The kernel's.
pub fn forbid_new_privileges() -> io::Result<()> {
    // SAFETY: integers only.
    check(i64::from(unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) })).map(drop)
}

/// The name of the machine in this UTS namespace.
///
/// # Errors
/// The kernel's.
pub fn set_host_name(name: &OsStr) -> io::Result<()> {
    let bytes = name.as_bytes();
    // SAFETY: the pointer is valid for the length given.
    check(i64::from(unsafe { libc::sethostname(bytes.as_ptr().cast(), bytes.len()) })).map(drop)
}

/// The next change of user leaves the permitted capabilities; see [`pass_on_capabilities`].
///
/// # Errors
/// The kernel's.
pub fn keep_capabilities() -> io::Result<()> {
    // SAFETY: integers only.
    check(i64::from(unsafe { libc::prctl(libc::PR_SET_KEEPCAPS, 1, 0, 0, 0) })).map(drop)
}

/// Whatever this process is permitted its programs have too, although they are not root's.
///
/// # Errors
/// The kernel's.
pub fn pass_on_capabilities() -> io::Result<()> {
    let mut data = capabilities()?;
    for half in &mut data {
        half.effective = half.permitted;
        half.inheritable = half.permitted;
    }
    set_capabilities(&data)?;
    for capability in 0..64_u32 {
        if data[(capability / 32) as usize].permitted & (1 << (capability % 32)) != 0 {
            // SAFETY: integers only.
            check(i64::from(unsafe {
                libc::prctl(
                    libc::PR_CAP_AMBIENT,
                    libc::PR_CAP_AMBIENT_RAISE as libc::c_ulong,
                    libc::c_ulong::from(capability),
                    0,
                    0,
                )
            }))?;
        }
    }
    Ok(())
}

/// The file creation mask.
pub fn set_umask(mask: u32) {
    // SAFETY: always succeeds.
    unsafe { libc::umask(mask) };
}

/// Open files as many as allowed, up to a million (programs loop over them); no core dumps, which would land in a layer.
pub fn set_limits() {
    const MOST_FILES: libc::rlim_t = 1 << 20;
    let mut files = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: both structures outlive the calls.
    unsafe {
        if libc::getrlimit(libc::RLIMIT_NOFILE, &mut files) == 0 {
            files.rlim_cur = files.rlim_max.min(MOST_FILES);
            libc::setrlimit(libc::RLIMIT_NOFILE, &files);
        }
        let mut core = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        if libc::getrlimit(libc::RLIMIT_CORE, &mut core) == 0 {
            core.rlim_cur = 0;
            libc::setrlimit(libc::RLIMIT_CORE, &core);
        }
    }
}

/// Sets a resource limit by Docker's name for it; `None` is no limit.
///
/// # Errors
/// `ENOENT` for a name that the kernel does not have, `EINVAL` for a soft limit above the hard one, `EPERM` for a hard limit
/// above what this process was given.
pub fn set_limit(name: &str, soft: Option<u64>, hard: Option<u64>) -> io::Result<()> {
    let resource = match name {
        "core" => libc::RLIMIT_CORE,
        "cpu" => libc::RLIMIT_CPU,
        "data" => libc::RLIMIT_DATA,
        "fsize" => libc::RLIMIT_FSIZE,
        "locks" => libc::RLIMIT_LOCKS,
        "memlock" => libc::RLIMIT_MEMLOCK,
        "msgqueue" => libc::RLIMIT_MSGQUEUE,
        "nice" => libc::RLIMIT_NICE,
        "nofile" => libc::RLIMIT_NOFILE,
        "nproc" => libc::RLIMIT_NPROC,
        "rss" => libc::RLIMIT_RSS,
        "rtprio" => libc::RLIMIT_RTPRIO,
        "rttime" => libc::RLIMIT_RTTIME,
        "sigpending" => libc::RLIMIT_SIGPENDING,
        "stack" => libc::RLIMIT_STACK,
        _ => return Err(io::Error::from_raw_os_error(libc::ENOENT)),
    };
    let limit = libc::rlimit {
        rlim_cur: soft.unwrap_or(libc::RLIM_INFINITY),
        rlim_max: hard.unwrap_or(libc::RLIM_INFINITY),
    };
    // SAFETY: the structure outlives the call.
    check(i64::from(unsafe { libc::setrlimit(resource, &limit) })).map(drop)
}

/// All signals as they are by default and none blocked: what a fresh program expects.
pub fn reset_signals() {
    // SAFETY: SIG_DFL is valid for every signal; errors for those that cannot be changed are of no interest.
    unsafe {
        let mut none: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &none, std::ptr::null_mut());
        for number in 1..32 {
            if number != libc::SIGKILL && number != libc::SIGSTOP {
                libc::signal(number, libc::SIG_DFL);
            }
        }
    }
}

/// A new session without a terminal.
pub fn new_session() {
    // SAFETY: takes nothing; fails only for a leader, which is what we want to be.
    let _ = unsafe { libc::setsid() };
}

/// Sends a signal; failure means that nobody is there.
pub fn kill(pid: i32, signal: i32) {
    // SAFETY: integers only.
    let _ = unsafe { libc::kill(pid, signal) };
}

/// Replaces the process. Returns only with the reason why it could not.
pub fn exec(file: &OsStr, argv: &[CString], environment: &[CString]) -> io::Error {
    let Ok(file) = CString::new(file.as_bytes()) else {
        return io::Error::from_raw_os_error(libc::EINVAL);
    };
    let pointers = |strings: &[CString]| -> Vec<*const libc::c_char> {
        strings.iter().map(|string| string.as_ptr()).chain([std::ptr::null()]).collect()
    };
    let (argv, environment) = (pointers(argv), pointers(environment));
    // SAFETY: both arrays end in null and point to strings that live until the call returns, if it does.
    unsafe { libc::execve(file.as_ptr(), argv.as_ptr(), environment.as_ptr()) };
    io::Error::last_os_error()
}

/// Waits until one of the descriptors has something to read or is closed, or the time is over. A child's end interrupts.
/// Gives for each whether it is ready.
///
/// # Errors
/// The kernel's but `EINTR`, which gives none ready.
pub fn poll_readable(fds: &[RawFd], timeout_ms: i32) -> io::Result<Vec<bool>> {
    poll(fds, &[], timeout_ms)
}

/// The same, also for descriptors that can be written to, which come last.
///
/// # Errors
/// As above.
pub fn poll(readable: &[RawFd], writable: &[RawFd], timeout_ms: i32) -> io::Result<Vec<bool>> {
    let entry = |events| move |fd: &RawFd| libc::pollfd { fd: *fd, events, revents: 0 };
    let mut entries: Vec<libc::pollfd> = readable
        .iter()
        .map(entry(libc::POLLIN))
        .chain(writable.iter().map(entry(libc::POLLOUT)))
        .collect();
    // SAFETY: the array is valid for its length.
    match check(i64::from(unsafe {
        libc::poll(entries.as_mut_ptr(), entries.len() as libc::nfds_t, timeout_ms)
    })) {
        Ok(_) => Ok(entries.iter().map(|entry| entry.revents != 0).collect()),
        Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(vec![false; entries.len()]),
        Err(error) => Err(error),
    }
}

/// A descriptor that becomes readable when a child ends. SIGCHLD is blocked from now on; see [`reset_signals`].
///
/// # Errors
/// The kernel's.
pub fn child_events() -> io::Result<OwnedFd> {
    signal_events(libc::SIGCHLD)
}

/// The same for SIGTERM.
///
/// # Errors
/// The kernel's.
pub fn termination_events() -> io::Result<OwnedFd> {
    signal_events(libc::SIGTERM)
}

fn signal_events(signal: i32) -> io::Result<OwnedFd> {
    // SAFETY: the set is initialised by sigemptyset before it is read.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&mut set);
        libc::sigaddset(&mut set, signal);
        check(i64::from(libc::sigprocmask(libc::SIG_BLOCK, &set, std::ptr::null_mut())))?;
        let fd =
            check(i64::from(libc::signalfd(-1, &set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK)))?;
        Ok(OwnedFd::from_raw_fd(fd as RawFd))
    }
}

/// Gives a pipe to the user of the step: programs open `/dev/stdout` anew, and only the owner may.
pub fn give_to(fd: &OwnedFd, uid: u32, gid: u32) {
    // SAFETY: integers only. Failure (single-id namespace) leaves the pipe ours, which then is the step's user too.
    let _ = unsafe { libc::fchown(fd.as_raw_fd(), uid, gid) };
}

/// `SIGKILL` for 9; `SIG40` for one without a name.
pub fn signal_name(number: i32) -> String {
    const NAMES: [&str; 31] = [
        "SIGHUP",
        "SIGINT",
        "SIGQUIT",
        "SIGILL",
        "SIGTRAP",
        "SIGABRT",
        "SIGBUS",
        "SIGFPE",
        "SIGKILL",
        "SIGUSR1",
        "SIGSEGV",
        "SIGUSR2",
        "SIGPIPE",
        "SIGALRM",
        "SIGTERM",
        "SIGSTKFLT",
        "SIGCHLD",
        "SIGCONT",
        "SIGSTOP",
        "SIGTSTP",
        "SIGTTIN",
        "SIGTTOU",
        "SIGURG",
        "SIGXCPU",
        "SIGXFSZ",
        "SIGVTALRM",
        "SIGPROF",
        "SIGWINCH",
        "SIGIO",
        "SIGPWR",
        "SIGSYS",
    ];
    usize::try_from(number - 1)
        .ok()
        .and_then(|index| NAMES.get(index))
        .map_or_else(|| format!("SIG{number}"), |name| (*name).to_owned())
}
