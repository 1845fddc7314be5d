//! Copies files, directories, links and nodes into a root without ever leaving it.

use std::{
    collections::{HashMap, HashSet},
    ffi::OsStr,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::{Path, PathBuf},
    sync::atomic::AtomicBool,
};

use rustix::{
    fs::{
        AtFlags, CWD, FileType, Gid, Mode, OFlags, ResolveFlags, SeekFrom, Stat, Timespec,
        Timestamps, Uid,
    },
    io::Errno,
};

use tsbuild_owners::{Device, DeviceKind, Ledger, Owners, Record, Recording};

use crate::{
    Error, Result, check_cancel,
    hash::nanoseconds,
    root::{Root, normal, set_owner},
};

/// What a [`CopyEntry`] makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntryKind {
    /// A regular file.
    File,
    /// A directory; one that exists keeps its contents.
    Directory,
    /// A symbolic link.
    Symlink,
    /// A FIFO or device as the source is one. A socket becomes an empty file, since no layer can hold it.
    Node,
    /// A file with nothing in it; the source is only for messages.
    Empty,
}

/// What a source was when it was hashed.
#[derive(Debug, Clone, Copy)]
pub struct Expectation {
    /// Bytes.
    pub size: u64,
    /// Nanoseconds since the epoch.
    pub mtime_ns: i128,
    /// Nanoseconds since the epoch.
    pub ctime_ns: i128,
}

impl Expectation {
    /// Whether the file is still what it was.
    pub fn holds(&self, stat: &Stat) -> bool {
        stat.st_size as u64 == self.size
            && mtime_of(stat) == self.mtime_ns
            && nanoseconds(stat.st_ctime, stat.st_ctime_nsec as i64) == self.ctime_ns
    }
}

/// What a file was when it was hashed.
#[derive(Debug, Clone)]
pub struct KnownFile {
    /// Lower-case hex, of its content.
    pub sha256: String,
    /// Device.
    pub dev: u64,
    /// Inode.
    pub ino: u64,
    /// How many names the inode has.
    pub links: u64,
}

/// One thing to copy.
#[derive(Debug, Clone)]
pub struct CopyEntry {
    /// Below [`CopyOptions::source_root`] where there is one, otherwise an absolute path of the host.
    pub source: PathBuf,
    /// Path below the root.
    pub destination: PathBuf,
    /// What to make.
    pub kind: EntryKind,
    /// Target for a symlink.
    pub link: Option<PathBuf>,
    /// Absent keeps the source's.
    pub mode: Option<u32>,
    /// Absent keeps the source's.
    pub owner: Option<(u32, u32)>,
    /// Absent keeps the source's.
    pub mtime_ns: Option<i128>,
    /// Whether a source that is a link is followed.
    pub follow: bool,
    /// Whether `user.*` attributes and file capabilities are carried along.
    pub xattrs: bool,
    /// The source must still be this.
    pub expect: Option<Expectation>,
    /// What else is known of a file that is expected to be what it was.
    pub known: Option<KnownFile>,
    /// Files with one number that are one file in the source are one in the root too.
    pub tree: Option<u32>,
    /// A directory that exists keeps mode, owner and attributes; its time is set all the same.
    pub keeps_existing: bool,
}

/// What to copy, and how.
#[derive(Debug, Clone)]
pub struct CopyOptions {
    /// Where to.
    pub root: PathBuf,
    /// If that is an overlay, the directory in which its new files really lie: the kernel clones into these only.
    pub upper: Option<PathBuf>,
    /// A directory that sources are below; no link on their way is followed.
    pub source_root: Option<PathBuf>,
    /// In this order.
    pub entries: Vec<CopyEntry>,
    /// Refuse to put a directory where something else is. A link to a directory is one.
    pub strict: bool,
    /// Where owners and devices that the disk cannot have are recorded.
    pub owners: Option<Recording>,
    /// What is recorded of the source root.
    pub source_owners: Option<PathBuf>,
}

/// What was copied.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Copied {
    /// Bytes of files.
    pub bytes: u64,
    /// Device nodes that became empty files, where making them is not permitted.
    pub recorded_devices: u64,
}

/// Copies in order. Missing parents are made, 0755 and owned by root; directories get their times last.
///
/// # Errors
/// `IO`, `CANCELLED`, `SOURCE_CHANGED`, `NEEDS_IDS`, `DAMAGED_OWNERS`, `NOT_A_DIRECTORY` (a directory would replace
/// something else), `IS_A_DIRECTORY` (the other way round).
pub fn copy_into(
    options: &CopyOptions,
    cancel: &AtomicBool,
    progress: &mut dyn FnMut(u64),
) -> Result<Copied> {
    let root = Root::open(&options.root)?;
    let open = |path: &PathBuf| {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        rustix::fs::open(path, flags, Mode::empty()).map_err(|error| Error::io("open", path, error))
    };
    let source_root = options.source_root.as_ref().map(open).transpose()?;
    let upper = options.upper.as_ref().map(open).transpose()?;
    let mut copier = Copier {
        options,
        ledger: options.owners.as_ref().map(Ledger::open).transpose()?,
        source_owners: match &options.source_owners {
            Some(file) => Owners::read(file)?,
            None => Owners::new(),
        },
        root,
        upper,
        source_root,
        cancel,
        directory_times: Vec::new(),
        parent: None,
        linked: HashMap::new(),
        uncloned: HashSet::new(),
        by_hand: HashSet::new(),
        buffer: Vec::new(),
        copied: Copied::default(),
    };
    for entry in &options.entries {
        check_cancel(cancel)?;
        copier.entry(entry)?;
        if entry.kind == EntryKind::File {
            progress(copier.copied.bytes);
        }
    }
    copier.set_directory_times()?;
    if let Some(ledger) = copier.ledger {
        ledger.close()?;
    }
    Ok(copier.copied)
}

