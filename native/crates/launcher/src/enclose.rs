//! What an OCI runtime must not do, and what it leaves out.
//!
//! It runs in a mount namespace of its own in which control groups are read-only. runc makes one for each container wherever it may,
//! in a tree that others may manage, and moves the step out of the one that the worker chose; told that it is rootless, it does
//! without if it cannot. crun 1.8 refuses to run where both versions are mounted: it does not see the second.
//!
//! As a hook (`createContainer` of the runtime specification: in the container's mounts, before its root becomes the root) it sees
//! to it that device nodes on the root cannot be opened. The host's root can make them, and neither runtime has an option for that.

use std::{
    ffi::{CString, OsStr, OsString},
    io,
    os::unix::ffi::{OsStrExt, OsStringExt},
    path::Path,
};

use tsbuild_sys::{
    Error,
    mount::{self, Restriction},
    process,
};

const CONTROL_GROUPS: &str = "/sys/fs/cgroup";
/// The second version where systemd mounts both.
const UNIFIED: &str = "/sys/fs/cgroup/unified";

/// Returns only with what failed.
pub fn run(words: impl Iterator<Item = OsString>) -> String {
    let Ok(argv) = words.map(|word| CString::new(word.into_vec())).collect::<Result<Vec<_>, _>>()
    else {
        return "a zero byte in an argument".into();
    };
    let Some(program) = argv.first().cloned() else { return "no program given".into() };
    if let Err(error) = process::unshare(process::NEW_MOUNT) {
        return format!("cannot make a mount namespace: {error}");
    }
    if let Err(error) = protect_control_groups() {
        return error.to_string();
    }
    let environment: Vec<_> = std::env::vars_os()
        .filter_map(|(name, value)| {
            CString::new([name.as_bytes(), b"=", value.as_bytes()].concat()).ok()
        })
        .collect();
    let program = OsStr::from_bytes(program.as_bytes());
    let error = process::exec(program, &argv, &environment);
    format!("cannot start '{}': {error}", program.display())
}

/// The hook. Its only argument is where the root is.
pub fn close_devices(mut words: impl Iterator<Item = OsString>) -> Result<(), String> {
    let root = words.next().ok_or("no root given")?;
    // The container's state, which runtimes want to be rid of: crun fails where nobody takes it.
    let _ = io::copy(&mut io::stdin(), &mut io::sink());
    mount::restrict(Path::new(&root), Restriction::NoDevices, false)
        .map_err(|error| error.to_string())
}

fn protect_control_groups() -> Result<(), Error> {
    mount::make_private()?;
    match mount::restrict(Path::new(CONTROL_GROUPS), Restriction::ReadOnly, true) {
        Ok(()) => {}
        // There are none.
        Err(error) if matches!(error.errno_name().as_deref(), Some("EINVAL" | "ENOENT")) => {}
        Err(error) => return Err(error),
    }
    if Path::new(UNIFIED).exists() {
        mount::mount_tmpfs(Path::new(UNIFIED), 0o755, None, false)?;
    }
    Ok(())
}
