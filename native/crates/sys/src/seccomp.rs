//! Seccomp filters of this process, and what a supervisor says to the kernel through a filter's listener (seccomp_unotify(2)).

use std::{
    io,
    os::fd::{FromRawFd, OwnedFd},
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

/// As [`install`]; gives the listener on which the calls with the fate `Notify` arrive.
///
/// # Errors
/// As [`install`]; `EBUSY` where a filter above has a listener already.
pub fn install_with_listener(program: &[Instruction]) -> io::Result<OwnedFd> {
    let fd = set_filter(program, libc::SECCOMP_FILTER_FLAG_NEW_LISTENER)?;
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
