//! A layer directory to a blob, in one pass.
//!
//! The walk is sorted by the bytes of the names, a directory comes before what it holds, and whiteouts come first in
//! their directory. A directory that did not change itself is written when the first changed entry below it is, and
//! otherwise not at all.

use std::{collections::HashMap, os::fd::OwnedFd, path::PathBuf};

use rustix::fs::FileType;
use tsbuild_owners::Owners;
use tsbuild_tar::{Entry, EntryKind};

use crate::{
    compress::{BlobFile, Compression, Written},
    disk::{self, Facts},
    error::{Code, Error, Result, show},
    layer_tar::{LayerTar, changed},
    reuse::Previous,
    same,
    union::Union,
    watch::Watch,
    whiteout::{OPAQUE, PREFIX},
    xattr::{self, Attributes},
};

/// What to write, and how.
#[derive(Clone, Debug)]
pub struct WriteOptions {
    /// The directory of changed files, in overlayfs form.
    pub root: PathBuf,
    /// What the disk does not say of it: the file of its owners.
    pub owners: Option<PathBuf>,
    /// What is below it, topmost first.
    pub lowers: Vec<PathBuf>,
    /// The file to make.
    pub output: PathBuf,
    /// Algorithm and level.
    pub compression: Compression,
    /// Compressor threads; the bytes do not depend on it.
    pub threads: usize,
    /// An earlier state of the layer, whose frames are taken where they hold the same (`reuse.rs`).
    pub previous: Option<Previous>,
    /// Later modification times become this.
    pub clamp_mtime_seconds: Option<i64>,
}

/// The blob that was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WrittenLayer {
    /// Of the file.
    pub digest: String,
    /// Of the file.
    pub size: u64,
    /// Digest of the uncompressed tar.
    pub diff_id: String,
    /// Of the tar.
    pub uncompressed_size: u64,
    /// Tar entries.
    pub entries: u64,
    /// Sockets have no tar form.
    pub skipped_sockets: u64,
    /// That the blob's descriptor is to have, for readers of its table of contents.
    pub annotations: Vec<(String, String)>,
    /// For [`Previous::frames`].
    pub frames: Vec<u8>,
}

/// Writes the layer. Reports the bytes of tar made so far.
///
/// # Errors
/// `LAYER_UNREPRESENTABLE`, `SOURCE_CHANGED`, `DAMAGED_OWNERS`, `IO`, `CANCELLED`. The output file is removed then.
pub fn write_layer(options: &WriteOptions, watch: Watch<'_>) -> Result<WrittenLayer> {
    let owners = options.owners.as_deref().map(Owners::read).transpose()?.unwrap_or_default();
    let mut counts = (0, 0);
    let blob = BlobFile {
        path: &options.output,
        compression: options.compression,
        threads: options.threads,
        previous: options.previous.as_ref(),
    };
    let written = blob.write(|feed| {
        let mut walk = Walk { owners: &owners, watch, links: HashMap::new(), skipped_sockets: 0 };
        let table = options.compression.table();
        let mut tar = LayerTar::new(feed, table, options.clamp_mtime_seconds, watch)?;
        walk.root(options, &mut tar)?;
        counts = (tar.entries, walk.skipped_sockets);
        Ok(())
    })?;
    watch.report(written.uncompressed_size);
    Ok(WrittenLayer::of(written, counts.0, counts.1))
}

impl WrittenLayer {
    pub(crate) fn of(written: Written, entries: u64, skipped_sockets: u64) -> Self {
        let Written { digest, size, diff_id, uncompressed_size, annotations, frames } = written;
        Self {
            digest,
            size,
            diff_id,
            uncompressed_size,
            entries,
            skipped_sockets,
            annotations,
            frames,
        }
    }
}

struct Walk<'a> {
    owners: &'a Owners,
    watch: Watch<'a>,
    /// First path of each file that has more names.
    links: HashMap<(u64, u64), Vec<u8>>,
    skipped_sockets: u64,
}