struct Copier<'a> {
    options: &'a CopyOptions,
    ledger: Option<Ledger>,
    source_owners: Owners,
    root: Root,
    upper: Option<OwnedFd>,
    source_root: Option<OwnedFd>,
    cancel: &'a AtomicBool,
    directory_times: Vec<(PathBuf, i128)>,
    /// The parent of the entry before: siblings follow each other.
    parent: Option<(PathBuf, Parent)>,
    /// Where the first name of a file with several was put, by tree, device and inode.
    linked: HashMap<(u32, u64, u64), PathBuf>,
    /// Devices from which nothing can be cloned into the root.
    uncloned: HashSet<u64>,
    /// Devices from which the kernel does not copy into the root.
    by_hand: HashSet<u64>,
    buffer: Vec<u8>,
    copied: Copied,
}

/// A directory of the root.
struct Parent {
    fd: OwnedFd,
    /// Where it really is, if that is to be recorded.
    place: Vec<u8>,
}

impl AsFd for Parent {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Parent {
    fn place_of(&self, name: &OsStr) -> Vec<u8> {
        let mut place = self.place.clone();
        if !place.is_empty() {
            place.push(b'/');
        }
        place.extend_from_slice(name.as_bytes());
        place
    }
}

impl Copier<'_> {
    fn entry(&mut self, entry: &CopyEntry) -> Result<()> {
        let clean = normal(&entry.destination);
        if entry.kind == EntryKind::Directory {
            return self.directory(entry, clean);
        }
        let shown = inside(&clean);
        let Some(name) = clean.file_name() else {
            return Err(Error::of("IS_A_DIRECTORY", shown, "a file cannot replace the root"));
        };
        let parent_path = clean.parent().unwrap_or(Path::new(""));
        // Taken out, so that what fails in between leaves none that may be wrong.
        let parent = match self.parent.take() {
            Some((path, fd)) if path == parent_path => fd,
            _ => {
                let fd = self.root.make_directories(parent_path, 0o755, 0, 0)?;
                Parent { place: self.place_of(&fd, &shown)?, fd }
            }
        };
        match entry.kind {
            EntryKind::Symlink => self.link(&parent, name, entry, &shown)?,
            EntryKind::File => self.file(&parent, name, &clean, entry, &shown)?,
            EntryKind::Node => self.node(&parent, name, entry, &shown)?,
            EntryKind::Empty => {
                make_over(&parent, name, entry, &shown, "create", || empty_file(&parent, name))?;
                self.set_node_attributes(&parent, name, true, entry, None, None, &shown)?;
            }
            EntryKind::Directory => unreachable!("handled above"),
        }
        self.parent = Some((parent_path.to_owned(), parent));
        Ok(())
    }

    /// Where an open directory really is; nothing where nobody asks.
    fn place_of(&self, fd: &OwnedFd, shown: &Path) -> Result<Vec<u8>> {
        match &self.ledger {
            None => Ok(Vec::new()),
            Some(_) => self.root.path_of(fd).map_err(|error| Error::io("resolve", shown, error)),
        }
    }

