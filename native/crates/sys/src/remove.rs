//! Removes a tree whatever its modes, never following a link out of it.

use std::{
    ffi::{CString, OsStr},
    os::{
        fd::{AsFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::Path,
    sync::atomic::AtomicBool,
};

use rustix::{
    fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags},
    io::Errno,
};

use tsbuild_owners::Ledger;

use crate::{Error, Result, check_cancel, root::Root};

/// How often a directory that was just emptied may turn out not to be empty. A directory below a mounted overlay that
/// has it as a layer can say so for ever.
const MAX_REFUSALS: u32 = 1000;

/// Removes `path` and everything below. Missing is fine.
///
/// # Errors
/// `IO`, `CANCELLED`.
pub fn remove_tree(path: &Path, cancel: &AtomicBool) -> Result<()> {
    match rustix::fs::unlinkat(CWD, path, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT | Errno::NOTDIR) => return Ok(()),
        Err(Errno::ISDIR | Errno::PERM) => {}
        Err(error) => return Err(Error::io("remove", path, error)),
    }
    let Some(directory) =
        open_directory(CWD.as_fd(), path).map_err(|error| Error::io("open", path, error))?
    else {
        return Ok(());
    };
    // An own stack: an image may nest deeper than a thread's.
    let mut stack = vec![(directory, None::<CString>)];
    let mut refusals = 0;
    while let Some((directory, _)) = stack.last() {
        check_cancel(cancel)?;
        let entries = Dir::read_from(directory).map_err(|error| Error::io("list", path, error))?;
        let mut child = None;
        for entry in entries {
            let entry = entry.map_err(|error| Error::io("list", path, error))?;
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            if entry.file_type() != FileType::Directory {
                match rustix::fs::unlinkat(directory, name, AtFlags::empty()) {
                    Ok(()) | Err(Errno::NOENT) => continue,
                    Err(Errno::ISDIR) => {}
                    Err(error) => {
                        return Err(Error::io(
                            "remove",
                            path.join(name.to_string_lossy().as_ref()),
                            error,
                        ));
                    }
                }
            }
            // Most directories of an upper are empty by now, or small: try before opening.
            match rustix::fs::unlinkat(directory, name, AtFlags::REMOVEDIR) {
                Ok(()) | Err(Errno::NOENT) => continue,
                Err(_) => {}
            }
            let opened =
                open_directory(directory.as_fd(), Path::new(OsStr::from_bytes(name.to_bytes())))
                    .map_err(|error| {
                        Error::io("open", path.join(name.to_string_lossy().as_ref()), error)
                    })?;
            if let Some(opened) = opened {
                child = Some((opened, Some(name.to_owned())));
                break;
            }
        }
        if let Some(child) = child {
            stack.push(child);
            continue;
        }
        let (_, name) = stack.pop().expect("the loop's condition");
        let (Some((parent, _)), Some(name)) = (stack.last(), name) else { break };
        match rustix::fs::unlinkat(parent, &name, AtFlags::REMOVEDIR) {
            // ENOTEMPTY: something came in meanwhile; the parent is listed again and tries again.
            Ok(()) | Err(Errno::NOENT) => {}
            Err(Errno::NOTEMPTY) if refusals < MAX_REFUSALS => refusals += 1,
            Err(error) => {
                return Err(Error::io("remove", path.join(name.to_string_lossy().as_ref()), error));
            }
        }
    }
    match rustix::fs::unlinkat(CWD, path, AtFlags::REMOVEDIR) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(error) => Err(Error::io("remove", path, error)),
    }
}

/// Removes a tree below a root; links in its parents are resolved inside the root, a link in the last place is removed
/// itself. Gives whether there was something. What was recorded of it goes from the ledger.
///
/// # Errors
/// `IO`, `CANCELLED`, `IS_A_DIRECTORY` for the root itself.
pub fn remove_in_root(
    root: &Root,
    path: &Path,
    ledger: Option<&mut Ledger>,
    cancel: &AtomicBool,
) -> Result<bool> {
    use std::os::fd::AsRawFd;
    let (parent, name) = match root.parent_of(path, false) {
        Err(error) if matches!(error.errno, Some(libc::ENOENT | libc::ENOTDIR)) => {
            return Ok(false);
        }
        other => other?,
    };
    match rustix::fs::statat(&parent, &name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(_) => {}
        Err(Errno::NOENT) => return Ok(false),
        Err(error) => return Err(Error::io("stat", root.shown(path), error)),
    }
    // The parent is held open, so that a link put in its place meanwhile changes nothing.
    if let Some(ledger) = ledger {
        let mut place =
            root.path_of(&parent).map_err(|error| Error::io("resolve", root.shown(path), error))?;
        if !place.is_empty() {
            place.push(b'/');
        }
        place.extend_from_slice(name.as_bytes());
        ledger.removed(&place);
    }
    remove_tree(&Path::new(&format!("/proc/self/fd/{}", parent.as_raw_fd())).join(name), cancel)?;
    Ok(true)
}

/// Opens a directory to be emptied; one that its owner may not read is made readable first. `None` when it is gone.
fn open_directory(parent: impl AsFd, name: &Path) -> std::result::Result<Option<OwnedFd>, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let parent = parent.as_fd();
    let opened = match rustix::fs::openat(parent, name, flags, Mode::empty()) {
        Err(Errno::ACCESS) => {
            rustix::fs::chmodat(parent, name, Mode::RWXU, AtFlags::empty())?;
            rustix::fs::openat(parent, name, flags, Mode::empty())
        }
        other => other,
    };
    match opened {
        Ok(fd) => {
            let stat = rustix::fs::fstat(&fd)?;
            if stat.st_mode & 0o700 != 0o700 && !rustix::process::geteuid().is_root() {
                rustix::fs::fchmod(&fd, Mode::RWXU)?;
            }
            Ok(Some(fd))
        }
        Err(Errno::NOENT) => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    #[test]
    fn deep_closed_and_linked() {
        let base = std::env::temp_dir().join(format!("tsbuild-remove-{}", std::process::id()));
        let kept = base.join("kept");
        let gone = base.join("gone");
        std::fs::create_dir_all(gone.join("closed/inner")).unwrap();
        std::fs::create_dir_all(&kept).unwrap();
        std::fs::write(kept.join("file"), "x").unwrap();
        symlink(&kept, gone.join("link")).unwrap();
        for number in 0..50 {
            std::fs::write(gone.join(format!("closed/inner/{number}")), "x").unwrap();
        }
        std::fs::set_permissions(gone.join("closed"), PermissionsExt::from_mode(0o000)).unwrap();
        let cancel = AtomicBool::new(false);
        remove_tree(&gone, &cancel).unwrap();
        assert!(!gone.exists());
        assert!(kept.join("file").exists());
        remove_tree(&gone, &cancel).unwrap();
        remove_tree(&base, &cancel).unwrap();
    }
}
