//! Mends a layer that was unpacked by itself, once the layers below it are known.
//!
//! A layer may hold `lib/x` without an entry for `lib`. Unpacked alone that makes a directory `lib`, which would hide the
//! metadata of the one below, or replace the link `lib -> usr/lib` there. A runtime that extracts on top of the layers
//! below would have kept both.

use std::{os::fd::OwnedFd, path::PathBuf};

use rustix::fs::{Mode, fchmod, futimens, renameat};
use tsbuild_owners::{Owners, Record};

use crate::{
    copy,
    disk::{self, Facts},
    error::{Code, Error, Result, show},
    remove,
    union::Union,
    xattr::{self, OverlayXattrs},
};

/// Which layer, and what is below it.
#[derive(Clone, Debug)]
pub struct ReconcileOptions {
    /// The layer's directory.
    pub root: PathBuf,
    /// What is below it, topmost first.
    pub lowers: Vec<PathBuf>,
    /// What unpacking called implicit, shallowest first.
    pub implicit_directories: Vec<Vec<u8>>,
    /// How opaque directories are marked in the layer.
    pub overlay_xattrs: OverlayXattrs,
    /// The file of the layer's owners.
    pub owners: Option<PathBuf>,
}

/// As many links as Linux follows in one path.
const MAX_LINKS: usize = 40;

/// Mends the layer; gives the number of directories that were changed or moved. Doing it again changes nothing.
///
/// # Errors
/// `IO`, `DAMAGED_OWNERS`; `BAD_ARCHIVE` where the links below form a loop or lead to a file.
pub fn reconcile_layer(options: &ReconcileOptions) -> Result<u64> {
    let root = disk::open_root(options.root.as_os_str().as_encoded_bytes())?;
    let below = Union::open(&options.lowers)?;
    let before = options.owners.as_deref().map(Owners::read).transpose()?.unwrap_or_default();
    let mut owners = before.clone();
    let mut changed = 0;
    let mut moved: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
    for path in &options.implicit_directories {
        let path = &follow_moves(path, &moved);
        let Some(fd) = open_plain(&root, path)? else { continue };
        let Some((found, real)) = look_below(&below, path)? else { continue };
        let Found::Directory(merged, record) = found else {
            return Err(Error::new(
                Code::BadArchive,
                path,
                format!(
                    "'{}' is a directory in the layer and leads to something else below it",
                    show(path)
                ),
            ));
        };
        let facts =
            disk::facts_of(&merged).map_err(|errno| Error::io("cannot examine", path, errno))?;
        let attributes = xattr::read(&merged, b"", path)?;
        if real == *path {
            copy::set_metadata(&fd, &facts, &attributes, path)?;
            futimens(&fd, &copy::times(&facts))
                .map_err(|errno| Error::io("cannot set the time of", path, errno))?;
            owners.set(path.as_slice(), record);
        } else {
            let opaque = xattr::read(&fd, b"", path)?.opaque;
            let to = move_contents(&root, &below, path, &fd, &real, &mut owners)?;
            if opaque {
                xattr::set(&to, b"", options.overlay_xattrs.opaque(), b"y")
                    .map_err(|errno| Error::io("cannot mark as opaque", &real, errno))?;
            }
            moved.push((path.clone(), real));
        }
        changed += 1;
    }
    if let Some(file) = options.owners.as_deref().filter(|_| owners != before) {
        owners.write(file)?;
    }
    Ok(changed)
}

/// Where a directory of the layer is now that directories above it may have moved.
fn follow_moves(path: &[u8], moved: &[(Vec<u8>, Vec<u8>)]) -> Vec<u8> {
    let mut path = path.to_vec();
    for (old, new) in moved {
        if let Some(rest) =
            path.strip_prefix(old.as_slice()).and_then(|rest| rest.strip_prefix(b"/"))
        {
            path = disk::join(new, rest);
        }
    }
    path
}

