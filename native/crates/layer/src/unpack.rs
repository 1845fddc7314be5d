//! A layer blob to a directory in overlayfs form.
//!
//! An archive is a stranger's. It is extracted into a directory of its own: entries act on that directory only, parents
//! that are links are followed inside of it only, and no operation follows a link in the last component.

use std::{collections::BTreeMap, io::BufRead, os::fd::OwnedFd, path::PathBuf};

use rustix::{
    fs::{
        AtFlags, FileType, Gid, Mode, OFlags, Timespec, Timestamps, UTIME_OMIT, Uid, chownat,
        fchmod, fchown, ftruncate, futimens, linkat, makedev, mkdirat, mknodat, openat, symlinkat,
        utimensat,
    },
    io::Errno,
};
use tsbuild_owners::{Device, DeviceKind, Ledger, Recording};
use tsbuild_sys::copy::is_carried;
use tsbuild_tar::{Entry, EntryKind, Reader, Timestamp};

use crate::{
    decompress::{self, ArrivingBlob, Encoding, ExpandLimits, Expected},
    disk,
    error::{Code, Error, Result, show},
    inside::{self, Place},
    remove,
    watch::Watch,
    whiteout::{self, META_PREFIX, PREFIX, Whiteout},
    xattr::{self, OverlayXattrs},
};

/// What to unpack, and what to allow.
#[derive(Clone, Debug)]
pub struct UnpackOptions {
    /// The compressed layer.
    pub blob: PathBuf,
    /// It is still being written, by somebody who checks its digest.
    pub arriving: Option<ArrivingBlob>,
    /// How it is compressed.
    pub encoding: Encoding,
    /// An existing empty directory.
    pub root: PathBuf,
    /// `sha256:…` that the blob must have.
    pub expected_digest: Option<String>,
    /// `sha256:…` that the tar must have.
    pub expected_diff_id: Option<String>,
    /// Bounds on what it may become.
    pub limits: ExpandLimits,
    /// Bound on the number of entries.
    pub max_entries: u64,
    /// How opaque directories are marked.
    pub overlay_xattrs: OverlayXattrs,
    /// Make device nodes where that is permitted.
    pub create_devices: bool,
    /// Where owners and devices that the disk cannot have are recorded.
    pub owners: Option<Recording>,
}

/// What was unpacked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnpackedLayer {
    /// Of the blob, if it was complete.
    pub digest: Option<String>,
    /// Of the tar.
    pub diff_id: String,
    /// Of the tar.
    pub uncompressed_size: u64,
    /// Tar entries.
    pub entries: u64,
    /// Directories made for their children only, shallowest first.
    pub implicit_directories: Vec<Vec<u8>>,
    /// Device nodes that became empty files, sorted.
    pub recorded_devices: Vec<Vec<u8>>,
}

/// Unpacks a blob. Reports the bytes of blob read so far.
///
/// # Errors
/// `BAD_ARCHIVE`, `ARCHIVE_LIMIT`, `DIGEST_MISMATCH`, `NEEDS_IDS`, `DAMAGED_OWNERS`, `IO`, `CANCELLED`. The directory is empty then.
pub fn unpack_layer(options: &UnpackOptions, watch: Watch<'_>) -> Result<UnpackedLayer> {
    let root_path = options.root.as_os_str().as_encoded_bytes();
    let root = disk::open_root(root_path)?;
    let result = unpack(options, &root, watch);
    if result.is_err() {
        // The first error is the one that matters; what cannot be removed is swept with the store's `tmp`.
        let _ = remove::remove_contents(&root);
    }
    result
}

