//! Whether an entry is what is below it.

use std::os::fd::OwnedFd;

use rustix::fs::FileType;

use crate::{
    disk::{self, Facts},
    error::{Error, Result},
    union::Found,
    watch::Watch,
    xattr::{self, Attributes},
};

/// Everything but content and link target. `facts` are what the entry really is.
pub(crate) fn metadata(
    facts: &Facts,
    attributes: &Attributes,
    below: &Found,
    name: &[u8],
    path: &[u8],
) -> Result<bool> {
    let old = &below.real();
    let equal = (facts.kind, facts.mode, facts.uid, facts.gid, facts.mtime, facts.device)
        == (old.kind, old.mode, old.uid, old.gid, old.mtime, old.device)
        && (facts.size == old.size || facts.is_directory());
    Ok(equal && attributes.kept == xattr::read(&below.directory, name, path)?.kept)
}

/// Link target, or content of a file byte by byte, of entries with equal metadata. A time proves nothing here: a program
/// may set it.
pub(crate) fn content(
    directory: &OwnedFd,
    name: &[u8],
    facts: &Facts,
    below: &Found,
    path: &[u8],
    watch: Watch<'_>,
) -> Result<bool> {
    match facts.kind {
        FileType::Symlink => {
            let target = |directory: &OwnedFd| {
                disk::link_target(directory, name)
                    .map_err(|errno| Error::io("cannot read link", path, errno))
            };
            Ok(target(directory)? == target(&below.directory)?)
        }
        FileType::RegularFile => {
            if (facts.dev, facts.ino) == (below.facts.dev, below.facts.ino) || facts.size == 0 {
                return Ok(true);
            }
            let open = |directory: &OwnedFd| {
                disk::open_file(directory, name)
                    .map_err(|errno| Error::io("cannot open", path, errno))
            };
            bytes(&open(directory)?, &open(&below.directory)?, path, watch)
        }
        _ => Ok(true),
    }
}

/// From where both are to their ends.
pub(crate) fn bytes(
    left: &OwnedFd,
    right: &OwnedFd,
    path: &[u8],
    watch: Watch<'_>,
) -> Result<bool> {
    let mut buffers = (vec![0_u8; COMPARE_AT_ONCE], vec![0_u8; COMPARE_AT_ONCE]);
    loop {
        watch.poll()?;
        let count = fill(left, &mut buffers.0, path)?;
        if fill(right, &mut buffers.1, path)? != count || buffers.0[..count] != buffers.1[..count] {
            return Ok(false);
        }
        if count == 0 {
            return Ok(true);
        }
    }
}

const COMPARE_AT_ONCE: usize = 128 * 1024;

/// Reads until the buffer is full or the file ends.
fn fill(file: &OwnedFd, buffer: &mut [u8], path: &[u8]) -> Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match disk::read_some(file, &mut buffer[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(errno) => return Err(Error::io("cannot read", path, errno)),
        }
    }
    Ok(filled)
}
