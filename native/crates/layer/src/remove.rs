//! Removing trees by descriptor.

use std::os::fd::OwnedFd;

use rustix::{
    fs::{AtFlags, Mode, fchmod, unlinkat},
    io::Errno,
};

use crate::disk;

/// Removes an entry and, if it is a directory, everything in it. Links are removed, never followed.
pub(crate) fn remove(directory: &OwnedFd, name: &[u8]) -> Result<(), Errno> {
    match unlinkat(directory, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => return Ok(()),
        Err(Errno::ISDIR | Errno::PERM) => {}
        Err(errno) => return Err(errno),
    }
    let inner = disk::open_directory(directory, name)?;
    // Without write permission its owner, other than root, can remove nothing in it.
    let _ = fchmod(&inner, Mode::from_raw_mode(0o700));
    remove_contents(&inner)?;
    unlinkat(directory, name, AtFlags::REMOVEDIR)
}

/// Empties a directory.
pub(crate) fn remove_contents(directory: &OwnedFd) -> Result<(), Errno> {
    for name in disk::names(directory)? {
        remove(directory, &name)?;
    }
    Ok(())
}