    fn directory(&mut self, entry: &CopyEntry, clean: PathBuf) -> Result<()> {
        let shown = inside(&clean);
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        let failed = |doing: &'static str| {
            let shown = shown.clone();
            move |error: Errno| Error::io(doing, &shown, error)
        };
        let (fd, existed) = match self.root.open_at(&clean, flags) {
            Ok(fd) => (fd, true),
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => {
                let (parent, name) = self.root.parent_of(&clean, true)?;
                if self.options.strict {
                    if rustix::fs::statat(&parent, &name, AtFlags::SYMLINK_NOFOLLOW).is_ok() {
                        return Err(blocked("NOT_A_DIRECTORY", entry, &shown));
                    }
                } else {
                    // What is not a directory makes way, but a link to one is followed, as the image's programs would.
                    remove_existing(&parent, &name, entry, &shown)?;
                    let parent = Parent { place: self.place_of(&parent, &shown)?, fd: parent };
                    if let Some(ledger) = &mut self.ledger {
                        ledger.removed(&parent.place_of(&name));
                    }
                }
                // What led through it leads elsewhere now.
                self.parent = None;
                self.root.make_directories(&clean, 0o700, 0, 0)?;
                (self.root.open_at(&clean, flags).map_err(failed("open"))?, false)
            }
            Err(error) => return Err(failed("open")(error)),
        };
        let keep = existed && entry.keeps_existing;
        let needs_source = entry.mtime_ns.is_none()
            || (!keep && (entry.mode.is_none() || entry.owner.is_none() || entry.xattrs));
        let source = if needs_source {
            let fd = self
                .open_source(entry, OFlags::RDONLY | OFlags::DIRECTORY)
                .map_err(|error| source_error(entry, "read", error))?;
            let stat =
                rustix::fs::fstat(&fd).map_err(|error| Error::io("stat", &entry.source, error))?;
            Some((fd, stat))
        } else {
            None
        };
        let stat = source.as_ref().map(|(_, stat)| stat);
        if !keep {
            let place = self.place_of(&fd, &shown)?;
            let (uid, gid) = self.owner_of(entry, stat);
            let (disk_uid, disk_gid) = self.on_disk(uid, gid);
            set_owner(&fd, disk_uid, disk_gid)
                .map_err(|error| owner_error(uid, gid, &shown, error))?;
            if let Some(ledger) = &mut self.ledger {
                ledger.made(&place, uid, gid, None);
            }
            rustix::fs::fchmod(&fd, mode_of(entry, stat)).map_err(failed("change mode of"))?;
            if let (true, Some((source, _))) = (entry.xattrs, &source) {
                copy_xattrs(source, &fd).map_err(failed("copy attributes to"))?;
            }
        }
        let mtime = entry.mtime_ns.or_else(|| stat.map(mtime_of)).unwrap_or(0);
        self.directory_times.push((clean, mtime));
        Ok(())
    }

    fn set_directory_times(&self) -> Result<()> {
        for (path, mtime) in self.directory_times.iter().rev() {
            let fd = self
                .root
                .open_at(path, OFlags::RDONLY | OFlags::DIRECTORY)
                .map_err(|error| Error::io("open", inside(path), error))?;
            set_times(&fd, *mtime)
                .map_err(|error| Error::io("set times of", inside(path), error))?;
        }
        Ok(())
    }

    fn link(
        &mut self,
        parent: &Parent,
        name: &OsStr,
        entry: &CopyEntry,
        shown: &Path,
    ) -> Result<()> {
        let needs_source =
            entry.mtime_ns.is_none() || entry.owner.is_none() || entry.link.is_none();
        let source = if needs_source {
            // With PATH and NOFOLLOW the descriptor is of the link itself.
            let fd = self
                .open_source(entry, OFlags::PATH)
                .map_err(|error| source_error(entry, "read", error))?;
            let stat =
                rustix::fs::fstat(&fd).map_err(|error| Error::io("stat", &entry.source, error))?;
            Some((fd, stat))
        } else {
            None
        };
        let target = match (&entry.link, &source) {
            (Some(target), _) => target.clone(),
            (None, Some((fd, _))) => {
                use std::os::unix::ffi::OsStringExt;
                let target = rustix::fs::readlinkat(fd, "", Vec::new())
                    .map_err(|error| Error::io("read link", &entry.source, error))?;
                PathBuf::from(std::ffi::OsString::from_vec(target.into_bytes()))
            }
            (None, None) => unreachable!("the source was opened for it"),
        };
        make_over(parent, name, entry, shown, "make link", || {
            rustix::fs::symlinkat(&target, parent, name)
        })?;
        let stat = source.as_ref().map(|(_, stat)| stat);
        self.set_node_attributes(parent, name, false, entry, stat, None, shown)
    }

    fn node(
        &mut self,
        parent: &Parent,
        name: &OsStr,
        entry: &CopyEntry,
        shown: &Path,
    ) -> Result<()> {
        let fd = self
            .open_source(entry, OFlags::PATH)
            .map_err(|error| source_error(entry, "read", error))?;
        let stat =
            rustix::fs::fstat(&fd).map_err(|error| Error::io("stat", &entry.source, error))?;
        let kind = FileType::from_raw_mode(stat.st_mode);
        let mut recorded = None;
        match kind {
            FileType::Socket => {
                make_over(parent, name, entry, shown, "create", || empty_file(parent, name))?;
            }
            FileType::Fifo | FileType::CharacterDevice | FileType::BlockDevice => {
                let device = if kind == FileType::Fifo { 0 } else { stat.st_rdev };
                let made = make_over(parent, name, entry, shown, "make node", || {
                    rustix::fs::mknodat(parent, name, kind, Mode::RUSR, device)
                });
                match made {
                    // Not permitted here: recorded, as when a layer is unpacked.
                    Err(error) if error.errno == Some(libc::EPERM) && kind != FileType::Fifo => {
                        make_over(parent, name, entry, shown, "create", || {
                            empty_file(parent, name)
                        })?;
                        self.copied.recorded_devices += 1;
                        recorded = Some(Device {
                            kind: match kind {
                                FileType::CharacterDevice => DeviceKind::Char,
                                _ => DeviceKind::Block,
                            },
                            major: rustix::fs::major(device),
                            minor: rustix::fs::minor(device),
                        });
                    }
                    made => made?,
                }
            }
            _ => return Err(changed(entry)),
        }
        self.set_node_attributes(parent, name, true, entry, Some(&stat), recorded, shown)
    }

    fn file(
        &mut self,
        parent: &Parent,
        name: &OsStr,
        path: &Path,
        entry: &CopyEntry,
        shown: &Path,
    ) -> Result<()> {
        // Neither a FIFO in its place nor a terminal may hold us.
        let source =
            match self.open_source(entry, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY) {
                Ok(source) => source,
                // A socket cannot be opened.
                Err(Errno::NXIO) => return self.node(parent, name, entry, shown),
                Err(error) => return Err(source_error(entry, "read", error)),
            };
        let stat =
            rustix::fs::fstat(&source).map_err(|error| Error::io("stat", &entry.source, error))?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(changed(entry));
        }
        check_expectation(entry, &stat)?;
        let place =
            entry.tree.filter(|_| stat.st_nlink > 1).map(|tree| (tree, stat.st_dev, stat.st_ino));
        if let Some(first) = place.as_ref().and_then(|place| self.linked.get(place))
            && self.hard_link(first, parent, name, entry, shown)?
        {
            let first = first.clone();
            return self.note_link(&first, parent, name, shown);
        }
        let mut target = None;
        make_over(parent, name, entry, shown, "create", || {
            let flags =
                OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            target = Some(rustix::fs::openat(parent, name, flags, Mode::RUSR | Mode::WUSR)?);
            Ok(())
        })?;
        let target = target.expect("it was created");
        let size = stat.st_size as u64;
        let size = if size > 0 && self.clone_bytes(&source, &target, &stat, parent, name) {
            size
        } else {
            self.copy_bytes(&source, &target, &stat, entry, shown)?
        };
        if entry.expect.is_some() {
            let after = rustix::fs::fstat(&source)
                .map_err(|error| Error::io("stat", &entry.source, error))?;
            check_expectation(entry, &after)?;
            if size != after.st_size as u64 {
                return Err(changed(entry));
            }
        }
        // Owner first: changing it clears the set-id bits and the capabilities.
        let (uid, gid) = self.owner_of(entry, Some(&stat));
        let (disk_uid, disk_gid) = self.on_disk(uid, gid);
        set_owner(&target, disk_uid, disk_gid)
            .map_err(|error| owner_error(uid, gid, shown, error))?;
        // An empty file in an image may stand for a device that could not be made there.
        let device = self
            .source_record(entry)
            .and_then(|record| record.device)
            .filter(|_| stat.st_size == 0);
        if let Some(ledger) = &mut self.ledger {
            ledger.made(&parent.place_of(name), uid, gid, device);
        }
        rustix::fs::fchmod(&target, mode_of(entry, Some(&stat)))
            .map_err(|error| Error::io("change mode of", shown, error))?;
        if entry.xattrs {
            copy_xattrs(&source, &target)
                .map_err(|error| Error::io("copy attributes to", shown, error))?;
        }
        set_times(&target, entry.mtime_ns.unwrap_or_else(|| mtime_of(&stat)))
            .map_err(|error| Error::io("set times of", shown, error))?;
        self.copied.bytes += size;
        if let Some(place) = place {
            self.linked.insert(place, path.to_owned());
        }
        Ok(())
    }

    fn note_link(
        &mut self,
        first: &Path,
        parent: &Parent,
        name: &OsStr,
        shown: &Path,
    ) -> Result<()> {
        if self.ledger.is_none() {
            return Ok(());
        }
        let (first_parent, first_name) = self.root.parent_of(first, false)?;
        let first_parent = Parent { place: self.place_of(&first_parent, shown)?, fd: first_parent };
        if let Some(ledger) = &mut self.ledger {
            ledger.linked(&first_parent.place_of(&first_name), &parent.place_of(name));
        }
        Ok(())
    }

    fn on_disk(&self, uid: u32, gid: u32) -> (u32, u32) {
        self.ledger.as_ref().map_or((uid, gid), |ledger| ledger.on_disk(uid, gid))
    }

    fn source_record(&self, entry: &CopyEntry) -> Option<&Record> {
        if self.source_owners.is_empty() {
            return None;
        }
        self.source_owners.get(normal(&entry.source).as_os_str().as_bytes())
    }

    fn owner_of(&self, entry: &CopyEntry, source: Option<&Stat>) -> (u32, u32) {
        let kept = source.map(|stat| {
            let (uid, gid) = (stat.st_uid, stat.st_gid);
            self.source_record(entry).map_or((uid, gid), |record| record.owner_over(uid, gid))
        });
        entry.owner.or(kept).unwrap_or((0, 0))
    }

    /// Of what has no descriptor. With `has_mode` the mode too, which links have none of.
    #[allow(clippy::too_many_arguments)]
    fn set_node_attributes(
        &mut self,
        parent: &Parent,
        name: &OsStr,
        has_mode: bool,
        entry: &CopyEntry,
        source: Option<&Stat>,
        device: Option<Device>,
        shown: &Path,
    ) -> Result<()> {
        let (uid, gid) = self.owner_of(entry, source);
        let (disk_uid, disk_gid) = self.on_disk(uid, gid);
        rustix::fs::chownat(
            parent,
            name,
            Some(Uid::from_raw(disk_uid)),
            Some(Gid::from_raw(disk_gid)),
            AtFlags::SYMLINK_NOFOLLOW,
        )
        .map_err(|error| owner_error(uid, gid, shown, error))?;
        if let Some(ledger) = &mut self.ledger {
            ledger.made(&parent.place_of(name), uid, gid, device);
        }
        if has_mode {
            // It follows links, but we made this a moment ago and nobody else writes here.
            rustix::fs::chmodat(parent, name, mode_of(entry, source), AtFlags::empty())
                .map_err(|error| Error::io("change mode of", shown, error))?;
        }
        let mtime = entry.mtime_ns.or_else(|| source.map(mtime_of)).unwrap_or(0);
        rustix::fs::utimensat(parent, name, &timestamps(mtime), AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|error| Error::io("set times of", shown, error))
    }

    /// False where it cannot be linked, for example because the first name was replaced meanwhile.
    fn hard_link(
        &self,
        first: &Path,
        parent: &Parent,
        name: &OsStr,
        entry: &CopyEntry,
        shown: &Path,
    ) -> Result<bool> {
        let Ok((first_parent, first_name)) = self.root.parent_of(first, false) else {
            return Ok(false);
        };
        let linked = make_over(parent, name, entry, shown, "make hard link", || {
            rustix::fs::linkat(&first_parent, &first_name, parent, name, AtFlags::empty())
        });
        match linked {
            Ok(()) => Ok(true),
            Err(error) if matches!(error.errno, Some(libc::ENOENT | libc::EMLINK)) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Below the source root no link is followed, whoever puts one there while we read.
    fn open_source(&self, entry: &CopyEntry, flags: OFlags) -> std::result::Result<OwnedFd, Errno> {
        let follow = if entry.follow { OFlags::empty() } else { OFlags::NOFOLLOW };
        let Some(base) = &self.source_root else {
            return rustix::fs::open(
                &entry.source,
                flags | follow | OFlags::CLOEXEC,
                Mode::empty(),
            );
        };
        let path = normal(&entry.source);
        let path = if path.as_os_str().is_empty() { Path::new(".") } else { &path };
        rustix::fs::openat2(
            base,
            path,
            flags | OFlags::NOFOLLOW | OFlags::CLOEXEC,
            Mode::empty(),
            ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS,
        )
    }

    /// False where the filesystem cannot.
    fn clone_bytes(
        &mut self,
        source: &OwnedFd,
        target: &OwnedFd,
        stat: &Stat,
        parent: &Parent,
        name: &OsStr,
    ) -> bool {
        if self.uncloned.contains(&stat.st_dev) {
            return false;
        }
        let done = rustix::fs::ioctl_ficlone(target, source).is_ok()
            || self
                .open_in_upper(parent, name)
                .is_some_and(|target| rustix::fs::ioctl_ficlone(target, source).is_ok());
        if !done {
            self.uncloned.insert(stat.st_dev);
        }
        done
    }

    /// The file that the overlay made a moment ago. It sees the size when attributes are set through it.
    fn open_in_upper(&self, parent: &Parent, name: &OsStr) -> Option<OwnedFd> {
        let upper = self.upper.as_ref()?;
        let place = self.root.path_of(parent).ok()?;
        rustix::fs::openat2(
            upper,
            Path::new(OsStr::from_bytes(&place)).join(name),
            OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC,
            Mode::empty(),
            ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS,
        )
        .ok()
    }

    /// Copied in the kernel, else by hand. Holes stay holes.
    fn copy_bytes(
        &mut self,
        source: &OwnedFd,
        target: &OwnedFd,
        stat: &Stat,
        entry: &CopyEntry,
        shown: &Path,
    ) -> Result<u64> {
        let size = stat.st_size as u64;
        // Blocks are counted in 512 bytes, whatever the filesystem's are.
        if (stat.st_blocks as u64).saturating_mul(512) < size
            && let Some(copied) = self.copy_segments(source, target, size, entry, shown)?
        {
            return Ok(copied);
        }
        let mut done = 0;
        // What was appended meanwhile is seen by whoever compares the size afterwards.
        while done < size && !self.by_hand.contains(&stat.st_dev) {
            check_cancel(self.cancel)?;
            match rustix::fs::copy_file_range(source, None, target, None, CHUNK_BYTES) {
                Ok(0) => break,
                Ok(count) => done += count as u64,
                Err(Errno::INTR) => {}
                Err(error) if done == 0 && is_refusal(error) => {
                    if error == Errno::XDEV {
                        self.by_hand.insert(stat.st_dev);
                    }
                    break;
                }
                Err(error) => return Err(Error::io("write", shown, error)),
            }
        }
        if done >= size && size > 0 {
            return Ok(done);
        }
        // Files of procfs and the like claim no size, and some filesystems refuse the call: read to the end.
        Ok(done + self.copy_by_hand(source, target, u64::MAX, entry, shown)?)
    }

    /// Copies what is data and leaves the rest out. `None` where the filesystem does not say.
    fn copy_segments(
        &mut self,
        source: &OwnedFd,
        target: &OwnedFd,
        size: u64,
        entry: &CopyEntry,
        shown: &Path,
    ) -> Result<Option<u64>> {
        let read_failed = |error: Errno| Error::io("read", &entry.source, error);
        let write_failed = |error: Errno| Error::io("write", shown, error);
        let mut at = 0;
        while at < size {
            check_cancel(self.cancel)?;
            let start = match rustix::fs::seek(source, SeekFrom::Data(at)) {
                Ok(start) => start,
                Err(Errno::NXIO) => break,
                Err(Errno::INVAL | Errno::OPNOTSUPP) if at == 0 => return Ok(None),
                Err(error) => return Err(read_failed(error)),
            };
            let end =
                rustix::fs::seek(source, SeekFrom::Hole(start)).map_err(read_failed)?.min(size);
            if end <= start {
                break;
            }
            rustix::fs::seek(source, SeekFrom::Start(start)).map_err(read_failed)?;
            rustix::fs::seek(target, SeekFrom::Start(start)).map_err(write_failed)?;
            let mut left = end - start;
            while left > 0 {
                check_cancel(self.cancel)?;
                let wanted = usize::try_from(left).unwrap_or(usize::MAX).min(CHUNK_BYTES);
                match rustix::fs::copy_file_range(source, None, target, None, wanted) {
                    Ok(0) => return Err(changed(entry)),
                    Ok(count) => left -= count as u64,
                    Err(Errno::INTR) => {}
                    Err(error) if is_refusal(error) => {
                        let copied = self.copy_by_hand(source, target, left, entry, shown)?;
                        if copied < left {
                            return Err(changed(entry));
                        }
                        left = 0;
                    }
                    Err(error) => return Err(write_failed(error)),
                }
            }
            at = end;
        }
        rustix::fs::ftruncate(target, size).map_err(write_failed)?;
        Ok(Some(size))
    }

    fn copy_by_hand(
        &mut self,
        source: &OwnedFd,
        target: &OwnedFd,
        most: u64,
        entry: &CopyEntry,
        shown: &Path,
    ) -> Result<u64> {
        self.buffer.resize(BUFFER_BYTES, 0);
        let mut done = 0;
        while done < most {
            check_cancel(self.cancel)?;
            let wanted = usize::try_from(most - done).unwrap_or(usize::MAX).min(BUFFER_BYTES);
            let count = match rustix::io::read(source, &mut self.buffer[..wanted]) {
                Ok(0) => break,
                Ok(count) => count,
                Err(Errno::INTR) => continue,
                Err(error) => return Err(Error::io("read", &entry.source, error)),
            };
            let mut written = 0;
            while written < count {
                match rustix::io::write(target, &self.buffer[written..count]) {
                    Ok(more) => written += more,
                    Err(Errno::INTR) => {}
                    Err(error) => return Err(Error::io("write", shown, error)),
                }
            }
            done += count as u64;
        }
        Ok(done)
    }
}

const BUFFER_BYTES: usize = 256 * 1024;
/// At most so much goes between two looks at the cancel flag.
const CHUNK_BYTES: usize = 8 * 1024 * 1024;

/// Whether `copy_file_range` refuses a pair of files, and reading and writing will do.
fn is_refusal(error: Errno) -> bool {
    matches!(
        error,
        Errno::XDEV | Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP | Errno::PERM | Errno::IO
    )
}

/// A path as the image's programs see it.
fn inside(path: &Path) -> PathBuf {
    Path::new("/").join(path)
}

/// Calls `make`, and once more after it removed what was in the way.
fn make_over(
    parent: impl AsFd,
    name: &OsStr,
    entry: &CopyEntry,
    shown: &Path,
    doing: &str,
    mut make: impl FnMut() -> std::result::Result<(), Errno>,
) -> Result<()> {
    match make() {
        Err(Errno::EXIST) => {}
        made => return made.map_err(|error| Error::io(doing, shown, error)),
    }
    remove_existing(&parent, name, entry, shown)?;
    make().map_err(|error| Error::io(doing, shown, error))
}

fn empty_file(parent: impl AsFd, name: &OsStr) -> std::result::Result<(), Errno> {
    rustix::fs::mknodat(parent, name, FileType::RegularFile, Mode::RUSR, 0)
}

fn remove_existing(parent: impl AsFd, name: &OsStr, entry: &CopyEntry, shown: &Path) -> Result<()> {
    match rustix::fs::unlinkat(parent, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(Errno::ISDIR) => Err(blocked("IS_A_DIRECTORY", entry, shown)),
        Err(error) => Err(Error::io("replace", shown, error)),
    }
}

fn blocked(code: &'static str, entry: &CopyEntry, shown: &Path) -> Error {
    let (source, at) = (entry.source.display(), shown.display());
    let message = if code == "IS_A_DIRECTORY" {
        format!("'{at}' is a directory in the image, and '{source}' is none")
    } else {
        format!("'{source}' is a directory, and '{at}' in the image is none")
    };
    Error::of(code, shown, message)
}

fn mode_of(entry: &CopyEntry, source: Option<&Stat>) -> Mode {
    let mode = entry.mode.or_else(|| source.map(|stat| stat.st_mode)).unwrap_or(0o755);
    Mode::from_raw_mode(mode & 0o7777)
}

/// An id without a mapping is EINVAL in a user namespace; without privilege every other id is EPERM.
pub(crate) fn owner_error(uid: u32, gid: u32, shown: &Path, error: Errno) -> Error {
    match error {
        Errno::INVAL | Errno::PERM => Error::of(
            "NEEDS_IDS",
            shown,
            format!(
                "'{}' would belong to {uid}:{gid}, which cannot be mapped here",
                shown.display()
            ),
        ),
        error => Error::io("change owner of", shown, error),
    }
}

fn source_error(entry: &CopyEntry, doing: &str, error: Errno) -> Error {
    match (error, entry.expect) {
        // It was there when it was hashed.
        (Errno::NOENT | Errno::LOOP | Errno::NOTDIR, Some(_)) => changed(entry),
        _ => Error::io(doing, &entry.source, error),
    }
}

fn copy_xattrs(source: &OwnedFd, target: &OwnedFd) -> std::result::Result<(), Errno> {
    let mut small = [0u8; 512];
    let mut large = Vec::new();
    let names: &[u8] = match rustix::fs::flistxattr(source, &mut small[..]) {
        Ok(count) => &small[..count],
        Err(Errno::RANGE) => {
            large.resize(64 * 1024, 0);
            let count = rustix::fs::flistxattr(source, &mut large[..])?;
            &large[..count]
        }
        Err(Errno::OPNOTSUPP) => return Ok(()),
        Err(error) => return Err(error),
    };
    for name in names.split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        if !is_carried(name) {
            continue;
        }
        let mut value = vec![0u8; 64 * 1024];
        let size = rustix::fs::fgetxattr(source, name, &mut value[..])?;
        rustix::fs::fsetxattr(target, name, &value[..size], rustix::fs::XattrFlags::empty())?;
    }
    Ok(())
}