/// A directory of the layer itself, or `None` where it has gone.
fn open_plain(root: &OwnedFd, path: &[u8]) -> Result<Option<OwnedFd>> {
    let mut here = rustix::io::fcntl_dupfd_cloexec(root, 0)
        .map_err(|errno| Error::io("cannot open", path, errno))?;
    for name in path.split(|byte| *byte == b'/').filter(|name| !name.is_empty()) {
        here = match disk::open_directory(&here, name) {
            Ok(fd) => fd,
            Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR | rustix::io::Errno::LOOP) => {
                return Ok(None);
            }
            Err(errno) => return Err(Error::io("cannot open directory", path, errno)),
        };
    }
    Ok(Some(here))
}

enum Found {
    Directory(OwnedFd, Record),
    Other,
}

/// What `path` is in the layers below with links followed inside the root, and where that is without links. A missing
/// last part of a link's target counts as missing.
fn look_below(below: &Union, path: &[u8]) -> Result<Option<(Found, Vec<u8>)>> {
    let mut todo: Vec<Vec<u8>> = split_reversed(path);
    let mut trail: Vec<(Union, Vec<u8>)> = Vec::new();
    let mut links = 0;
    while let Some(part) = todo.pop() {
        if part == b".." {
            trail.pop();
            continue;
        }
        let here = trail.last().map_or(below, |(union, _)| union);
        let Some(found) = here.lookup(&part, path)? else { return Ok(None) };
        if found.facts.is_directory() {
            let next = here.descend(&part, &found, path)?;
            trail.push((next, part));
            continue;
        }
        if found.facts.kind != rustix::fs::FileType::Symlink {
            return Ok(todo
                .is_empty()
                .then(|| (Found::Other, joined(&trail, &part)))
                .filter(|_| links > 0));
        }
        links += 1;
        if links > MAX_LINKS {
            return Err(Error::new(
                Code::BadArchive,
                path,
                format!("the links at '{}' below the layer form a loop", show(path)),
            ));
        }
        let target = disk::link_target(&found.directory, &part)
            .map_err(|errno| Error::io("cannot read link", path, errno))?;
        if target.starts_with(b"/") {
            trail.clear();
        }
        todo.extend(split_reversed(&target));
    }
    let real = trail.iter().map(|(_, name)| name.as_slice()).collect::<Vec<_>>().join(&b'/');
    let last = trail.last().map_or(below, |(union, _)| union);
    match last.top() {
        Some(top) => {
            let fd = rustix::io::fcntl_dupfd_cloexec(&**top, 0)
                .map_err(|errno| Error::io("cannot open", path, errno))?;
            let record = last.top_record().cloned().unwrap_or_default();
            Ok(Some((Found::Directory(fd, record), real)))
        }
        None => Ok(None),
    }
}

