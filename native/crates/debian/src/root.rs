//! Paths inside the new root: links are followed as a process with that root would follow them, and never out of it.

use std::{
    collections::HashMap,
    fs::File,
    io,
    os::{
        fd::{AsFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::{Path, PathBuf},
    rc::Rc,
};

use rustix::{
    fs::{AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags, Stat},
    io::Errno,
};

use crate::Error;

/// Parents that one thread keeps open.
const MAX_OPEN_PARENTS: usize = 256;

/// A directory and what tells it from every other.
pub struct Parent {
    pub fd: OwnedFd,
    pub inode: u64,
}

/// The root, with the parents that were used lately. One for each thread.
pub struct Root {
    path: PathBuf,
    fd: OwnedFd,
    parents: HashMap<Vec<u8>, Rc<Parent>>,
}

impl Root {
    pub fn open(path: &Path) -> Result<Self, Error> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(CWD, path, flags, Mode::empty())
            .map_err(|error| Error::io(path, error))?;
        Ok(Self { path: path.to_owned(), fd, parents: HashMap::new() })
    }

    /// The path on the host, for messages only.
    pub fn display(&self, path: &[u8]) -> PathBuf {
        self.path.join(Path::new(std::ffi::OsStr::from_bytes(path)))
    }

    /// Opens what is below the root; every link on the way is resolved inside the root.
    pub fn resolve(&self, path: &[u8], flags: OFlags) -> Result<OwnedFd, Errno> {
        let path = if path.is_empty() { &b"."[..] } else { path };
        loop {
            let opened = rustix::fs::openat2(
                &self.fd,
                path,
                flags | OFlags::CLOEXEC,
                Mode::empty(),
                ResolveFlags::IN_ROOT,
            );
            // The kernel says so when something was renamed while it looked; asking again is all there is to do.
            if opened.as_ref().err() != Some(&Errno::AGAIN) {
                return opened;
            }
        }
    }

    /// Where below the root an open directory is.
    pub fn path_of(&self, fd: &OwnedFd) -> Result<Vec<u8>, Errno> {
        use std::os::fd::AsRawFd;
        let real = |fd: &OwnedFd| {
            let link = format!("/proc/self/fd/{}", fd.as_raw_fd());
            rustix::fs::readlinkat(CWD, link, Vec::new()).map(std::ffi::CString::into_bytes)
        };
        let (base, path) = (real(&self.fd)?, real(fd)?);
        let inside = path.strip_prefix(base.as_slice()).ok_or(Errno::XDEV)?;
        Ok(inside.strip_prefix(b"/").unwrap_or(inside).to_vec())
    }

    /// Where a name in an open directory is.
    pub fn place_of(&self, parent: &Parent, name: &[u8]) -> Result<Vec<u8>, Errno> {
        let mut place = self.path_of(&parent.fd)?;
        if !place.is_empty() {
            place.push(b'/');
        }
        place.extend_from_slice(name);
        Ok(place)
    }

    /// The directory of that path, made with its parents where it is missing.
    pub fn directory(&mut self, path: &[u8]) -> Result<Rc<Parent>, Error> {
        if let Some(known) = self.parents.get(path) {
            return Ok(Rc::clone(known));
        }
        let flags = OFlags::PATH | OFlags::DIRECTORY;
        let fd = match self.resolve(path, flags) {
            Err(Errno::NOENT) if !path.is_empty() => {
                let (parent, name) = split(path);
                let parent = self.directory(parent)?;
                match rustix::fs::mkdirat(&parent.fd, name, Mode::from_raw_mode(0o755)) {
                    Ok(()) | Err(Errno::EXIST) => {}
                    Err(error) => return Err(Error::io(self.display(path), error)),
                }
                self.resolve(path, flags)
            }
            other => other,
        }
        .map_err(|error| Error::io(self.display(path), error))?;
        let inode =
            rustix::fs::fstat(&fd).map_err(|error| Error::io(self.display(path), error))?.st_ino;
        let directory = Rc::new(Parent { fd, inode });
        if self.parents.len() >= MAX_OPEN_PARENTS {
            self.parents.clear();
        }
        self.parents.insert(path.to_vec(), Rc::clone(&directory));
        Ok(directory)
    }

    /// Writes a small file that nobody else writes, replacing what is there.
    pub fn write(
        &mut self,
        path: &[u8],
        content: &[u8],
        mode: u32,
        mtime: Option<i64>,
    ) -> Result<(), Error> {
        let (parent, name) = split(path);
        let parent = self.directory(parent)?;
        let failed = |error: io::Error| Error::io(self.display(path), error);
        let mut file = create(&parent, name).map_err(failed)?;
        io::Write::write_all(&mut file, content).map_err(failed)?;
        rustix::fs::fchmod(&file, Mode::from_raw_mode(mode))
            .map_err(|error| failed(error.into()))?;
        if let Some(seconds) = mtime {
            rustix::fs::futimens(&file, &times(seconds, 0))
                .map_err(|error| failed(error.into()))?;
        }
        Ok(())
    }
}

/// Creates a file, in place of anything but a directory.
pub fn create(parent: &Parent, name: &[u8]) -> io::Result<File> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mode = Mode::from_raw_mode(0o600);
    match rustix::fs::openat(&parent.fd, name, flags, mode) {
        Err(Errno::EXIST) => {
            rustix::fs::unlinkat(&parent.fd, name, AtFlags::empty())?;
            Ok(File::from(rustix::fs::openat(&parent.fd, name, flags, mode)?))
        }
        opened => Ok(File::from(opened?)),
    }
}

