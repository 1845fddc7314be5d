//! The blob of a layer that holds nothing but copies of the user's files, without the layer's directory: what copying
//! (`tsbuild_sys::copy`) and then writing (`write.rs`) would give, to the byte. Every file is read once, and none is made.

use std::{
    collections::{
        BTreeMap, HashMap,
        btree_map::Entry as Slot,
        hash_map::Entry::{Occupied, Vacant},
    },
    os::{fd::OwnedFd, unix::ffi::OsStrExt},
    path::{Component, PathBuf},
    sync::Arc,
};

use rustix::{fs::FileType, io::Errno};
use tsbuild_sys::copy::{CopyEntry, EntryKind as Copied};
use tsbuild_tar::EntryKind;

use crate::{
    compress::{BlobFile, Compression},
    disk::{self, Facts},
    error::{Code, Error, Result, show},
    late::{LateFile, open_source, source_changed, source_error},
    layer_tar::LayerTar,
    reuse::Previous,
    same,
    union::{Found, Union},
    watch::Watch,
    whiteout::PREFIX,
    write::WrittenLayer,
    xattr::{self, Xattrs},
};

/// What to write, and how.
#[derive(Clone, Debug)]
pub struct CopiedOptions {
    /// In this order, as `copy_into` takes them; sources are absolute paths of the host.
    pub entries: Vec<CopyEntry>,
    /// What is below the layer, topmost first.
    pub lowers: Vec<PathBuf>,
    /// When directories change in which something is made, in seconds since the epoch.
    pub now_seconds: i64,
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

/// Writes the layer. Reports the bytes of tar made so far. `None` where only a tree can say what comes of it: something
/// below is in the way or leads elsewhere, or a source is of an unusual kind. Then nothing is left.
///
/// # Errors
/// `LAYER_UNREPRESENTABLE`, `SOURCE_CHANGED`, `DAMAGED_OWNERS`, `IO`, `CANCELLED`. The output file is removed then.
pub fn write_copied_layer(
    options: &CopiedOptions,
    watch: Watch<'_>,
) -> Result<Option<WrittenLayer>> {
    let Some(tree) = Directory::of(&options.entries) else { return Ok(None) };
    let below = Union::open(&options.lowers)?;
    if !tree.fits(b"", &below)? {
        return Ok(None);
    }
    let mut entries = 0;
    let mut unusual = false;
    let blob = BlobFile {
        path: &options.output,
        compression: options.compression,
        threads: options.threads,
        previous: options.previous.as_ref(),
    };
    let written = blob.write(|feed| {
        let table = options.compression.table();
        let mut tar = LayerTar::new(feed, table, options.clamp_mtime_seconds, watch)?;
        let now = (options.now_seconds, 0);
        let mut walk = Walk { now, watch, links: HashMap::new(), unusual: false };
        let walked = walk.directory(&tree, b"", &below, &mut tar);
        unusual = walk.unusual;
        walked?;
        entries = tar.entries;
        tar.end()
    });
    if unusual {
        return Ok(None);
    }
    let written = written?;
    watch.report(written.uncompressed_size);
    Ok(Some(WrittenLayer::of(written, entries, 0)))
}

/// Everything that is copied, by name.
#[derive(Default)]
struct Directory<'a> {
    /// What was asked for; absent for one that is only on the way.
    own: Option<Own<'a>>,
    children: BTreeMap<&'a [u8], Node<'a>>,
}

struct Own<'a> {
    /// Whose mode and owner count, unless the directory is there and keeps them.
    attributes: &'a CopyEntry,
    keeps_existing: bool,
    /// Whose time counts: the first one's, since times are set from the last entry to the first.
    time: &'a CopyEntry,
}

