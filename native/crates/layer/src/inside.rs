//! Paths below a root, resolved so that nothing in it can lead out: what an archive or an image says about links is
//! followed, but `/` is the root and `..` stops there, as it would for a process whose root it is.

use std::os::fd::{AsFd, OwnedFd};

use rustix::{
    fs::{FileType, Mode, OFlags, ResolveFlags, mkdirat, openat, openat2},
    io::Errno,
};

use crate::disk;

/// As many links as Linux follows in one path.
const MAX_LINKS: usize = 40;

/// A directory below the root.
pub(crate) struct Place {
    pub fd: OwnedFd,
    /// Where it is, without links.
    pub path: Vec<u8>,
}

/// Told the path of each directory that is made.
pub(crate) type Made<'a> = &'a mut dyn FnMut(&[u8]);

/// Splits a path into its components. `Err` when one is `..`.
pub(crate) fn components(path: &[u8]) -> Result<Vec<&[u8]>, ()> {
    path.split(|byte| *byte == b'/')
        .filter(|part| !part.is_empty() && *part != b".")
        .map(|part| if part == b".." { Err(()) } else { Ok(part) })
        .collect()
}

const DIRECTORY: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Opens the directory `path` (joined components, no `..`). Missing ones are made when `made` is given, which is told
/// the path of each.
pub(crate) fn open(root: &OwnedFd, path: &[u8], made: Option<Made<'_>>) -> Result<Place, Errno> {
    if path.is_empty() {
        return Ok(Place { fd: rustix::io::fcntl_dupfd_cloexec(root, 0)?, path: Vec::new() });
    }
    // Nearly always there are neither links nor gaps, and one call does it.
    let flags = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    match openat2(root, path, DIRECTORY, Mode::empty(), flags) {
        Ok(fd) => return Ok(Place { fd, path: path.to_vec() }),
        Err(Errno::NOENT | Errno::LOOP | Errno::NOTDIR | Errno::NOSYS | Errno::PERM) => {}
        Err(errno) => return Err(errno),
    }
    walk(root, path, made)
}

/// Component by component. Nobody else writes below the root while we do, and no step trusts more than one component.
fn walk(root: &OwnedFd, path: &[u8], mut made: Option<Made<'_>>) -> Result<Place, Errno> {
    let mut todo: Vec<Vec<u8>> = split_reversed(path);
    // Descriptors and names on the way down, so that `..` is a step back and never a call.
    let mut stack: Vec<(OwnedFd, Vec<u8>)> = Vec::new();
    let mut links = 0;
    while let Some(part) = todo.pop() {
        if part == b".." {
            stack.pop();
            continue;
        }
        let here = stack.last().map_or(root.as_fd(), |(fd, _)| fd.as_fd());
        match openat(here, part.as_slice(), DIRECTORY, Mode::empty()) {
            Ok(fd) => stack.push((fd, part)),
            Err(Errno::NOENT) => {
                let Some(made) = made.as_mut() else { return Err(Errno::NOENT) };
                mkdirat(here, part.as_slice(), Mode::from_raw_mode(0o700))?;
                let fd = openat(here, part.as_slice(), DIRECTORY, Mode::empty())?;
                // Neither umask nor a set-group-id parent may show.
                rustix::fs::fchmod(&fd, Mode::from_raw_mode(0o755))?;
                stack.push((fd, part));
                made(&joined(&stack));
            }
            Err(Errno::NOTDIR | Errno::LOOP) => {
                let stat = rustix::fs::statat(
                    here,
                    part.as_slice(),
                    rustix::fs::AtFlags::SYMLINK_NOFOLLOW,
                )?;
                if disk::Facts::new(&stat).kind != FileType::Symlink {
                    return Err(Errno::NOTDIR);
                }
                links += 1;
                if links > MAX_LINKS {
                    return Err(Errno::LOOP);
                }
                let target =
                    rustix::fs::readlinkat(here, part.as_slice(), Vec::new())?.into_bytes();
                if target.starts_with(b"/") {
                    stack.clear();
                }
                todo.extend(split_reversed(&target));
            }
            Err(errno) => return Err(errno),
        }
    }
    let path = joined(&stack);
    let fd = match stack.pop() {
        Some((fd, _)) => fd,
        None => rustix::io::fcntl_dupfd_cloexec(root, 0)?,
    };
    Ok(Place { fd, path })
}

fn split_reversed(path: &[u8]) -> Vec<Vec<u8>> {
    let mut parts: Vec<Vec<u8>> = path
        .split(|byte| *byte == b'/')
        .filter(|part| !part.is_empty() && *part != b".")
        .map(<[u8]>::to_vec)
        .collect();
    parts.reverse();
    parts
}

fn joined(stack: &[(OwnedFd, Vec<u8>)]) -> Vec<u8> {
    stack.iter().map(|(_, name)| name.as_slice()).collect::<Vec<_>>().join(&b'/')
}
