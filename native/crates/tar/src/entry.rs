//! One entry, as it is read and as it is written.

/// What an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EntryKind {
    /// A regular file; data follows.
    File,
    /// Another name of an earlier entry, whose path is in `link`.
    HardLink,
    /// `link` is the target, verbatim.
    Symlink,
    /// A directory.
    Directory,
    /// A character device.
    CharDevice,
    /// A block device.
    BlockDevice,
    /// A named pipe.
    Fifo,
}

/// Seconds since the epoch and nanoseconds after them; before 1970 the seconds are negative, the nanoseconds never.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp {
    /// Whole seconds, rounded toward minus infinity.
    pub seconds: i64,
    /// 0 to 999 999 999.
    pub nanoseconds: u32,
}

/// The metadata of one entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// As written in the archive: it may be absolute, hold `..`, or end in `/`.
    pub path: Vec<u8>,
    /// What it is.
    pub kind: EntryKind,
    /// Permission bits with setuid, setgid and sticky: 07777.
    pub mode: u32,
    /// Owner.
    pub uid: u64,
    /// Group.
    pub gid: u64,
    /// Bytes of a file's content, holes of a sparse file included. 0 for everything else.
    pub size: u64,
    /// When it was last changed.
    pub mtime: Timestamp,
    /// Target of a symlink, or path of the entry that a hard link names.
    pub link: Vec<u8>,
    /// Major number of a device.
    pub device_major: u32,
    /// Minor number of a device.
    pub device_minor: u32,
    /// Extended attributes, in the order of the archive. A name occurs once.
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Entry {
    /// An entry that root owns, of mode 0755 for a directory and 0644 otherwise, from the epoch, and empty.
    pub fn new(path: &[u8], kind: EntryKind) -> Self {
        Self {
            path: path.to_vec(),
            kind,
            mode: if kind == EntryKind::Directory { 0o755 } else { 0o644 },
            uid: 0,
            gid: 0,
            size: 0,
            mtime: Timestamp::default(),
            link: Vec::new(),
            device_major: 0,
            device_minor: 0,
            xattrs: Vec::new(),
        }
    }

    /// The same with `size`.
    pub fn with_size(mut self, size: u64) -> Self {
        self.size = size;
        self
    }

    /// The same with `link`.
    pub fn with_link(mut self, link: &[u8]) -> Self {
        self.link = link.to_vec();
        self
    }
}
