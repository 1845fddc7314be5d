//! Seccomp filters of this process, and what a supervisor says to the kernel through a filter's listener (seccomp_unotify(2)).

use std::{
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
};

use tsbuild_seccomp::Instruction;

fn check(result: i64) -> io::Result<i64> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// Whether the kernel has filters that answer calls with an errno.
pub fn is_available() -> bool {
    let action: u32 = libc::SECCOMP_RET_ERRNO;
    // SAFETY: the kernel reads one integer, which outlives the call.
    unsafe {
        libc::syscall(libc::SYS_seccomp, libc::SECCOMP_GET_ACTION_AVAIL, 0, &raw const action) == 0
    }
}

/// Installs the filter for this thread and what it starts, for good. Needs [`no_new_privileges`] or CAP_SYS_ADMIN.
///
/// # Errors
/// `EINVAL` for a program that the kernel does not take, `EACCES` without either right.
pub fn install(program: &[Instruction]) -> io::Result<()> {
    set_filter(program, 0).map(drop)
}

/// As [`install`]; gives the listener on which the calls with the fate `Notify` arrive. Where the kernel can (5.19), a call that
/// the supervisor has received is not interrupted by signals but deadly ones: it would be made again, although it was done.
///
/// # Errors
/// As [`install`]; `EBUSY` where a filter above has a listener already.
pub fn install_with_listener(program: &[Instruction]) -> io::Result<OwnedFd> {
    let flags = libc::SECCOMP_FILTER_FLAG_NEW_LISTENER;
    let fd = match set_filter(program, flags | libc::SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV) {
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => set_filter(program, flags)?,
        other => other?,
    };
    // SAFETY: the kernel has just made it for us; it closes on exec.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

fn set_filter(program: &[Instruction], flags: libc::c_ulong) -> io::Result<i64> {
    let length =
        u16::try_from(program.len()).map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))?;
    let program = libc::sock_fprog {
        len: length,
        filter: program.as_ptr().cast::<libc::sock_filter>().cast_mut(),
    };
    // SAFETY: `Instruction` is laid out as `sock_filter`; the kernel copies the program and does not write to it.
    check(unsafe {
        libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, &raw const program)
    })
}

/// Set-user-ID and file capabilities have no effect any more on what this thread executes.
///
/// # Errors
/// The kernel's.
pub fn no_new_privileges() -> io::Result<()> {
    // SAFETY: integers only.
    check(i64::from(unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) })).map(drop)
}

/// A call that waits for its answer.
#[derive(Debug, Clone, Copy)]
pub struct Notification {
    /// Of this call.
    pub id: u64,
    /// The thread, as this process's pid namespace numbers it.
    pub pid: i32,
    /// `AUDIT_ARCH_*`.
    pub arch: u32,
    /// Which call.
    pub number: u32,
    /// Its arguments.
    pub arguments: [u64; 6],
}

/// What is said to a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// It returns this.
    Value(i64),
    /// It fails.
    Errno(i32),
    /// The kernel does it. What its pointers lead to may change before it does.
    Continue,
}

/// Larger than what any kernel so far writes or reads; see `seccomp_notif_sizes`.
const BUFFER_WORDS: usize = 64;

/// The supervisor's end.
pub struct Listener {
    fd: OwnedFd,
}

impl Listener {
    /// Of a descriptor that [`install_with_listener`] gave.
    ///
    /// # Errors
    /// `EINVAL` where the kernel's structures are larger than anything known.
    pub fn new(fd: OwnedFd) -> io::Result<Self> {
        // SAFETY: the structure holds numbers only.
        let mut sizes: libc::seccomp_notif_sizes = unsafe { std::mem::zeroed() };
        // SAFETY: the kernel writes the structure, which outlives the call.
        check(unsafe {
            libc::syscall(libc::SYS_seccomp, libc::SECCOMP_GET_NOTIF_SIZES, 0, &raw mut sizes)
        })?;
        if usize::from(sizes.seccomp_notif.max(sizes.seccomp_notif_resp)) > BUFFER_WORDS * 8 {
            return Err(io::Error::from_raw_os_error(libc::EINVAL));
        }
        const SYNC_WAKE_UP: libc::c_ulong = 1;
        // SAFETY: integers only. Kernels before 6.6 lack it; it makes each answer cheaper.
        let _ = unsafe {
            libc::ioctl(fd.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_SET_FLAGS as _, SYNC_WAKE_UP)
        };
        Ok(Self { fd })
    }