impl Walk<'_> {
    fn root(&mut self, options: &WriteOptions, tar: &mut LayerTar<'_>) -> Result<()> {
        let path = options.root.as_os_str().as_encoded_bytes();
        let fd = disk::open_root(path)?;
        let below = Union::open(&options.lowers)?;
        let facts = disk::facts_of(&fd)
            .map_err(|errno| Error::io("cannot examine", path, errno))?
            .with(self.owners.get(b""));
        let attributes = xattr::read(&fd, b"", path)?;
        self.refuse_elsewhere(&attributes, b"/")?;
        // The modification time of the root is no change of its own: whatever is made in it changes it. Without
        // anything below, a root is expected to be what every runtime makes it.
        let changed = match below.top() {
            Some(top) => {
                let old = disk::facts_of(top)
                    .map_err(|errno| Error::io("cannot examine", b"/", errno))?
                    .with(below.top_record());
                let old_attributes = xattr::read(top, b"", b"/")?;
                (facts.mode, facts.uid, facts.gid) != (old.mode, old.uid, old.gid)
                    || attributes.kept != old_attributes.kept
            }
            None => {
                (facts.mode, facts.uid, facts.gid) != (0o755, 0, 0) || !attributes.kept.is_empty()
            }
        };
        if changed {
            let entry = tar.entry(b".", EntryKind::Directory, &facts, attributes.kept.clone());
            tar.emit(&entry)?;
        }
        self.directory(&fd, b"", &attributes, below, tar)?;
        tar.end()
    }

    /// What a directory holds. `below` is the same directory in the lowers.
    fn directory(
        &mut self,
        fd: &OwnedFd,
        path: &[u8],
        own: &Attributes,
        below: Union,
        tar: &mut LayerTar<'_>,
    ) -> Result<()> {
        let names =
            disk::names(fd).map_err(|errno| Error::io("cannot list directory", path, errno))?;
        let mut rest = Vec::with_capacity(names.len());
        let opaque = own.opaque;
        if opaque && !below.is_empty() {
            whiteout(tar, &disk::join(path, OPAQUE))?;
        }
        // In an opaque directory everything is new, and a whiteout would hide what is hidden.
        let below = if opaque { Union::default() } else { below };
        for name in names {
            let full = disk::join(path, &name);
            let facts = disk::facts(fd, &name)
                .map_err(|errno| Error::io("cannot examine", &full, errno))?
                .ok_or_else(|| changed(&full, "vanished"))?;
            let marked = own.holds_marked_whiteouts
                && facts.is_file()
                && facts.size == 0
                && xattr::read(fd, &name, &full)?.whiteout;
            if !facts.is_whiteout() && !marked {
                let facts = facts.with(self.owners.get(&full));
                rest.push((name, full, facts));
            } else if below.lookup(&name, &full)?.is_some() {
                whiteout(tar, &disk::join(path, &[PREFIX, &name].concat()))?;
            }
        }
        for (name, full, facts) in rest {
            self.watch.poll()?;
            self.child(fd, &name, &full, &facts, &below, tar)?;
        }
        Ok(())
    }

    fn child(
        &mut self,
        fd: &OwnedFd,
        name: &[u8],
        path: &[u8],
        facts: &Facts,
        below: &Union,
        tar: &mut LayerTar<'_>,
    ) -> Result<()> {
        if name.starts_with(PREFIX) {
            return Err(Error::new(
                Code::LayerUnrepresentable,
                path,
                format!(
                    "'{}' cannot be in a layer: names that begin with '.wh.' mean deletions there",
                    show(path)
                ),
            ));
        }
        if facts.kind == FileType::Socket {
            self.skipped_sockets += 1;
            return Ok(());
        }
        let attributes = xattr::read(fd, name, path)?;
        self.refuse_elsewhere(&attributes, path)?;
        let found = below.lookup(name, path)?;
        if facts.is_directory() {
            let merged = match &found {
                Some(found) => below.descend(name, found, path)?,
                None => Union::default(),
            };
            let unchanged = !attributes.opaque
                && match &found {
                    Some(found) => same::metadata(facts, &attributes, found, name, path)?,
                    None => false,
                };
            let entry = tar.entry(path, EntryKind::Directory, facts, attributes.kept.clone());
            let inner = disk::open_directory(fd, name)
                .map_err(|errno| Error::io("cannot open directory", path, errno))?;
            return tar.directory(entry, unchanged, |tar| {
                self.directory(&inner, path, &attributes, merged, tar)
            });
        }
        // A file with several names in this layer was linked here; leaving one name out would break that.
        if facts.links <= 1
            && let Some(found) = &found
            && same::metadata(facts, &attributes, found, name, path)?
            && same::content(fd, name, facts, found, path, self.watch)?
        {
            return Ok(());
        }
        self.leaf(fd, name, path, facts, attributes, tar)
    }

    fn leaf(
        &mut self,
        fd: &OwnedFd,
        name: &[u8],
        path: &[u8],
        facts: &Facts,
        attributes: Attributes,
        tar: &mut LayerTar<'_>,
    ) -> Result<()> {
        if facts.links > 1 {
            if let Some(first) = self.links.get(&(facts.dev, facts.ino)) {
                let link = first.clone();
                // The metadata of a link is the file's; readers differ in whether they look at it.
                let mut entry = tar.entry(path, EntryKind::HardLink, facts, Vec::new());
                entry.link = link;
                return tar.emit(&entry);
            }
            self.links.insert((facts.dev, facts.ino), path.to_vec());
        }
        let kind = match facts.kind {
            FileType::RegularFile => EntryKind::File,
            FileType::Symlink => EntryKind::Symlink,
            FileType::CharacterDevice => EntryKind::CharDevice,
            FileType::BlockDevice => EntryKind::BlockDevice,
            FileType::Fifo => EntryKind::Fifo,
            _ => {
                return Err(Error::new(
                    Code::LayerUnrepresentable,
                    path,
                    format!("'{}' is of a type that a layer cannot hold", show(path)),
                ));
            }
        };
        let mut entry = tar.entry(path, kind, facts, attributes.kept);
        match kind {
            EntryKind::Symlink => {
                entry.link = disk::link_target(fd, name)
                    .map_err(|errno| Error::io("cannot read link", path, errno))?;
                entry.mode = 0o777;
            }
            EntryKind::CharDevice | EntryKind::BlockDevice => {
                entry.device_major = rustix::fs::major(facts.device);
                entry.device_minor = rustix::fs::minor(facts.device);
            }
            EntryKind::File => {
                entry.size = facts.size;
                return tar.file(&entry, facts, || {
                    disk::open_file(fd, name).map_err(|errno| Error::io("cannot open", path, errno))
                });
            }
            _ => {}
        }
        tar.emit(&entry)
    }

    fn refuse_elsewhere(&self, attributes: &Attributes, path: &[u8]) -> Result<()> {
        match &attributes.elsewhere {
            None => Ok(()),
            Some(name) => Err(Error::new(
                Code::LayerUnrepresentable,
                path,
                format!(
                    "'{}' has the attribute '{}': its data or its children are in another layer (overlay mounted with metacopy or redirect_dir)",
                    show(path),
                    show(name)
                ),
            )),
        }
    }
}

fn whiteout(tar: &mut LayerTar<'_>, path: &[u8]) -> Result<()> {
    let mut entry = Entry::new(path, EntryKind::File);
    // Nobody looks at a whiteout's metadata, so that it is always the same.
    entry.mode = 0o600;
    tar.emit(&entry)
}