/// Whether an extended attribute belongs in a layer under its own name.
pub fn is_carried(name: &[u8]) -> bool {
    name == b"security.capability"
        || (name.starts_with(b"user.")
            && !name.starts_with(b"user.overlay.")
            && !name.starts_with(b"user.containers."))
}

/// Makes a directory look like another: owner, mode, extended attributes, times.
///
/// # Errors
/// `IO`.
pub fn copy_attributes(source: &Path, target: &Path) -> Result<()> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let from = rustix::fs::open(source, flags, Mode::empty())
        .map_err(|error| Error::io("open", source, error))?;
    let to = rustix::fs::open(target, flags, Mode::empty())
        .map_err(|error| Error::io("open", target, error))?;
    let stat = rustix::fs::fstat(&from).map_err(|error| Error::io("stat", source, error))?;
    set_owner(&to, stat.st_uid, stat.st_gid)
        .map_err(|error| Error::io("change owner of", target, error))?;
    rustix::fs::fchmod(&to, Mode::from_raw_mode(stat.st_mode & 0o7777))
        .map_err(|error| Error::io("change mode of", target, error))?;
    copy_xattrs(&from, &to).map_err(|error| Error::io("copy attributes to", target, error))?;
    set_times(&to, mtime_of(&stat)).map_err(|error| Error::io("set times of", target, error))
}

