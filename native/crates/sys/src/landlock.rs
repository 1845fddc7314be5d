//! Landlock's scopes (landlock(7), Linux 6.12): what a process may reach of those outside, whatever namespaces it shares with them.

use std::io;

/// `struct landlock_ruleset_attr`.
#[repr(C)]
#[derive(Default)]
struct RulesetAttributes {
    handled_access_fs: u64,
    handled_access_net: u64,
    scoped: u64,
}

const CREATE_RULESET_VERSION: libc::c_ulong = 1;
const SCOPE_ABSTRACT_UNIX_SOCKET: u64 = 1;
const SCOPE_SIGNAL: u64 = 2;
/// The first version of the interface that has scopes.
const ABI_WITH_SCOPES: i64 = 6;

fn check(result: i64) -> io::Result<i64> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// Whether [`confine_to_own_processes`] can work.
pub fn has_scopes() -> bool {
    // SAFETY: no memory is given.
    let version = unsafe {
        libc::syscall(
            libc::SYS_landlock_create_ruleset,
            std::ptr::null::<RulesetAttributes>(),
            0_usize,
            CREATE_RULESET_VERSION,
        )
    };
    version >= ABI_WITH_SCOPES
}

/// From now on this thread and what it starts can neither connect to abstract sockets that others have made, nor send signals to
/// others, nor trace them. Needs no_new_privs or CAP_SYS_ADMIN.
///
/// # Errors
/// `ENOSYS`, `EOPNOTSUPP` or `EINVAL` where the kernel does not have it, `EPERM` without either right.
pub fn confine_to_own_processes() -> io::Result<()> {
    let attributes = RulesetAttributes {
        scoped: SCOPE_ABSTRACT_UNIX_SOCKET | SCOPE_SIGNAL,
        ..RulesetAttributes::default()
    };
    // SAFETY: the structure is valid for the size that is given.
    let ruleset = check(unsafe {
        libc::syscall(
            libc::SYS_landlock_create_ruleset,
            &raw const attributes,
            size_of::<RulesetAttributes>(),
            0_usize,
        )
    })?;
    // SAFETY: integers only.
    let restricted = check(unsafe { libc::syscall(libc::SYS_landlock_restrict_self, ruleset, 0) });
    // SAFETY: it was just made and nobody else has it.
    unsafe { libc::close(ruleset as i32) };
    restricted.map(drop)
}