fn unpack(options: &UnpackOptions, root: &OwnedFd, watch: Watch<'_>) -> Result<UnpackedLayer> {
    let expected = Expected {
        digest: options.expected_digest.as_deref(),
        diff_id: options.expected_diff_id.as_deref(),
    };
    let size = match &options.arriving {
        Some(blob) => blob.size,
        None => std::fs::metadata(&options.blob).map_or(0, |facts| facts.len()),
    };
    let (extraction, digests) = decompress::run(
        &options.blob,
        options.arriving.as_ref(),
        options.encoding,
        options.limits,
        watch,
        expected,
        |stream| {
            let rules = Rules {
                archive: options.blob.as_os_str().as_encoded_bytes().to_vec(),
                size,
                limits: options.limits,
                max_entries: options.max_entries,
                overlay_xattrs: options.overlay_xattrs,
                create_devices: options.create_devices,
                form: Form::Layer,
            };
            let ledger = options.owners.as_ref().map(Ledger::open).transpose()?;
            let mut extraction = Extraction::new(rules, root, ledger, watch);
            extraction.all(stream)?;
            Ok(extraction)
        },
    )?;
    let mut implicit: Vec<Vec<u8>> = extraction
        .directories
        .into_iter()
        .filter(|(_, own)| own.is_none())
        .map(|(path, _)| path)
        .collect();
    implicit.sort_by_key(|path| (path.iter().filter(|byte| **byte == b'/').count(), path.clone()));
    if let Some(ledger) = extraction.ledger {
        ledger.close()?;
    }
    let mut recorded = extraction.recorded_devices;
    recorded.sort();
    Ok(UnpackedLayer {
        digest: digests.blob,
        diff_id: digests.diff_id,
        uncompressed_size: digests.uncompressed_size,
        entries: extraction.entries,
        implicit_directories: implicit,
        recorded_devices: recorded,
    })
}

/// Longer paths cannot be opened by any program anyway (PATH_MAX).
const MAX_PATH: usize = 4096;

/// What the archive is to whom it came from.
pub(crate) enum Form {
    /// A layer: whiteouts are marks for overlayfs, and the root's entry is the root's.
    Layer,
    /// Files for a directory of an image.
    Files(IntoDirectory),
}

/// Where files go and what is said about them.
pub(crate) struct IntoDirectory {
    /// Below the root, without links; it exists.
    pub directory: Vec<u8>,
    /// Instead of what the archive says.
    pub owner: Option<(u32, u32)>,
    /// Modification time of directories that are made on the way.
    pub made_at: Timestamp,
}

/// How an archive is extracted, and what it may cost.
pub(crate) struct Rules {
    /// For messages.
    pub archive: Vec<u8>,
    /// Bytes of the file.
    pub size: u64,
    pub limits: ExpandLimits,
    pub max_entries: u64,
    pub overlay_xattrs: OverlayXattrs,
    pub create_devices: bool,
    pub form: Form,
}

pub(crate) struct Extraction<'a> {
    rules: Rules,
    root: &'a OwnedFd,
    watch: Watch<'a>,
    pub entries: u64,
    /// Bytes of file content with holes counted, which the decompressor cannot see.
    content: u64,
    /// Modification time of each directory, set at the end; `None` for one without an entry of its own.
    directories: BTreeMap<Vec<u8>, Option<Timestamp>>,
    pub recorded_devices: Vec<Vec<u8>>,
    /// What the disk cannot have.
    pub ledger: Option<Ledger>,
    /// The parent of the last entry: entries of one directory come together.
    parent: Option<(Vec<u8>, Place)>,
}

impl<'a> Extraction<'a> {
    pub fn new(rules: Rules, root: &'a OwnedFd, ledger: Option<Ledger>, watch: Watch<'a>) -> Self {
        Self {
            rules,
            root,
            watch,
            entries: 0,
            content: 0,
            directories: BTreeMap::new(),
            recorded_devices: Vec::new(),
            ledger,
            parent: None,
        }
    }

    /// Extracts everything up to the archive's end mark.
    pub fn all(&mut self, stream: impl BufRead) -> Result<()> {
        let mut reader = Reader::new(stream);
        while let Some(entry) =
            reader.next_entry().map_err(|error| archive_error(error, &self.rules.archive))?
        {
            self.watch.poll()?;
            self.entries += 1;
            if self.entries > self.rules.max_entries {
                return Err(Error::new(
                    Code::ArchiveLimit,
                    &self.rules.archive,
                    format!("the archive has more than {} entries", self.rules.max_entries),
                ));
            }
            self.content = self.content.saturating_add(entry.size);
            self.rules.limits.check(self.content, self.rules.size, &entry.path)?;
            self.entry(&entry, &mut reader)?;
        }
        self.parent = None;
        self.set_directory_times()
    }