/// Sets both times of a file or directory; a link is not followed.
///
/// # Errors
/// `IO`.
pub fn set_mtime(path: &Path, mtime_ns: i128) -> Result<()> {
    rustix::fs::utimensat(CWD, path, &timestamps(mtime_ns), AtFlags::SYMLINK_NOFOLLOW)
        .map_err(|error| Error::io("set times of", path, error))
}

/// Sets an extended attribute; links are not followed.
///
/// # Errors
/// `IO`.
pub fn set_xattr(path: &Path, name: &str, value: &[u8]) -> Result<()> {
    rustix::fs::lsetxattr(path, name, value, rustix::fs::XattrFlags::empty())
        .map_err(|error| Error::io("set attribute of", path, error))
}

fn check_expectation(entry: &CopyEntry, stat: &Stat) -> Result<()> {
    if entry.expect.is_none_or(|expect| expect.holds(stat)) { Ok(()) } else { Err(changed(entry)) }
}

fn changed(entry: &CopyEntry) -> Error {
    Error::of(
        "SOURCE_CHANGED",
        &entry.source,
        format!("'{}' changed while the build read it", entry.source.display()),
    )
}

fn mtime_of(stat: &Stat) -> i128 {
    nanoseconds(stat.st_mtime, stat.st_mtime_nsec as i64)
}

