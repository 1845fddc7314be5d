//! Descriptor-relative file operations. Nothing here ever follows a link in the last component.

use std::os::fd::{AsFd, OwnedFd};

use rustix::{
    fs::{AtFlags, CWD, FileType, Mode, OFlags, RawDir, Stat, openat, readlinkat, statat},
    io::Errno,
};

use tsbuild_owners::{Device, DeviceKind, Record};

use crate::error::{Error, Result};

/// What `stat` says, in our words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Facts {
    pub kind: FileType,
    /// 07777.
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub size: u64,
    pub mtime: (i64, u32),
    pub ctime: (i64, u32),
    pub device: u64,
    pub dev: u64,
    pub ino: u64,
    pub links: u64,
}

impl Facts {
    // The types of these fields differ between architectures.
    #[allow(clippy::unnecessary_cast, clippy::useless_conversion)]
    pub fn new(stat: &Stat) -> Self {
        Self {
            kind: FileType::from_raw_mode(stat.st_mode),
            mode: stat.st_mode & 0o7777,
            uid: stat.st_uid,
            gid: stat.st_gid,
            size: stat.st_size as u64,
            mtime: (stat.st_mtime as i64, stat.st_mtime_nsec as u32),
            ctime: (stat.st_ctime as i64, stat.st_ctime_nsec as u32),
            device: stat.st_rdev as u64,
            dev: stat.st_dev as u64,
            ino: stat.st_ino as u64,
            links: stat.st_nlink as u64,
        }
    }

    /// What the file really is, where the disk could not say it.
    pub fn with(mut self, record: Option<&Record>) -> Self {
        let Some(record) = record else { return self };
        (self.uid, self.gid) = record.owner_over(self.uid, self.gid);
        if let Some(Device { kind, major, minor }) = record.device
            && self.kind == FileType::RegularFile
            && self.size == 0
        {
            self.kind = match kind {
                DeviceKind::Char => FileType::CharacterDevice,
                DeviceKind::Block => FileType::BlockDevice,
            };
            self.device = rustix::fs::makedev(major, minor);
        }
        self
    }

    pub fn is_directory(&self) -> bool {
        self.kind == FileType::Directory
    }

    pub fn is_file(&self) -> bool {
        self.kind == FileType::RegularFile
    }

    /// A character device 0:0.
    pub fn is_whiteout(&self) -> bool {
        self.kind == FileType::CharacterDevice && self.device == 0
    }

    /// Same file, and nobody wrote to it in between.
    pub fn is_untouched_since(&self, before: &Self) -> bool {
        (self.dev, self.ino, self.size, self.mtime, self.ctime)
            == (before.dev, before.ino, before.size, before.mtime, before.ctime)
    }
}

const DIRECTORY: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Opens a directory of the host by its path, following links.
pub(crate) fn open_root(path: &[u8]) -> Result<OwnedFd> {
    openat(CWD, path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .map_err(|errno| Error::io("cannot open directory", path, errno))
}

/// Opens a directory in a directory.
pub(crate) fn open_directory(
    directory: &OwnedFd,
    name: &[u8],
) -> std::result::Result<OwnedFd, Errno> {
    openat(directory, name, DIRECTORY, Mode::empty())
}

/// Opens a regular file for reading. The caller has seen that it is one; should it have become a FIFO, this does not
/// hang.
pub(crate) fn open_file(directory: &OwnedFd, name: &[u8]) -> std::result::Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    openat(directory, name, flags, Mode::empty())
}

/// `None` where nothing is.
pub(crate) fn facts(directory: &OwnedFd, name: &[u8]) -> std::result::Result<Option<Facts>, Errno> {
    match statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(Facts::new(&stat))),
        Err(Errno::NOENT) => Ok(None),
        Err(errno) => Err(errno),
    }
}

pub(crate) fn facts_of(fd: impl AsFd) -> std::result::Result<Facts, Errno> {
    rustix::fs::fstat(fd).map(|stat| Facts::new(&stat))
}

pub(crate) fn link_target(directory: &OwnedFd, name: &[u8]) -> std::result::Result<Vec<u8>, Errno> {
    readlinkat(directory, name, Vec::new()).map(std::ffi::CString::into_bytes)
}

/// The names in a directory, sorted by their bytes, without `.` and `..`.
pub(crate) fn names(directory: &OwnedFd) -> std::result::Result<Vec<Vec<u8>>, Errno> {
    // The descriptor has a position; it may have been read before.
    rustix::fs::seek(directory, rustix::fs::SeekFrom::Start(0))?;
    let mut buffer = Vec::with_capacity(32 * 1024);
    let mut names = Vec::new();
    let mut listing = RawDir::new(directory, buffer.spare_capacity_mut());
    while let Some(entry) = listing.next() {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            names.push(name.to_vec());
        }
    }
    names.sort_unstable();
    Ok(names)
}

/// `read` that goes on after a signal.
pub(crate) fn read_some(fd: &OwnedFd, buffer: &mut [u8]) -> std::result::Result<usize, Errno> {
    loop {
        match rustix::io::read(fd, &mut *buffer) {
            Err(Errno::INTR) => {}
            result => return result,
        }
    }
}

/// `directory/name`, or the name alone at the top.
pub(crate) fn join(directory: &[u8], name: &[u8]) -> Vec<u8> {
    if directory.is_empty() { name.to_vec() } else { [directory, b"/", name].concat() }
}

/// The directory of a path, and the last name.
pub(crate) fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|byte| *byte == b'/') {
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None => (b"", path),
    }
}