    fn entry(&mut self, entry: &Entry, reader: &mut Reader<impl BufRead>) -> Result<()> {
        if entry.path.len() > MAX_PATH {
            return Err(Error::new(
                Code::ArchiveLimit,
                &entry.path[..100],
                format!("a path in the archive has {} bytes", entry.path.len()),
            ));
        }
        let parts = inside::components(&entry.path)
            .map_err(|()| bad(&entry.path, "has '..' in its path"))?;
        let Some((base, parents)) = parts.split_last() else { return self.root_entry(entry) };
        if parts.iter().any(|part| part.len() > 255) {
            return Err(Error::new(
                Code::ArchiveLimit,
                &entry.path,
                format!("a name in '{}' has more than 255 bytes", show(&entry.path)),
            ));
        }
        let base_path = match &self.rules.form {
            Form::Files(into) => {
                // They would mean a deletion in the layer that this becomes.
                if parts.iter().any(|part| part.starts_with(PREFIX)) {
                    return Err(Error::new(
                        Code::LayerUnrepresentable,
                        &entry.path,
                        format!(
                            "'{}' in the archive has a name that begins with '.wh.', which an image cannot hold",
                            show(&entry.path)
                        ),
                    ));
                }
                Some(into.directory.clone())
            }
            Form::Layer => None,
        };
        if let Some(directory) = base_path {
            let parent = below(&directory, parents);
            let place = self.take_parent(parent.clone(), &entry.path)?;
            if self.make(entry, base, &place, reader)? != Outcome::Replaced {
                self.parent = Some((parent, place));
            }
            return Ok(());
        }
        if parents.iter().any(|part| part.starts_with(META_PREFIX)) {
            return Ok(());
        }
        if parents.iter().any(|part| part.starts_with(PREFIX)) {
            return Err(bad(&entry.path, "lies in a directory that means a deletion"));
        }
        let parent = parents.join(&b'/');
        let whiteout = whiteout::classify(base, &entry.path)?;
        if whiteout == Some(Whiteout::Ignored) {
            return Ok(());
        }
        let place = self.take_parent(parent.clone(), &entry.path)?;
        let result = match whiteout {
            Some(Whiteout::Opaque) => self.mark_opaque(&place.fd, &place.path),
            Some(Whiteout::Plain(hidden)) => self.hide(&place.fd, hidden, &place.path),
            _ => self.make(entry, base, &place, reader),
        };
        // Replacing something may have changed where paths lead.
        if result? != Outcome::Replaced {
            self.parent = Some((parent, place));
        }
        Ok(())
    }

    /// The root's metadata; never its type. A directory of an image is not the archive's to change.
    fn root_entry(&mut self, entry: &Entry) -> Result<()> {
        if matches!(self.rules.form, Form::Files(_)) && entry.kind == EntryKind::Directory {
            return Ok(());
        }
        if entry.kind != EntryKind::Directory {
            return Err(bad(&entry.path, "would replace the root"));
        }
        let root = rustix::io::fcntl_dupfd_cloexec(self.root, 0)
            .map_err(|errno| Error::io("cannot open", b"/", errno))?;
        self.set_metadata(entry, &root, b"/")?;
        self.note(entry, b"", None);
        self.directories.insert(Vec::new(), Some(entry.mtime));
        Ok(())
    }

    /// The directory that the entry goes into, from the cache where it can be.
    fn take_parent(&mut self, parent: Vec<u8>, path: &[u8]) -> Result<Place> {
        if let Some((cached, place)) = self.parent.take()
            && cached == parent
        {
            return Ok(place);
        }
        if matches!(self.rules.form, Form::Layer) {
            // A whiteout on the way means: gone below, and here again.
            self.revive_hidden_parents(&parent)?;
        }
        let directories = &mut self.directories;
        let mut made = |made: &[u8]| {
            directories.insert(made.to_vec(), None);
        };
        inside::open(self.root, &parent, Some(&mut made)).map_err(|errno| match errno {
            Errno::NOTDIR => bad(path, "lies in something that is not a directory"),
            Errno::LOOP => bad(path, "lies behind a loop of links"),
            errno => Error::io("cannot open the directory of", path, errno),
        })
    }