/// Both times, in nanoseconds since the epoch.
pub fn timestamps(mtime_ns: i128) -> Timestamps {
    let time = Timespec {
        tv_sec: i64::try_from(mtime_ns.div_euclid(1_000_000_000)).unwrap_or(0),
        tv_nsec: i64::try_from(mtime_ns.rem_euclid(1_000_000_000)).unwrap_or(0) as _,
    };
    Timestamps { last_access: time, last_modification: time }
}

fn set_times(fd: impl AsFd, mtime_ns: i128) -> std::result::Result<(), Errno> {
    rustix::fs::futimens(fd, &timestamps(mtime_ns))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

    fn entry(source: &Path, destination: &str, kind: EntryKind) -> CopyEntry {
        CopyEntry {
            source: source.to_owned(),
            destination: destination.into(),
            kind,
            link: None,
            mode: Some(0o644),
            owner: Some((rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw())),
            mtime_ns: Some(0),
            follow: false,
            xattrs: false,
            expect: None,
            known: None,
            tree: None,
            keeps_existing: false,
        }
    }

    fn scratch(name: &str) -> PathBuf {
        let base = std::env::temp_dir().join(format!("tsbuild-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&base);
        std::fs::create_dir_all(base.join("root")).unwrap();
        base
    }

    fn options(base: &Path, entries: Vec<CopyEntry>) -> CopyOptions {
        CopyOptions {
            root: base.join("root"),
            upper: None,
            source_root: None,
            entries,
            strict: false,
            owners: None,
            source_owners: None,
        }
    }

    fn copy(options: &CopyOptions) -> Result<Copied> {
        copy_into(options, &AtomicBool::new(false), &mut |_| {})
    }

    #[test]
    fn copies_replace_and_never_escape() {
        let base = scratch("copy");
        let (root, outside) = (base.join("root"), base.join("outside"));
        std::fs::create_dir_all(root.join("usr/lib")).unwrap();
        std::fs::create_dir_all(&outside).unwrap();
        std::fs::write(outside.join("source"), "hello").unwrap();
        std::fs::write(outside.join("victim"), "safe").unwrap();
        symlink("usr/lib", root.join("lib")).unwrap();
        symlink(&outside, root.join("escape")).unwrap();
        symlink(outside.join("victim"), root.join("usr/link")).unwrap();
        let source = outside.join("source");
        let mut seen = 0;
        let copied = copy_into(
            &options(
                &base,
                vec![
                    entry(&source, "/lib/a", EntryKind::File),
                    // A link in the last place is replaced, not followed.
                    entry(&source, "/usr/link", EntryKind::File),
                    CopyEntry {
                        mode: Some(0o700),
                        mtime_ns: Some(1_500_000_000),
                        ..entry(&outside, "/new/dir", EntryKind::Directory)
                    },
                    entry(&source, "/new/dir/b", EntryKind::File),
                    CopyEntry {
                        link: Some("../x".into()),
                        ..entry(&source, "/new/l", EntryKind::Symlink)
                    },
                ],
            ),
            &AtomicBool::new(false),
            &mut |bytes| seen = bytes,
        )
        .unwrap();
        assert_eq!((seen, copied.bytes), (15, 15));
        assert_eq!(std::fs::read(root.join("usr/lib/a")).unwrap(), b"hello");
        assert_eq!(std::fs::metadata(root.join("usr/lib/a")).unwrap().mtime(), 0);
        assert_eq!(std::fs::read(outside.join("victim")).unwrap(), b"safe");
        assert_eq!(std::fs::read(root.join("usr/link")).unwrap(), b"hello");
        let made = std::fs::metadata(root.join("new/dir")).unwrap();
        assert_eq!(
            (made.permissions().mode() & 0o7777, made.mtime(), made.mtime_nsec()),
            (0o700, 1, 500_000_000)
        );
        assert_eq!(std::fs::read_link(root.join("new/l")).unwrap(), Path::new("../x"));
        let escaped = copy(&options(&base, vec![entry(&source, "/escape/file", EntryKind::File)]));
        assert!(escaped.is_err() && !outside.join("file").exists());
        let blocked = copy(&options(&base, vec![entry(&source, "/usr", EntryKind::File)]));
        assert_eq!(blocked.unwrap_err().code, "IS_A_DIRECTORY");
        std::fs::remove_dir_all(base).unwrap();
    }

    #[test]
    fn directories_over_other_things() {
        let base = scratch("copy-over");
        let root = base.join("root");
        std::fs::create_dir(root.join("real")).unwrap();
        std::fs::set_permissions(root.join("real"), PermissionsExt::from_mode(0o751)).unwrap();
        std::fs::write(root.join("file"), "x").unwrap();
        symlink("real", root.join("link")).unwrap();
        symlink("nowhere", root.join("dangling")).unwrap();
        let directory = |destination: &str| CopyEntry {
            mode: Some(0o700),
            ..entry(&base, destination, EntryKind::Directory)
        };
        let strict = |entries| CopyOptions { strict: true, ..options(&base, entries) };
        for blocked in ["/file", "/dangling"] {
            let error = copy(&strict(vec![directory(blocked)])).unwrap_err();
            assert_eq!(error.code, "NOT_A_DIRECTORY");
            assert!(error.message.contains(blocked), "{}", error.message);
        }
        let mode = |name: &str| {
            std::fs::symlink_metadata(root.join(name)).unwrap().permissions().mode() & 0o7777
        };
        copy(&strict(vec![CopyEntry { keeps_existing: true, ..directory("/link") }])).unwrap();
        assert_eq!(mode("real"), 0o751);
        copy(&strict(vec![directory("/link")])).unwrap();
        assert_eq!(mode("real"), 0o700);
        assert!(root.join("link").is_symlink());
        copy(&options(&base, vec![directory("/file")])).unwrap();
        assert_eq!(mode("file"), 0o700);
        std::fs::remove_dir_all(base).unwrap();
    }

    #[test]
    fn links_holes_and_nodes_come_along() {
        let base = scratch("copy-kinds");
        let (root, from) = (base.join("root"), base.join("from"));
        std::fs::create_dir(&from).unwrap();
        let sparse = File::create(from.join("sparse")).unwrap();
        sparse.set_len(64 << 20).unwrap();
        std::os::unix::fs::FileExt::write_all_at(&sparse, b"middle", 32 << 20).unwrap();
        std::fs::write(from.join("a"), "a").unwrap();
        std::fs::hard_link(from.join("a"), from.join("b")).unwrap();
        rustix::fs::mknodat(CWD, from.join("fifo"), FileType::Fifo, Mode::RWXU, 0).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(from.join("socket")).unwrap();
        symlink("a", from.join("l")).unwrap();
        let kept = |name: &str, kind| CopyEntry {
            mode: None,
            mtime_ns: None,
            owner: None,
            tree: Some(1),
            ..entry(Path::new(name), name, kind)
        };
        let options = CopyOptions {
            source_root: Some(from.clone()),
            ..options(
                &base,
                vec![
                    kept("a", EntryKind::File),
                    kept("b", EntryKind::File),
                    CopyEntry { tree: None, ..entry(Path::new("b"), "c", EntryKind::File) },
                    kept("sparse", EntryKind::File),
                    kept("fifo", EntryKind::Node),
                    kept("socket", EntryKind::File),
                    kept("l", EntryKind::Symlink),
                ],
            )
        };
        // Twice: what is there is replaced.
        for _ in 0..2 {
            copy(&options).unwrap();
            let facts = |name: &str| std::fs::symlink_metadata(root.join(name)).unwrap();
            assert_eq!(facts("a").ino(), facts("b").ino());
            assert_ne!(facts("a").ino(), facts("c").ino());
            assert_eq!(facts("sparse").len(), 64 << 20);
            assert!(facts("sparse").blocks() < 4096);
            assert_eq!(
                std::fs::read(root.join("sparse")).unwrap(),
                std::fs::read(from.join("sparse")).unwrap()
            );
            assert_eq!(
                (facts("sparse").mtime(), facts("sparse").mtime_nsec()),
                (sparse.metadata().unwrap().mtime(), sparse.metadata().unwrap().mtime_nsec())
            );
            assert_eq!(facts("fifo").mode(), 0o010_700);
            assert!(facts("socket").is_file() && facts("socket").len() == 0);
            assert_eq!(std::fs::read_link(root.join("l")).unwrap(), Path::new("a"));
        }
        std::fs::remove_dir_all(base).unwrap();
    }

    #[test]
    fn no_link_on_the_way_of_a_source_is_followed() {
        let base = scratch("copy-source");
        let from = base.join("from");
        std::fs::create_dir(&from).unwrap();
        std::fs::create_dir(base.join("secret")).unwrap();
        std::fs::write(base.join("secret/file"), "secret").unwrap();
        // What a directory became between listing and copying.
        symlink(base.join("secret"), from.join("dir")).unwrap();
        symlink(base.join("secret/file"), from.join("file")).unwrap();
        for source in ["dir/file", "file", "../secret/file", "/../secret/file"] {
            let options = CopyOptions {
                source_root: Some(from.clone()),
                ..options(&base, vec![entry(Path::new(source), "/x", EntryKind::File)])
            };
            assert!(copy(&options).is_err(), "{source}");
        }
        assert!(!base.join("root/x").exists());
        std::fs::remove_dir_all(base).unwrap();
    }

    #[test]
    fn notices_change() {
        let base = scratch("copy-change");
        let source = base.join("source");
        std::fs::write(&source, "hello").unwrap();
        let stat = rustix::fs::stat(&source).unwrap();
        let expect = Expectation {
            size: 5,
            mtime_ns: mtime_of(&stat),
            ctime_ns: nanoseconds(stat.st_ctime, stat.st_ctime_nsec as i64),
        };
        let entry = CopyEntry { expect: Some(expect), ..entry(&source, "/a", EntryKind::File) };
        let options = options(&base, vec![entry]);
        copy(&options).unwrap();
        std::fs::write(&source, "other").unwrap();
        assert_eq!(copy(&options).unwrap_err().code, "SOURCE_CHANGED");
        std::fs::remove_file(&source).unwrap();
        assert_eq!(copy(&options).unwrap_err().code, "SOURCE_CHANGED");
        std::fs::remove_dir_all(base).unwrap();
    }
}