fn joined(trail: &[(Union, Vec<u8>)], last: &[u8]) -> Vec<u8> {
    let mut parts: Vec<&[u8]> = trail.iter().map(|(_, name)| name.as_slice()).collect();
    parts.push(last);
    parts.join(&b'/')
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

/// Moves what the layer has at `path` to `real`, where the link below points, and removes the directory.
fn move_contents(
    root: &OwnedFd,
    below: &Union,
    path: &[u8],
    from: &OwnedFd,
    real: &[u8],
    owners: &mut Owners,
) -> Result<OwnedFd> {
    let (above, name) = disk::split(path);
    let parent = open_plain(root, above)?
        .ok_or_else(|| Error::io("cannot open directory", above, rustix::io::Errno::NOENT))?;
    let parent_facts =
        disk::facts_of(&parent).map_err(|errno| Error::io("cannot examine", above, errno))?;
    let to = make_like_below(root, below, real, owners)?;
    merge(from, &to, path, real, owners)?;
    owners.remove_tree(path);
    remove::remove(&parent, name).map_err(|errno| Error::io("cannot remove", path, errno))?;
    futimens(&parent, &copy::times(&parent_facts))
        .map_err(|errno| Error::io("cannot set the time of", above, errno))?;
    Ok(to)
}

/// Opens `path` in the layer, making what is missing with the metadata that it has below.
fn make_like_below(
    root: &OwnedFd,
    below: &Union,
    path: &[u8],
    owners: &mut Owners,
) -> Result<OwnedFd> {
    let mut here = rustix::io::fcntl_dupfd_cloexec(root, 0)
        .map_err(|errno| Error::io("cannot open", path, errno))?;
    let mut union = below.clone();
    let mut so_far = Vec::new();
    for name in path.split(|byte| *byte == b'/').filter(|name| !name.is_empty()) {
        so_far = disk::join(&so_far, name);
        let found = union.lookup(name, &so_far)?;
        union = match &found {
            Some(found) => union.descend(name, found, &so_far)?,
            None => Union::default(),
        };
        let existing = disk::facts(&here, name)
            .map_err(|errno| Error::io("cannot examine", &so_far, errno))?;
        here = match existing {
            Some(facts) if facts.is_directory() => disk::open_directory(&here, name)
                .map_err(|errno| Error::io("cannot open directory", &so_far, errno))?,
            Some(_) => {
                return Err(Error::new(
                    Code::BadArchive,
                    &so_far,
                    format!(
                        "'{}' is in the way of where a link below the layer leads",
                        show(&so_far)
                    ),
                ));
            }
            None => {
                let before = disk::facts_of(&here)
                    .map_err(|errno| Error::io("cannot examine", &so_far, errno))?;
                let fd = copy::make_directory(&here, name, &so_far)?;
                if let Some(top) = union.top() {
                    let facts = disk::facts_of(top)
                        .map_err(|errno| Error::io("cannot examine", &so_far, errno))?;
                    copy::set_metadata(&fd, &facts, &xattr::read(top, b"", &so_far)?, &so_far)?;
                    futimens(&fd, &copy::times(&facts))
                        .map_err(|errno| Error::io("cannot set the time of", &so_far, errno))?;
                    owners.set(so_far.as_slice(), union.top_record().cloned().unwrap_or_default());
                } else {
                    fchmod(&fd, Mode::from_raw_mode(0o755))
                        .map_err(|errno| Error::io("cannot set the mode of", &so_far, errno))?;
                }
                restore_time(&here, &before, &so_far)?;
                fd
            }
        };
    }
    Ok(here)
}

/// Moves every entry of a directory into another; directories that both have are merged, other entries replaced.
fn merge(
    from: &OwnedFd,
    to: &OwnedFd,
    from_path: &[u8],
    path: &[u8],
    owners: &mut Owners,
) -> Result<()> {
    let before = disk::facts_of(to).map_err(|errno| Error::io("cannot examine", path, errno))?;
    for name in
        disk::names(from).map_err(|errno| Error::io("cannot list directory", path, errno))?
    {
        let full = disk::join(path, &name);
        let examine = |fd: &OwnedFd| {
            disk::facts(fd, &name).map_err(|errno| Error::io("cannot examine", &full, errno))
        };
        let (source, target) = (examine(from)?, examine(to)?);
        let is_directory = |facts: &Option<Facts>| facts.is_some_and(|facts| facts.is_directory());
        if is_directory(&source) && is_directory(&target) {
            let open = |fd: &OwnedFd| {
                disk::open_directory(fd, &name)
                    .map_err(|errno| Error::io("cannot open directory", &full, errno))
            };
            let from_full = disk::join(from_path, &name);
            merge(&open(from)?, &open(to)?, &from_full, &full, owners)?;
            continue;
        }
        if target.is_some() {
            remove::remove(to, &name).map_err(|errno| Error::io("cannot replace", &full, errno))?;
        }
        renameat(from, name.as_slice(), to, name.as_slice())
            .map_err(|errno| Error::io("cannot move", &full, errno))?;
        owners.rename_tree(&disk::join(from_path, &name), &full);
    }
    restore_time(to, &before, path)
}

fn restore_time(fd: &OwnedFd, facts: &Facts, path: &[u8]) -> Result<()> {
    futimens(fd, &copy::times(facts))
        .map_err(|errno| Error::io("cannot set the time of", path, errno))
}
