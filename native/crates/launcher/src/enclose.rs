//! Starts an OCI runtime with a mount namespace of its own, in which it can do what a sandbox needs and no more:
//!
//! - Control groups are read-only. runc makes one for each container wherever it may, in a tree that others may manage, and moves
//!   the step out of the one that the worker chose; told that it is rootless, it does without if it cannot. crun before 1.9 refuses
//!   to run where both versions are mounted: it does not see the second.
//! - Device nodes on the root cannot be opened. As the host's root a step may make them, and runtimes bind the root as it is.

use std::{
    ffi::{CString, OsStr, OsString},
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
pub fn run(mut words: impl Iterator<Item = OsString>) -> String {
    let Some(root) = words.next() else { return "'enclose' is for tsbuild's own use".into() };
    let Ok(argv) = words
        .map(|word| CString::new(word.into_vec()))
        .collect::<Result<Vec<_>, _>>()
    else {
        return "a zero byte in an argument".into();
    };
    let Some(program) = argv.first().cloned() else { return "no program given".into() };
    if let Err(error) = process::unshare(process::NEW_MOUNT) {
        return format!("cannot make a mount namespace: {error}");
    }
    if let Err(error) = restrict(Path::new(&root)) {
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

fn restrict(root: &Path) -> Result<(), Error> {
    mount::make_private()?;
    mount::mount_bind(root, root, false, false)?;
    mount::restrict(root, Restriction::NoDevices, false)?;
    match mount::restrict(Path::new(CONTROL_GROUPS), Restriction::ReadOnly, true) {
        Ok(()) => {}
        // There are none.
        Err(error) if matches!(error.errno_name().as_deref(), Some("EINVAL" | "ENOENT")) => {}
        Err(error) => return Err(error),
    }
    if Path::new(UNIFIED).exists() {
        mount::mount_tmpfs(Path::new(UNIFIED), 0o755, None)?;
    }
    Ok(())
}
