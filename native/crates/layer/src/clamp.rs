//! Modification times that are too late, made to be the epoch of the build.

use std::{os::fd::OwnedFd, path::Path};

use rustix::fs::{AtFlags, futimens, utimensat};
use tsbuild_tar::Timestamp;

use crate::{
    disk,
    error::{Error, Result},
    unpack::timestamps,
    watch::Watch,
};

/// Sets modification times after `epoch_seconds` to it, the root's and other directories' included. Gives how many.
/// Whiteouts are left alone: they have no time in a layer.
///
/// # Errors
/// `IO`, `CANCELLED`.
pub fn clamp_times(root: &Path, epoch_seconds: i64, watch: Watch<'_>) -> Result<u64> {
    let path = root.as_os_str().as_encoded_bytes();
    let fd = disk::open_root(path)?;
    let mut changed = 0;
    clamp_directory(&fd, b"", epoch_seconds, watch, &mut changed)?;
    let facts = disk::facts_of(&fd).map_err(|errno| Error::io("cannot examine", path, errno))?;
    if is_later(facts.mtime, epoch_seconds) {
        futimens(&fd, &timestamps(Timestamp { seconds: epoch_seconds, nanoseconds: 0 }))
            .map_err(|errno| Error::io("cannot set the time of", path, errno))?;
        changed += 1;
    }
    Ok(changed)
}

fn is_later(mtime: (i64, u32), epoch_seconds: i64) -> bool {
    mtime > (epoch_seconds, 0)
}

fn clamp_directory(
    fd: &OwnedFd,
    path: &[u8],
    epoch_seconds: i64,
    watch: Watch<'_>,
    changed: &mut u64,
) -> Result<()> {
    for name in disk::names(fd).map_err(|errno| Error::io("cannot list directory", path, errno))? {
        watch.poll()?;
        let full = disk::join(path, &name);
        let facts =
            disk::facts(fd, &name).map_err(|errno| Error::io("cannot examine", &full, errno))?;
        let Some(facts) = facts else { continue };
        if facts.is_whiteout() {
            continue;
        }
        if facts.is_directory() {
            let inner = disk::open_directory(fd, &name)
                .map_err(|errno| Error::io("cannot open directory", &full, errno))?;
            clamp_directory(&inner, &full, epoch_seconds, watch, changed)?;
        }
        if is_later(facts.mtime, epoch_seconds) {
            let times = timestamps(Timestamp { seconds: epoch_seconds, nanoseconds: 0 });
            utimensat(fd, &name, &times, AtFlags::SYMLINK_NOFOLLOW)
                .map_err(|errno| Error::io("cannot set the time of", &full, errno))?;
            *changed += 1;
        }
    }
    Ok(())
}