    fn revive_hidden_parents(&mut self, parent: &[u8]) -> Result<()> {
        if parent.is_empty() || inside::open(self.root, parent, None).is_ok() {
            return Ok(());
        }
        let ends = parent.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at);
        for end in ends.chain([parent.len()]) {
            let (above, name) = disk::split(&parent[..end]);
            let Ok(place) = inside::open(self.root, above, None) else { return Ok(()) };
            let facts = disk::facts(&place.fd, name)
                .map_err(|errno| Error::io("cannot examine", parent, errno))?;
            if facts.is_some_and(|facts| facts.is_whiteout()) {
                let path = disk::join(&place.path, name);
                remove::remove(&place.fd, name)
                    .map_err(|errno| Error::io("cannot remove", &path, errno))?;
                let fd = self.make_directory(&place.fd, name, &path)?;
                fchmod(&fd, Mode::from_raw_mode(0o755))
                    .map_err(|errno| Error::io("cannot set the mode of", &path, errno))?;
                // It is new here, so it takes nothing from what was there below.
                self.directories.insert(path.clone(), Some(Timestamp::default()));
                self.mark_opaque(&fd, &path)?;
            }
        }
        Ok(())
    }

    fn mark_opaque(&mut self, directory: &OwnedFd, path: &[u8]) -> Result<Outcome> {
        xattr::set(directory, b"", self.rules.overlay_xattrs.opaque(), b"y")
            .map_err(|errno| Error::io("cannot mark as opaque", path, errno))?;
        Ok(Outcome::Added)
    }

    fn hide(&mut self, directory: &OwnedFd, name: &[u8], parent: &[u8]) -> Result<Outcome> {
        let path = disk::join(parent, name);
        match disk::facts(directory, name)
            .map_err(|errno| Error::io("cannot examine", &path, errno))?
        {
            // A whiteout acts on the layers below only, wherever in the archive it stands.
            Some(facts) if facts.is_directory() => {
                let inner = disk::open_directory(directory, name)
                    .map_err(|errno| Error::io("cannot open directory", &path, errno))?;
                // It is new here, so it takes nothing from what was there below.
                self.directories.entry(path.clone()).or_default().get_or_insert_default();
                self.mark_opaque(&inner, &path)
            }
            Some(_) => Ok(Outcome::Added),
            None => {
                let mode = Mode::from_raw_mode(0o600);
                mknodat(directory, name, FileType::CharacterDevice, mode, makedev(0, 0))
                    .map_err(|errno| Error::io("cannot make a whiteout at", &path, errno))?;
                Ok(Outcome::Added)
            }
        }
    }

    fn make(
        &mut self,
        entry: &Entry,
        name: &[u8],
        place: &Place,
        reader: &mut Reader<impl BufRead>,
    ) -> Result<Outcome> {
        let path = disk::join(&place.path, name);
        match self.try_make(entry, name, place, &path, reader)? {
            Made::Yes => Ok(Outcome::Added),
            Made::Exists => {
                let hidden = self.make_way(entry, name, place, &path)?;
                if let Made::Exists = self.try_make(entry, name, place, &path, reader)? {
                    return Err(Error::io("cannot replace", &path, Errno::EXIST));
                }
                if hidden && entry.kind == EntryKind::Directory {
                    let fd = disk::open_directory(&place.fd, name)
                        .map_err(|errno| Error::io("cannot open directory", &path, errno))?;
                    self.mark_opaque(&fd, &path)?;
                }
                Ok(Outcome::Replaced)
            }
        }
    }

    /// Removes what is in the way of a second entry with one path: the last one counts. True when it was a whiteout.
    fn make_way(&mut self, entry: &Entry, name: &[u8], place: &Place, path: &[u8]) -> Result<bool> {
        let facts = disk::facts(&place.fd, name)
            .map_err(|errno| Error::io("cannot examine", path, errno))?;
        let Some(facts) = facts else { return Ok(false) };
        if facts.is_directory() && entry.kind == EntryKind::Directory {
            return Ok(false);
        }
        if entry.kind == EntryKind::HardLink && self.names_itself(entry, place, name)? {
            return Err(bad(path, "is a hard link to itself"));
        }
        remove::remove(&place.fd, name)
            .map_err(|errno| Error::io("cannot replace", path, errno))?;
        if facts.is_directory() {
            let below = [path, b"/"].concat();
            self.directories.retain(|known, _| known != path && !known.starts_with(&below));
        }
        self.recorded_devices.retain(|known| known != path);
        if let Some(ledger) = &mut self.ledger {
            ledger.removed(path);
        }
        Ok(facts.is_whiteout())
    }

    fn names_itself(&self, entry: &Entry, place: &Place, name: &[u8]) -> Result<bool> {
        let (target, target_name) = self.link_target(entry)?;
        Ok(target.path == place.path && target_name == name)
    }

    /// Where a hard link leads: resolved inside the root, whether it was written absolute or not.
    fn link_target(&self, entry: &Entry) -> Result<(Place, Vec<u8>)> {
        let parts = inside::components(&entry.link)
            .map_err(|()| bad(&entry.path, "is a hard link with '..' in its target"))?;
        let Some((base, parents)) = parts.split_last() else {
            return Err(bad(&entry.path, "is a hard link to the root"));
        };
        let parent = match &self.rules.form {
            Form::Layer => parents.join(&b'/'),
            Form::Files(into) => below(&into.directory, parents),
        };
        let place = inside::open(self.root, &parent, None).map_err(|errno| match errno {
            Errno::NOENT | Errno::NOTDIR | Errno::LOOP => missing_target(entry),
            errno => Error::io("cannot open the directory of", &entry.link, errno),
        })?;
        Ok((place, base.to_vec()))
    }

    fn try_make(
        &mut self,
        entry: &Entry,
        name: &[u8],
        place: &Place,
        path: &[u8],
        reader: &mut Reader<impl BufRead>,
    ) -> Result<Made> {
        let parent = &place.fd;
        self.check_owner(entry, path)?;
        let made = |result: std::result::Result<(), Errno>, doing: &str| match result {
            Ok(()) => Ok(true),
            Err(Errno::EXIST) => Ok(false),
            Err(errno) => Err(Error::io(doing, path, errno)),
        };
        match entry.kind {
            EntryKind::File => {
                let Some(file) = self.create_file(parent, name, path)? else {
                    return Ok(Made::Exists);
                };
                self.fill(&file, entry, path, reader)?;
                self.set_metadata(entry, &file, path)?;
                set_time(&file, entry.mtime)
                    .map_err(|errno| Error::io("cannot set the time of", path, errno))?;
            }
            EntryKind::Directory => {
                if !made(
                    mkdirat(parent, name, Mode::from_raw_mode(0o700)),
                    "cannot make directory",
                )? {
                    // Two entries for a directory are one directory.
                    let facts = disk::facts(parent, name)
                        .map_err(|errno| Error::io("cannot examine", path, errno))?;
                    if !facts.is_some_and(|facts| facts.is_directory()) {
                        return Ok(Made::Exists);
                    }
                }
                let fd = disk::open_directory(parent, name)
                    .map_err(|errno| Error::io("cannot open directory", path, errno))?;
                self.set_metadata(entry, &fd, path)?;
                self.directories.insert(path.to_vec(), Some(entry.mtime));
            }
            EntryKind::Symlink => {
                if entry.link.is_empty() {
                    return Err(bad(path, "is a link to nothing"));
                }
                if !made(symlinkat(entry.link.as_slice(), parent, name), "cannot make link")? {
                    return Ok(Made::Exists);
                }
                self.set_owner_and_time(entry, parent, name, path)?;
            }
            EntryKind::HardLink => {
                let (target, target_name) = self.link_target(entry)?;
                let facts = disk::facts(&target.fd, &target_name)
                    .map_err(|errno| Error::io("cannot examine", &entry.link, errno))?
                    .ok_or_else(|| missing_target(entry))?;
                if facts.is_directory() || facts.is_whiteout() {
                    return Err(bad(path, "is a hard link to something that cannot have one"));
                }
                let linked =
                    linkat(&target.fd, target_name.as_slice(), parent, name, AtFlags::empty());
                if !made(linked, "cannot make hard link")? {
                    return Ok(Made::Exists);
                }
                let first = disk::join(&target.path, &target_name);
                if self.recorded_devices.contains(&first) {
                    self.recorded_devices.push(path.to_vec());
                }
                if let Some(ledger) = &mut self.ledger {
                    ledger.linked(&first, path);
                }
                return Ok(Made::Yes);
            }
            EntryKind::Fifo => {
                if !made(
                    mknodat(parent, name, FileType::Fifo, Mode::from_raw_mode(0o600), 0),
                    "cannot make FIFO",
                )? {
                    return Ok(Made::Exists);
                }
                self.set_node_metadata(entry, parent, name, path)?;
            }
            EntryKind::CharDevice | EntryKind::BlockDevice => {
                return self.make_device(entry, parent, name, path);
            }
        }
        self.note(entry, path, None);
        Ok(Made::Yes)
    }

    /// Records what the disk cannot have of an entry, and forgets what was recorded in its place.
    fn note(&mut self, entry: &Entry, path: &[u8], device: Option<Device>) {
        let (uid, gid) = self.owner(entry);
        if let Some(ledger) = &mut self.ledger {
            ledger.made(path, uid, gid, device);
        }
    }

    fn make_device(
        &mut self,
        entry: &Entry,
        parent: &OwnedFd,
        name: &[u8],
        path: &[u8],
    ) -> Result<Made> {
        if entry.kind == EntryKind::CharDevice && (entry.device_major, entry.device_minor) == (0, 0)
        {
            // In overlayfs form it would delete what is below, without the archive saying so.
            return Err(bad(path, "is the device 0:0, which means a deletion to overlayfs"));
        }
        if self.rules.create_devices {
            let kind = if entry.kind == EntryKind::CharDevice {
                FileType::CharacterDevice
            } else {
                FileType::BlockDevice
            };
            let device = makedev(entry.device_major, entry.device_minor);
            match mknodat(parent, name, kind, Mode::from_raw_mode(0o600), device) {
                Ok(()) => {
                    self.set_node_metadata(entry, parent, name, path)?;
                    self.note(entry, path, None);
                    return Ok(Made::Yes);
                }
                Err(Errno::EXIST) => return Ok(Made::Exists),
                // Not permitted here: recorded.
                Err(Errno::PERM) => {}
                Err(errno) => return Err(Error::io("cannot make device", path, errno)),
            }
        }
        let Some(file) = self.create_file(parent, name, path)? else { return Ok(Made::Exists) };
        self.set_metadata(entry, &file, path)?;
        set_time(&file, entry.mtime)
            .map_err(|errno| Error::io("cannot set the time of", path, errno))?;
        self.recorded_devices.push(path.to_vec());
        let device = Device {
            kind: match entry.kind {
                EntryKind::CharDevice => DeviceKind::Char,
                _ => DeviceKind::Block,
            },
            major: entry.device_major,
            minor: entry.device_minor,
        };
        self.note(entry, path, Some(device));
        Ok(Made::Yes)
    }

    fn create_file(&self, parent: &OwnedFd, name: &[u8], path: &[u8]) -> Result<Option<OwnedFd>> {
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match openat(parent, name, flags, Mode::from_raw_mode(0o600)) {
            Ok(file) => Ok(Some(file)),
            Err(Errno::EXIST) => Ok(None),
            Err(errno) => Err(Error::io("cannot create", path, errno)),
        }
    }

    fn make_directory(&self, parent: &OwnedFd, name: &[u8], path: &[u8]) -> Result<OwnedFd> {
        mkdirat(parent, name, Mode::from_raw_mode(0o700))
            .map_err(|errno| Error::io("cannot make directory", path, errno))?;
        disk::open_directory(parent, name)
            .map_err(|errno| Error::io("cannot open directory", path, errno))
    }

    fn fill(
        &self,
        file: &OwnedFd,
        entry: &Entry,
        path: &[u8],
        reader: &mut Reader<impl BufRead>,
    ) -> Result<()> {
        let mut end = 0;
        loop {
            let write = |offset, bytes: &[u8]| -> Result<u64> {
                write_at(file, bytes, offset)
                    .map_err(|errno| Error::io("cannot write", path, errno))?;
                Ok(offset + bytes.len() as u64)
            };
            let written = reader.with_segment(write).map_err(|error| {
                // A limit or a cancellation that the stream noticed.
                error.downcast::<Error>().unwrap_or_else(|error| {
                    Error::new(
                        Code::BadArchive,
                        path,
                        format!("'{}' is not complete: {error}", show(path)),
                    )
                })
            })?;
            let Some(written) = written else { break };
            end = written?;
            self.watch.poll()?;
        }
        if end < entry.size {
            ftruncate(file, entry.size).map_err(|errno| Error::io("cannot extend", path, errno))?;
        }
        Ok(())
    }

    fn check_owner(&self, entry: &Entry, path: &[u8]) -> Result<()> {
        if matches!(self.rules.form, Form::Files(IntoDirectory { owner: Some(_), .. })) {
            return Ok(());
        }
        // The highest is "no change" to chown.
        const LAST: u64 = u32::MAX as u64 - 1;
        if entry.uid > LAST || entry.gid > LAST {
            return Err(bad(path, "has an owner that no system has"));
        }
        Ok(())
    }

    fn owner(&self, entry: &Entry) -> (u32, u32) {
        match self.rules.form {
            Form::Files(IntoDirectory { owner: Some(owner), .. }) => owner,
            // `check_owner` has seen that they fit.
            _ => (entry.uid as u32, entry.gid as u32),
        }
    }

    fn owner_on_disk(&self, entry: &Entry) -> (Uid, Gid) {
        let (uid, gid) = self.owner(entry);
        let (uid, gid) = self.ledger.as_ref().map_or((uid, gid), |ledger| ledger.on_disk(uid, gid));
        (Uid::from_raw(uid), Gid::from_raw(gid))
    }

    /// Owner, then mode (changing the owner clears set-user-id), then attributes (it clears capabilities too).
    fn set_metadata(&self, entry: &Entry, fd: &OwnedFd, path: &[u8]) -> Result<()> {
        let (uid, gid) = self.owner_on_disk(entry);
        fchown(fd, Some(uid), Some(gid)).map_err(|errno| chown_error(entry, path, errno))?;
        fchmod(fd, Mode::from_raw_mode(entry.mode))
            .map_err(|errno| Error::io("cannot set the mode of", path, errno))?;
        for (key, value) in &entry.xattrs {
            let Some(key) = self.attribute_name(key) else { continue };
            rustix::fs::fsetxattr(fd, key.as_slice(), value, rustix::fs::XattrFlags::empty())
                .map_err(|errno| {
                    Error::io(&format!("cannot set the attribute '{}' of", show(&key)), path, errno)
                })?;
        }
        Ok(())
    }

    fn attribute_name(&self, key: &[u8]) -> Option<Vec<u8>> {
        match self.rules.form {
            Form::Layer => xattr::name_on_disk(key, self.rules.overlay_xattrs),
            // Through a mount, where overlayfs's own names cannot be set.
            Form::Files(_) => is_carried(key).then(|| key.to_vec()),
        }
    }

    /// For what cannot be opened. Linux has no `user.` attributes there.
    fn set_node_metadata(
        &self,
        entry: &Entry,
        parent: &OwnedFd,
        name: &[u8],
        path: &[u8],
    ) -> Result<()> {
        let (uid, gid) = self.owner_on_disk(entry);
        chownat(parent, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|errno| chown_error(entry, path, errno))?;
        // It follows links, but we made this a moment ago and nobody else writes here.
        rustix::fs::chmodat(parent, name, Mode::from_raw_mode(entry.mode), AtFlags::empty())
            .map_err(|errno| Error::io("cannot set the mode of", path, errno))?;
        utimensat(parent, name, &timestamps(entry.mtime), AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|errno| Error::io("cannot set the time of", path, errno))
    }

    fn set_owner_and_time(
        &self,
        entry: &Entry,
        parent: &OwnedFd,
        name: &[u8],
        path: &[u8],
    ) -> Result<()> {
        let (uid, gid) = self.owner_on_disk(entry);
        chownat(parent, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|errno| chown_error(entry, path, errno))?;
        utimensat(parent, name, &timestamps(entry.mtime), AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|errno| Error::io("cannot set the time of", path, errno))
    }

    /// Deepest first, now that nothing is made in them any more.
    fn set_directory_times(&mut self) -> Result<()> {
        // In a layer, directories without an entry get the epoch, so that it unpacks to the same tree every time.
        let made_at = match &self.rules.form {
            Form::Layer => Timestamp::default(),
            Form::Files(into) => into.made_at,
        };
        for (path, time) in self.directories.iter().rev() {
            let time = time.unwrap_or(made_at);
            let place = inside::open(self.root, path, None)
                .map_err(|errno| Error::io("cannot open directory", path, errno))?;
            set_time(&place.fd, time)
                .map_err(|errno| Error::io("cannot set the time of", path, errno))?;
        }
        Ok(())
    }
}

