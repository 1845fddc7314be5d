//! Copying single entries with all that they carry.

use std::os::fd::OwnedFd;

use rustix::{
    fs::{
        AtFlags, FileType, Gid, Mode, OFlags, Timespec, Timestamps, UTIME_OMIT, Uid, XattrFlags,
        chmodat, chownat, copy_file_range, fchmod, fchown, fsetxattr, futimens, ioctl_ficlone,
        mkdirat, mknodat, openat, symlinkat, utimensat,
    },
    io::Errno,
};

use crate::{
    disk::{self, Facts},
    error::{Code, Error, Result, show},
    watch::Watch,
    xattr::Attributes,
};

/// The modification time of `facts`, access time untouched.
pub(crate) fn times(facts: &Facts) -> Timestamps {
    Timestamps {
        last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
        last_modification: Timespec { tv_sec: facts.mtime.0, tv_nsec: facts.mtime.1.into() },
    }
}

/// Owner, mode and attributes of an open file or directory; its time is for later.
pub(crate) fn set_metadata(
    fd: &OwnedFd,
    facts: &Facts,
    attributes: &Attributes,
    path: &[u8],
) -> Result<()> {
    fchown(fd, Some(Uid::from_raw(facts.uid)), Some(Gid::from_raw(facts.gid)))
        .map_err(|errno| Error::io("cannot set the owner of", path, errno))?;
    fchmod(fd, Mode::from_raw_mode(facts.mode))
        .map_err(|errno| Error::io("cannot set the mode of", path, errno))?;
    for (key, value) in &attributes.kept {
        fsetxattr(fd, key.as_slice(), value, XattrFlags::empty()).map_err(|errno| {
            Error::io(&format!("cannot set the attribute '{}' of", show(key)), path, errno)
        })?;
    }
    Ok(())
}

pub(crate) fn make_directory(parent: &OwnedFd, name: &[u8], path: &[u8]) -> Result<OwnedFd> {
    mkdirat(parent, name, Mode::from_raw_mode(0o700))
        .map_err(|errno| Error::io("cannot make directory", path, errno))?;
    disk::open_directory(parent, name)
        .map_err(|errno| Error::io("cannot open directory", path, errno))
}

/// Copies anything but a directory. A file is cloned where the filesystem can.
pub(crate) fn copy_leaf(
    from: &OwnedFd,
    to: &OwnedFd,
    name: &[u8],
    facts: &Facts,
    attributes: &Attributes,
    path: &[u8],
    watch: Watch<'_>,
) -> Result<()> {
    Leaf { from, name, facts, attributes, path }.copy_to(to, name, watch)
}

/// An entry that is no directory, and what its copy is to be like.
pub(crate) struct Leaf<'a> {
    /// The directory that holds it.
    pub from: &'a OwnedFd,
    pub name: &'a [u8],
    pub facts: &'a Facts,
    pub attributes: &'a Attributes,
    /// For messages.
    pub path: &'a [u8],
}

impl Leaf<'_> {
    /// Copies it to `new_name` in `to`, which must not exist.
    pub fn copy_to(&self, to: &OwnedFd, new_name: &[u8], watch: Watch<'_>) -> Result<()> {
        let Self { from, name, facts, attributes, path } = *self;
        match facts.kind {
            FileType::RegularFile => {
                let source = disk::open_file(from, name)
                    .map_err(|errno| Error::io("cannot open", path, errno))?;
                let flags = OFlags::WRONLY
                    | OFlags::CREATE
                    | OFlags::EXCL
                    | OFlags::NOFOLLOW
                    | OFlags::CLOEXEC;
                let target = openat(to, new_name, flags, Mode::from_raw_mode(0o600))
                    .map_err(|errno| Error::io("cannot create", path, errno))?;
                copy_content(&source, &target, path, watch)?;
                set_metadata(&target, facts, attributes, path)?;
                return futimens(&target, &times(facts))
                    .map_err(|errno| Error::io("cannot set the time of", path, errno));
            }
            FileType::Symlink => {
                let target = disk::link_target(from, name)
                    .map_err(|errno| Error::io("cannot read link", path, errno))?;
                symlinkat(target.as_slice(), to, new_name)
                    .map_err(|errno| Error::io("cannot make link", path, errno))?;
            }
            FileType::CharacterDevice
            | FileType::BlockDevice
            | FileType::Fifo
            | FileType::Socket => {
                mknodat(to, new_name, facts.kind, Mode::from_raw_mode(0o600), facts.device)
                    .map_err(|errno| Error::io("cannot make node", path, errno))?;
            }
            _ => {
                return Err(Error::new(
                    Code::LayerUnrepresentable,
                    path,
                    format!("'{}' is of an unknown type", show(path)),
                ));
            }
        }
        let owner = (Uid::from_raw(facts.uid), Gid::from_raw(facts.gid));
        chownat(to, new_name, Some(owner.0), Some(owner.1), AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|errno| Error::io("cannot set the owner of", path, errno))?;
        if facts.kind != FileType::Symlink {
            chmodat(to, new_name, Mode::from_raw_mode(facts.mode), AtFlags::empty())
                .map_err(|errno| Error::io("cannot set the mode of", path, errno))?;
        }
        utimensat(to, new_name, &times(facts), AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|errno| Error::io("cannot set the time of", path, errno))
    }
}

fn copy_content(source: &OwnedFd, target: &OwnedFd, path: &[u8], watch: Watch<'_>) -> Result<()> {
    if ioctl_ficlone(target, source).is_ok() {
        return Ok(());
    }
    const AT_ONCE: usize = 8 << 20;
    loop {
        watch.poll()?;
        match copy_file_range(source, None, target, None, AT_ONCE) {
            Ok(0) => return Ok(()),
            Ok(_) | Err(Errno::INTR) => {}
            // Between filesystems, or where it is not implemented; nothing was copied then.
            Err(Errno::XDEV | Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP | Errno::PERM) => {
                break;
            }
            Err(errno) => return Err(Error::io("cannot copy", path, errno)),
        }
    }
    let mut buffer = vec![0_u8; 256 * 1024];
    loop {
        watch.poll()?;
        let count = disk::read_some(source, &mut buffer)
            .map_err(|errno| Error::io("cannot read", path, errno))?;
        if count == 0 {
            return Ok(());
        }
        let mut written = 0;
        while written < count {
            match rustix::io::write(target, &buffer[written..count]) {
                Ok(more) => written += more,
                Err(Errno::INTR) => {}
                Err(errno) => return Err(Error::io("cannot write", path, errno)),
            }
        }
    }
}