/// What is there, links not followed.
pub fn stat(parent: &Parent, name: &[u8]) -> Result<Option<Stat>, Errno> {
    match rustix::fs::statat(&parent.fd, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(found) => Ok(Some(found)),
        Err(Errno::NOENT) => Ok(None),
        Err(error) => Err(error),
    }
}

pub fn is_directory(found: &Stat) -> bool {
    FileType::from_raw_mode(found.st_mode) == FileType::Directory
}

/// Access and modification time.
pub fn times(seconds: i64, nanoseconds: u32) -> rustix::fs::Timestamps {
    let time = rustix::fs::Timespec { tv_sec: seconds, tv_nsec: nanoseconds.into() };
    rustix::fs::Timestamps { last_access: time, last_modification: time }
}

/// Owner, then mode (a change of owner takes setuid away), then time.
pub fn set_attributes(
    fd: impl AsFd,
    owner: (u32, u32),
    mode: u32,
    mtime: (i64, u32),
) -> Result<(), Errno> {
    let fd = fd.as_fd();
    rustix::fs::fchown(
        fd,
        Some(rustix::fs::Uid::from_raw(owner.0)),
        Some(rustix::fs::Gid::from_raw(owner.1)),
    )?;
    rustix::fs::fchmod(fd, Mode::from_raw_mode(mode))?;
    rustix::fs::futimens(fd, &times(mtime.0, mtime.1))
}

/// Parent and base name of a clean relative path.
pub fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|&byte| byte == b'/') {
        Some(at) => (&path[..at], &path[at + 1..]),
        None => (b"", path),
    }
}

/// A path of an archive as a clean relative one: no `./` in front, no slash behind. `None` where it has `..`, an empty
/// component or a NUL, which no package has.
pub fn clean(path: &[u8]) -> Option<&[u8]> {
    let mut path = path;
    while let Some(rest) = path.strip_prefix(b"./").or_else(|| path.strip_prefix(b"/")) {
        path = rest;
    }
    while let Some(rest) = path.strip_suffix(b"/") {
        path = rest;
    }
    if path == b"." || path.is_empty() {
        return Some(b"");
    }
    let good = path
        .split(|&byte| byte == b'/')
        .all(|part| !part.is_empty() && part != b"." && part != b"..");
    (good && !path.contains(&0)).then_some(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cleans_paths_and_refuses_hostile_ones() {
        for (path, expected) in [
            (&b"./"[..], Some(&b""[..])),
            (b".", Some(b"")),
            (b"./usr/bin/", Some(b"usr/bin")),
            (b"/etc/passwd", Some(b"etc/passwd")),
            (b"./../x", None),
            (b"a/../../x", None),
            (b"a//b", None),
            (b"a/./b", None),
            (b"a\0b", None),
            (b"..", None),
        ] {
            assert_eq!(clean(path), expected, "{}", String::from_utf8_lossy(path));
        }
    }
}