/// Longer ones are no faster, and make the kernel look for as much memory in one piece, which in a virtual machine may be memory that its
/// host has to find first.
const WRITE_MOST: usize = 256 * 1024;

fn write_at(file: &OwnedFd, mut bytes: &[u8], mut offset: u64) -> std::result::Result<(), Errno> {
    while !bytes.is_empty() {
        match rustix::io::pwrite(file, &bytes[..bytes.len().min(WRITE_MOST)], offset) {
            Ok(count) => {
                bytes = &bytes[count..];
                offset += count as u64;
            }
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

#[derive(PartialEq, Eq)]
enum Outcome {
    Added,
    Replaced,
}

enum Made {
    Yes,
    Exists,
}

/// `directory` and the components below it.
fn below(directory: &[u8], parents: &[&[u8]]) -> Vec<u8> {
    let parents = parents.join(&b'/');
    match (directory, parents.as_slice()) {
        (b"", _) => parents,
        (_, b"") => directory.to_vec(),
        _ => [directory, b"/", &parents].concat(),
    }
}

pub(crate) fn timestamps(mtime: Timestamp) -> Timestamps {
    // No filesystem goes further, and the kernel clamps to what this one has. Keeps nonsense from overflowing there.
    const FARTHEST: i64 = 1 << 40;
    Timestamps {
        last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
        last_modification: Timespec {
            tv_sec: mtime.seconds.clamp(-FARTHEST, FARTHEST),
            tv_nsec: mtime.nanoseconds.into(),
        },
    }
}

fn set_time(fd: &OwnedFd, mtime: Timestamp) -> std::result::Result<(), Errno> {
    futimens(fd, &timestamps(mtime))
}

fn bad(path: &[u8], what: &str) -> Error {
    Error::new(Code::BadArchive, path, format!("'{}' in the archive {what}", show(path)))
}

fn missing_target(entry: &Entry) -> Error {
    bad(
        &entry.path,
        &format!("is a hard link to '{}', which is not there before it", show(&entry.link)),
    )
}

fn needs_ids(entry: &Entry, path: &[u8]) -> Error {
    Error::new(
        Code::NeedsIds,
        path,
        format!(
            "'{}' belongs to {}:{}, which cannot be mapped here",
            show(path),
            entry.uid,
            entry.gid
        ),
    )
}

/// An id without a mapping is EINVAL in a user namespace; outside of one, without privilege, every other id is EPERM.
fn chown_error(entry: &Entry, path: &[u8], errno: Errno) -> Error {
    match errno {
        Errno::INVAL | Errno::PERM => needs_ids(entry, path),
        errno => Error::io("cannot set the owner of", path, errno),
    }
}

fn archive_error(error: tsbuild_tar::Error, path: &[u8]) -> Error {
    if let tsbuild_tar::Error::Io(error) = error {
        return stream_error(error, path);
    }
    let code = match error {
        tsbuild_tar::Error::Limit { .. } => Code::ArchiveLimit,
        _ => Code::BadArchive,
    };
    Error::new(code, path, error.to_string())
}

/// Of reading the archive itself: a failure of ours comes through `io::Error`, and the rest is the decompressor's.
pub(crate) fn stream_error(error: std::io::Error, path: &[u8]) -> Error {
    match error.downcast::<Error>() {
        Ok(own) => own,
        Err(error) if error.raw_os_error().is_some() => Error::std_io("cannot read", path, &error),
        Err(error) => Error::new(Code::BadArchive, path, format!("cannot decompress: {error}")),
    }
}