enum Node<'a> {
    Directory(Directory<'a>),
    Leaf(&'a CopyEntry),
}

impl<'a> Directory<'a> {
    /// `None` where entries replace each other with other kinds, or the root itself.
    fn of(entries: &'a [CopyEntry]) -> Option<Self> {
        let mut root = Self::default();
        for entry in entries {
            if entry.destination.components().any(|part| part == Component::ParentDir) {
                return None;
            }
            let mut names = entry.destination.components().filter_map(|part| match part {
                Component::Normal(name) => Some(name.as_bytes()),
                _ => None,
            });
            let Some(mut name) = names.next() else {
                // Of a root that is there nothing but its time would change, which is no change of its own.
                if entry.kind == Copied::Directory && entry.keeps_existing {
                    continue;
                }
                return None;
            };
            let mut directory = &mut root;
            for next in names {
                let node = directory
                    .children
                    .entry(name)
                    .or_insert_with(|| Node::Directory(Self::default()));
                let Node::Directory(inner) = node else { return None };
                (directory, name) = (inner, next);
            }
            directory.put(name, entry)?;
        }
        Some(root)
    }

    fn put(&mut self, name: &'a [u8], entry: &'a CopyEntry) -> Option<()> {
        match (entry.kind, self.children.entry(name)) {
            (Copied::Node, _) => None,
            (Copied::Directory, slot) => {
                let Node::Directory(directory) =
                    slot.or_insert_with(|| Node::Directory(Self::default()))
                else {
                    return None;
                };
                directory.own = Some(match directory.own.take() {
                    Some(own) if entry.keeps_existing => own,
                    own => Own {
                        attributes: entry,
                        keeps_existing: entry.keeps_existing,
                        time: own.map_or(entry, |own| own.time),
                    },
                });
                Some(())
            }
            (_, Slot::Vacant(slot)) => {
                slot.insert(Node::Leaf(entry));
                Some(())
            }
            (_, Slot::Occupied(mut slot)) => match slot.get_mut() {
                Node::Leaf(leaf) => {
                    *leaf = entry;
                    Some(())
                }
                Node::Directory(_) => None,
            },
        }
    }

    /// Whether directories come to lie on directories or on nothing, and everything else on no directory.
    fn fits(&self, path: &[u8], below: &Union) -> Result<bool> {
        if below.is_empty() {
            return Ok(true);
        }
        for (name, child) in &self.children {
            let path = disk::join(path, name);
            let Some(found) = below.lookup(name, &path)? else { continue };
            let fits = match child {
                Node::Leaf(_) => !found.facts.is_directory(),
                Node::Directory(directory) => {
                    found.facts.is_directory()
                        && directory.fits(&path, &below.descend(name, &found, &path)?)?
                }
            };
            if !fits {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

struct Walk<'a> {
    now: (i64, u32),
    watch: Watch<'a>,
    /// First path of each file that has more names, and what that became, by tree, device and inode.
    links: HashMap<(u32, u64, u64), (Vec<u8>, Facts)>,
    /// Only a tree can say what comes of it.
    unusual: bool,
}

impl Walk<'_> {
    fn directory(
        &mut self,
        directory: &Directory<'_>,
        path: &[u8],
        below: &Union,
        tar: &mut LayerTar<'_>,
    ) -> Result<()> {
        for (name, child) in &directory.children {
            self.watch.poll()?;
            let path = disk::join(path, name);
            if name.starts_with(PREFIX) {
                return Err(Error::new(
                    Code::LayerUnrepresentable,
                    &path,
                    format!(
                        "'{}' cannot be in a layer: names that begin with '.wh.' mean deletions there",
                        show(&path)
                    ),
                ));
            }
            let found = below.lookup(name, &path)?;
            match child {
                Node::Leaf(entry) => self.leaf(entry, name, &path, found.as_ref(), tar)?,
                Node::Directory(child) => self.child(child, name, &path, below, found, tar)?,
            }
        }
        Ok(())
    }

    fn child(
        &mut self,
        child: &Directory<'_>,
        name: &[u8],
        path: &[u8],
        below: &Union,
        found: Option<Found>,
        tar: &mut LayerTar<'_>,
    ) -> Result<()> {
        let (merged, kept) = match &found {
            Some(found) => {
                (below.descend(name, found, path)?, xattr::read(&found.directory, name, path)?.kept)
            }
            None => (Union::default(), Vec::new()),
        };
        let old = found.as_ref().map(Found::real);
        let mut facts = old.unwrap_or(Facts { mode: 0o755, mtime: self.now, ..NOBODYS });
        facts.kind = FileType::Directory;
        match &child.own {
            Some(own) => {
                if old.is_none() || !own.keeps_existing {
                    let asked = own.attributes;
                    let whole = asked.mode.is_some() && asked.owner.is_some();
                    let source = if whole { None } else { Some(examine(asked)?) };
                    facts.mode =
                        asked.mode.map_or_else(|| mode_of(source.as_ref()), |mode| mode & 0o7777);
                    (facts.uid, facts.gid) = owner_of(asked, source.as_ref());
                }
                let source =
                    if own.time.mtime_ns.is_some() { None } else { Some(examine(own.time)?) };
                facts.mtime = time_of(own.time, source.as_ref());
            }
            None if child.makes_something(path, &merged)? => facts.mtime = self.now,
            None => {}
        }
        let unchanged = old.is_some_and(|old| {
            (facts.mode, facts.uid, facts.gid, facts.mtime)
                == (old.mode, old.uid, old.gid, old.mtime)
        });
        let entry = tar.entry(path, EntryKind::Directory, &facts, kept);
        tar.directory(entry, unchanged, |tar| self.directory(child, path, &merged, tar))
    }

    fn leaf(
        &mut self,
        entry: &CopyEntry,
        name: &[u8],
        path: &[u8],
        found: Option<&Found>,
        tar: &mut LayerTar<'_>,
    ) -> Result<()> {
        let below = |facts: &Facts| -> Result<Option<Xattrs>> {
            let Some(found) = found else { return Ok(None) };
            let old = found.real();
            let equal = (facts.kind, facts.mode, facts.uid, facts.gid, facts.mtime, facts.size)
                == (old.kind, old.mode, old.uid, old.gid, old.mtime, old.size);
            equal.then(|| Ok(xattr::read(&found.directory, name, path)?.kept)).transpose()
        };
        let plain = |kept: Option<Xattrs>| kept.is_some_and(|kept| kept.is_empty());
        match entry.kind {
            Copied::File if found.is_none() && self.late(entry, path, tar)? => {}
            Copied::File => {
                let (file, facts) = self.open(entry)?;
                let place =
                    entry.tree.filter(|_| facts.links > 1).map(|tree| (tree, facts.dev, facts.ino));
                let wanted = facts_of(entry, FileType::RegularFile, Some(&facts), facts.size);
                if let Some(place) = place {
                    if let Some((first, facts)) = self.links.get(&place) {
                        let mut link = tar.entry(path, EntryKind::HardLink, facts, Vec::new());
                        link.link.clone_from(first);
                        return tar.emit(&link);
                    }
                    // Whether more names follow decides whether it may be left out.
                    if found.is_some() {
                        return Err(self.unusual());
                    }
                    self.links.insert(place, (path.to_vec(), wanted));
                } else if plain(below(&wanted)?)
                    && let Some(found) = found
                {
                    let old = disk::open_file(&found.directory, name)
                        .map_err(|errno| Error::io("cannot open", path, errno))?;
                    if same::bytes(&file, &old, path, self.watch)? {
                        return Ok(());
                    }
                    rustix::fs::seek(&file, rustix::fs::SeekFrom::Start(0))
                        .map_err(|errno| Error::io("cannot read", path, errno))?;
                }
                let mut header = tar.entry(path, EntryKind::File, &wanted, Vec::new());
                header.size = facts.size;
                tar.file(&header, &facts, || Ok(file))?;
            }
            Copied::Symlink => {
                let source = match (entry.mtime_ns, entry.owner, &entry.link) {
                    (Some(_), Some(_), Some(_)) => None,
                    _ => Some(examine(entry)?),
                };
                let target = match &entry.link {
                    Some(target) => target.as_os_str().as_bytes().to_vec(),
                    None => rustix::fs::readlink(&entry.source, Vec::new())
                        .map_err(|errno| failed(entry, errno))?
                        .into_bytes(),
                };
                let size = target.len() as u64;
                let mut facts = facts_of(entry, FileType::Symlink, source.as_ref(), size);
                facts.mode = 0o777;
                if plain(below(&facts)?)
                    && let Some(found) = found
                    && disk::link_target(&found.directory, name)
                        .map_err(|errno| Error::io("cannot read link", path, errno))?
                        == target
                {
                    return Ok(());
                }
                let mut header = tar.entry(path, EntryKind::Symlink, &facts, Vec::new());
                header.link = target;
                tar.emit(&header)?;
            }
            Copied::Empty => {
                let facts = facts_of(entry, FileType::RegularFile, None, 0);
                if !plain(below(&facts)?) {
                    tar.emit(&tar.entry(path, EntryKind::File, &facts, Vec::new()))?;
                }
            }
            Copied::Directory | Copied::Node => return Err(self.unusual()),
        }
        Ok(())
    }

    /// A file of which all is known that its entry says. False for any other.
    fn late(&mut self, entry: &CopyEntry, path: &[u8], tar: &mut LayerTar<'_>) -> Result<bool> {
        let (Some(known), Some(expect)) = (&entry.known, entry.expect) else { return Ok(false) };
        if entry.mode.is_none() || entry.owner.is_none() || entry.mtime_ns.is_none() {
            return Ok(false);
        }
        let wanted = facts_of(entry, FileType::RegularFile, None, expect.size);
        if let Some(tree) = entry.tree.filter(|_| known.links > 1) {
            match self.links.entry((tree, known.dev, known.ino)) {
                Occupied(slot) => {
                    let (first, facts) = slot.get();
                    let mut link = tar.entry(path, EntryKind::HardLink, facts, Vec::new());
                    link.link.clone_from(first);
                    tar.emit(&link)?;
                    return Ok(true);
                }
                Vacant(slot) => {
                    slot.insert((path.to_vec(), wanted));
                }
            }
        }
        let mut header = tar.entry(path, EntryKind::File, &wanted, Vec::new());
        header.size = expect.size;
        let file = LateFile {
            source: entry.source.clone(),
            follow: entry.follow,
            expect,
            sha256: known.sha256.clone(),
        };
        tar.late_file(&header, expect.size, &Arc::new(file))?;
        Ok(true)
    }

    fn open(&mut self, entry: &CopyEntry) -> Result<(OwnedFd, Facts)> {
        let file = match open_source(&entry.source, entry.follow) {
            Ok(file) => file,
            // A socket cannot be opened.
            Err(Errno::NXIO) => return Err(self.unusual()),
            Err(errno) => return Err(failed(entry, errno)),
        };
        let stat = rustix::fs::fstat(&file).map_err(|errno| failed(entry, errno))?;
        let facts = Facts::new(&stat);
        if !facts.is_file() || entry.expect.is_some_and(|expect| !expect.holds(&stat)) {
            return Err(source_changed(&entry.source));
        }
        Ok((file, facts))
    }

    /// Gives up for good.
    fn unusual(&mut self) -> Error {
        self.unusual = true;
        Error::cancelled()
    }
}

impl Directory<'_> {
    /// Whether an entry is made in the directory itself, which changes its time. What is replaced is made anew.
    fn makes_something(&self, path: &[u8], below: &Union) -> Result<bool> {
        for (name, child) in &self.children {
            if matches!(child, Node::Leaf(_))
                || below.lookup(name, &disk::join(path, name))?.is_none()
            {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

const NOBODYS: Facts = Facts {
    kind: FileType::Directory,
    mode: 0,
    uid: 0,
    gid: 0,
    size: 0,
    mtime: (0, 0),
    ctime: (0, 0),
    device: 0,
    dev: 0,
    ino: 0,
    links: 1,
};

/// What the copy would be.
fn facts_of(entry: &CopyEntry, kind: FileType, source: Option<&Facts>, size: u64) -> Facts {
    let (uid, gid) = owner_of(entry, source);
    Facts {
        kind,
        mode: entry.mode.map_or_else(|| mode_of(source), |mode| mode & 0o7777),
        uid,
        gid,
        size,
        mtime: time_of(entry, source),
        ..NOBODYS
    }
}

fn mode_of(source: Option<&Facts>) -> u32 {
    source.map_or(0o755, |source| source.mode)
}

fn owner_of(entry: &CopyEntry, source: Option<&Facts>) -> (u32, u32) {
    entry.owner.or(source.map(|source| (source.uid, source.gid))).unwrap_or((0, 0))
}

fn time_of(entry: &CopyEntry, source: Option<&Facts>) -> (i64, u32) {
    match entry.mtime_ns {
        Some(time) => (
            i64::try_from(time.div_euclid(1_000_000_000)).unwrap_or(0),
            time.rem_euclid(1_000_000_000) as u32,
        ),
        None => source.map_or((0, 0), |source| source.mtime),
    }
}

fn examine(entry: &CopyEntry) -> Result<Facts> {
    let stat = rustix::fs::lstat(&entry.source).map_err(|errno| failed(entry, errno))?;
    Ok(Facts::new(&stat))
}

fn failed(entry: &CopyEntry, errno: Errno) -> Error {
    source_error(&entry.source, entry.expect.is_some(), errno)
}