    /// The next call. `None` when it has gone before it could be received.
    ///
    /// # Errors
    /// The kernel's.
    pub fn receive(&self) -> io::Result<Option<Notification>> {
        let mut buffer = [0_u64; BUFFER_WORDS];
        // SAFETY: the buffer is large enough, aligned and zeroed, as the kernel wants it.
        let received = check(i64::from(unsafe {
            libc::ioctl(
                self.fd.as_raw_fd(),
                libc::SECCOMP_IOCTL_NOTIF_RECV as _,
                buffer.as_mut_ptr(),
            )
        }));
        match received {
            Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::EINTR)) => {
                return Ok(None);
            }
            other => other?,
        };
        // SAFETY: the kernel has written one; all bit patterns are valid.
        let found: libc::seccomp_notif = unsafe { std::ptr::read(buffer.as_ptr().cast()) };
        Ok(Some(Notification {
            id: found.id,
            pid: found.pid as i32,
            arch: found.data.arch,
            number: found.data.nr as u32,
            arguments: found.data.args,
        }))
    }

    /// Whether the call still waits: only then its pid is still its process's.
    pub fn is_waiting(&self, id: u64) -> bool {
        // SAFETY: the number outlives the call.
        let result = unsafe {
            libc::ioctl(self.fd.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_ID_VALID as _, &raw const id)
        };
        result == 0
    }

    /// Answers. A caller that has gone meanwhile is no error.
    ///
    /// # Errors
    /// The kernel's.
    pub fn answer(&self, id: u64, answer: Answer) -> io::Result<()> {
        let (val, error, flags) = match answer {
            Answer::Value(value) => (value, 0, 0),
            Answer::Errno(errno) => (0, -errno, 0),
            Answer::Continue => (0, 0, libc::SECCOMP_USER_NOTIF_FLAG_CONTINUE as u32),
        };
        let mut buffer = [0_u64; BUFFER_WORDS];
        let response = libc::seccomp_notif_resp { id, val, error, flags };
        // SAFETY: the buffer is large enough and aligned; what follows stays zero.
        unsafe { std::ptr::write(buffer.as_mut_ptr().cast(), response) };
        // SAFETY: the kernel reads as much as it knows of the buffer and writes nothing.
        let sent = check(i64::from(unsafe {
            libc::ioctl(
                self.fd.as_raw_fd(),
                libc::SECCOMP_IOCTL_NOTIF_SEND as _,
                buffer.as_mut_ptr(),
            )
        }));
        match sent {
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(()),
            other => other.map(drop),
        }
    }

    /// Answers with a descriptor: the caller gets a copy of `fd` and its number.
    ///
    /// # Errors
    /// `EMFILE` and others of the caller's; it still waits then.
    pub fn answer_with(&self, id: u64, fd: BorrowedFd<'_>, close_on_exec: bool) -> io::Result<()> {
        let message = libc::seccomp_notif_addfd {
            id,
            flags: libc::SECCOMP_ADDFD_FLAG_SEND as u32,
            srcfd: fd.as_raw_fd() as u32,
            newfd: 0,
            newfd_flags: if close_on_exec { libc::O_CLOEXEC as u32 } else { 0 },
        };
        // SAFETY: the structure outlives the call.
        let sent = check(i64::from(unsafe {
            libc::ioctl(
                self.fd.as_raw_fd(),
                libc::SECCOMP_IOCTL_NOTIF_ADDFD as _,
                &raw const message,
            )
        }));
        match sent {
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(()),
            other => other.map(drop),
        }
    }

    /// Waits for the next call. False when nobody is left who could make one.
    ///
    /// # Errors
    /// The kernel's.
    pub fn wait(&self) -> io::Result<bool> {
        let mut entry = libc::pollfd { fd: self.fd.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        loop {
            // SAFETY: one entry, which outlives the call.
            match check(i64::from(unsafe { libc::poll(&mut entry, 1, -1) })) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
                Ok(_) => return Ok(entry.revents & libc::POLLIN != 0),
            }
        }
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use tsbuild_seccomp::{Action, Condition, Filter, Rule};

    use super::*;

    /// A filter is a thread's own.
    fn in_thread<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
        thread::Builder::new().spawn(work).unwrap().join().unwrap()
    }

    fn filter(rules: impl IntoIterator<Item = Rule>) -> Vec<Instruction> {
        let mut filter = Filter::new(Action::Allow, Action::KillProcess);
        filter.native_architectures();
        rules.into_iter().for_each(|rule| drop(filter.rule(rule).unwrap().compile()));
        filter.compile().unwrap()
    }

    #[test]
    fn the_kernel_takes_a_filter_and_does_what_it_says() {
        let (denied, allowed) = in_thread(|| {
            no_new_privileges().unwrap();
            let denied = Rule::new("getpriority", Action::Errno(123));
            install(&filter([denied.when(Condition::low_bits(0, u32::MAX, 1))])).unwrap();
            let ask = |which: libc::c_int| {
                // SAFETY: integers only.
                check(unsafe { libc::syscall(libc::SYS_getpriority, which, 0) })
            };
            (ask(1), ask(0))
        });
        assert_eq!(denied.unwrap_err().raw_os_error(), Some(123));
        assert!(allowed.is_ok());
    }

    #[test]
    fn a_second_listener_is_refused() {
        let error = in_thread(|| {
            no_new_privileges().unwrap();
            let program = filter([Rule::new("getpriority", Action::Notify)]);
            let _listener = install_with_listener(&program).unwrap();
            install_with_listener(&program).unwrap_err()
        });
        assert_eq!(error.raw_os_error(), Some(libc::EBUSY));
    }
}
