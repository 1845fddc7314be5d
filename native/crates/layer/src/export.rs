//! Stacks of layers as a directory of the user's, brought up to date: what is there and right is not written again.
//!
//! What an entry should be is compared with what it is by type, size, mode, owner, modification time in nanoseconds,
//! link target and extended attributes, never by content. A file is written under another name and renamed, so that under
//! its own name it is whole whenever one looks. No link at the destination is followed.
//!
//! Directories are worked on by several threads, each entry of one by the same. What was begun last is gone on with first, so that
//! few directories are open at a time, whatever the tree.

use std::{
    collections::{BTreeMap, HashMap, btree_map::Entry as Slot},
    os::fd::OwnedFd,
    path::PathBuf,
    process,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    thread,
};

use rustix::{
    fs::{AtFlags, FlockOperation, Mode, flock, futimens, linkat, renameat, unlinkat},
    io::Errno,
};
use tsbuild_owners::{Owners, Stack};
use tsbuild_sys::lock::unlock;

use crate::{
    copy::{self, Leaf},
    disk::{self, Facts},
    error::{Code, Error, Result, show},
    inside,
    union::{Found, Union},
    watch::Watch,
    xattr::{self, Attributes},
};

/// A stack of layers, and where it goes.
#[derive(Clone, Debug)]
pub struct ExportTree {
    /// Topmost first.
    pub lowers: Vec<PathBuf>,
    /// One name below the target, or nothing for the target itself.
    pub prefix: Vec<u8>,
}

/// What is to be there afterwards.
#[derive(Clone, Debug)]
pub struct ExportOptions {
    /// Directories of the same place merge; nothing else may be in two trees.
    pub trees: Vec<ExportTree>,
    /// An existing directory.
    pub target: PathBuf,
    /// Whether what is at the target and in no tree is removed.
    pub delete: bool,
    /// Everything gets this owner instead of its own.
    pub owner: Option<(u32, u32)>,
    /// Whether the target itself gets what the root of the tree has: its mode, owner and time.
    pub own_root: bool,
    /// Later modification times become this one, in seconds since the epoch.
    pub clamp_mtime_seconds: Option<i64>,
    /// Where what the layers record of owners goes; without it that is left out.
    pub owners: Option<PathBuf>,
}

/// What was done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Exported {
    /// Entries that were made or replaced, directories apart.
    pub written: u64,
    /// Entries that were right already, directories apart.
    pub unchanged: u64,
    /// What was in no tree, counted where it was found: a directory is one.
    pub removed: u64,
    /// Of all files, written or not.
    pub size_bytes: u64,
}

const TEMPORARY_PREFIX: &[u8] = b".tsbuild-export-";

/// Making files waits for the disk more than for a processor; more threads than this wait for each other.
const MAX_THREADS: usize = 8;

/// Brings the target up to date. Stopped at any point, it leaves whole files, and a few under temporary names, which the
/// next export removes.
///
/// # Errors
/// `IO`, `DAMAGED_OWNERS`, `CANCELLED`; `OUTPUT_CONFLICT` when two trees hold the same file; `OUTPUT_EXISTS` when, without `delete`, a
/// directory that is not empty is where something else should be, or when something is mounted where `delete` would remove.
pub fn export_trees(options: &ExportOptions, watch: Watch<'_>) -> Result<Exported> {
    let shown = options.target.as_os_str().as_encoded_bytes();
    let root = disk::open_root(shown)?;
    // Another export would take our temporary files for those of a dead one. Where locks do not exist, nothing is lost.
    if flock(&root, FlockOperation::NonBlockingLockExclusive) == Err(Errno::WOULDBLOCK) {
        return Err(Error::new(
            Code::OutputExists,
            shown,
            format!("another export writes to '{}'", show(shown)),
        ));
    }
    let exported = export_to(&root, options, watch);
    unlock(&root);
    exported
}

fn export_to(root: &OwnedFd, options: &ExportOptions, watch: Watch<'_>) -> Result<Exported> {
    let shown = options.target.as_os_str().as_encoded_bytes();
    let facts = disk::facts_of(root).map_err(|errno| Error::io("cannot examine", shown, errno))?;
    let mut wanted = Node::default();
    for tree in &options.trees {
        let union = Union::open(&tree.lowers)?;
        if tree.prefix.is_empty() {
            wanted.parts.push(union);
        } else {
            wanted.below.entry(tree.prefix.clone()).or_default().parts.push(union);
        }
    }
    let export = Export {
        options,
        root,
        device: facts.dev,
        links: Mutex::default(),
        temporaries: AtomicU64::default(),
        done: Counts::default(),
        watch,
    };
    let target = rustix::io::fcntl_dupfd_cloexec(root, 0)
        .map_err(|errno| Error::io("cannot open", shown, errno))?;
    let top = Arc::new(Place::new(wanted, target, Vec::new(), None, true));
    export.all(&top)?;
    if options.own_root
        && let Some(metadata) = top.node.metadata(b"/")?
    {
        export.settle(root, &metadata, b"/")?;
    }
    if let Some(file) = &options.owners {
        owners_of(&options.trees)?.write(file)?;
    }
    Ok(export.done.total())
}

/// Of the result. A directory that several trees have is the first one's.
fn owners_of(trees: &[ExportTree]) -> Result<Owners> {
    let stacks: Vec<Stack> = trees
        .iter()
        .map(|tree| Stack::open(&tree.lowers))
        .collect::<tsbuild_owners::Result<_>>()?;
    let mut all = Owners::new();
    for (index, (stack, tree)) in stacks.iter().zip(trees).enumerate() {
        for (path, record) in stack.merged()?.iter() {
            let mut taken = false;
            for (earlier, other) in stacks.iter().zip(trees).take(index) {
                taken |= other.prefix == tree.prefix && earlier.has(path)?;
            }
            if !taken {
                let place = match (tree.prefix.as_slice(), path) {
                    (b"", _) => path.to_vec(),
                    (prefix, b"") => prefix.to_vec(),
                    (prefix, _) => disk::join(prefix, path),
                };
                all.set(place, record.clone());
            }
        }
    }
    Ok(all)
}

/// A directory of the result: one directory of each stack that has it.
#[derive(Clone, Default)]
struct Node {
    parts: Vec<Union>,
    /// Where stacks begin further down.
    below: BTreeMap<Vec<u8>, Node>,
}

enum Entry {
    Directory(Inner),
    Leaf(Found),
}

/// A directory that is not opened yet: a directory may hold more of them than a process may open.
struct Inner {
    /// By position in [`Node::parts`].
    parts: Vec<(usize, Found)>,
    begins: Option<Node>,
}

impl Node {
    /// In the order of their names.
    fn entries(&self, path: &[u8]) -> Result<BTreeMap<Vec<u8>, Entry>> {
        let mut entries = BTreeMap::new();
        for (name, node) in &self.below {
            let inner = Inner { parts: Vec::new(), begins: Some(node.clone()) };
            entries.insert(name.clone(), Entry::Directory(inner));
        }
        for (position, union) in self.parts.iter().enumerate() {
            for (name, found) in union.entries(path)? {
                match (entries.entry(name.clone()), found.facts.is_directory()) {
                    (Slot::Vacant(slot), true) => {
                        let parts = vec![(position, found)];
                        slot.insert(Entry::Directory(Inner { parts, begins: None }));
                        continue;
                    }
                    (Slot::Vacant(slot), false) => {
                        slot.insert(Entry::Leaf(found));
                        continue;
                    }
                    (Slot::Occupied(mut slot), true) => {
                        if let Entry::Directory(inner) = slot.get_mut() {
                            inner.parts.push((position, found));
                            continue;
                        }
                    }
                    (Slot::Occupied(_), false) => {}
                }
                let full = disk::join(path, &name);
                return Err(Error::new(
                    Code::OutputConflict,
                    &full,
                    format!("'{}' is in more than one of the trees", show(&full)),
                ));
            }
        }
        Ok(entries)
    }

    /// `path` is that of the directory.
    fn open(&self, inner: Inner, name: &[u8], path: &[u8]) -> Result<Self> {
        let mut node = inner.begins.unwrap_or_default();
        for (position, found) in &inner.parts {
            node.parts.push(self.parts[*position].descend(name, found, path)?);
        }
        Ok(node)
    }

    /// Of the first stack that has the directory.
    fn metadata(&self, path: &[u8]) -> Result<Option<(Facts, Attributes)>> {
        let Some(top) = self.parts.iter().find_map(Union::top) else {
            return Ok(None);
        };
        let facts =
            disk::facts_of(top).map_err(|errno| Error::io("cannot examine", path, errno))?;
        Ok(Some((facts, xattr::read(top, b"", path)?)))
    }
}

/// A directory of the target that entries are being made in.
struct Place {
    node: Node,
    target: OwnedFd,
    path: Vec<u8>,
    above: Option<Arc<Place>>,
    /// It was there before.
    keep: bool,
    /// Itself and directories in it that are not done.
    pending: AtomicUsize,
}

impl Place {
    fn new(
        node: Node,
        target: OwnedFd,
        path: Vec<u8>,
        above: Option<Arc<Place>>,
        keep: bool,
    ) -> Self {
        Self { node, target, path, above, keep, pending: AtomicUsize::new(1) }
    }
}

/// A directory that nobody has begun with.
struct Waiting {
    above: Arc<Place>,
    name: Vec<u8>,
    inner: Inner,
}

/// Directories for whichever thread is free.
#[derive(Default)]
struct Queue {
    state: Mutex<QueueState>,
    changed: Condvar,
}

#[derive(Default)]
struct QueueState {
    waiting: Vec<Waiting>,
    /// Threads that may yet add some.
    busy: usize,
    failure: Option<Error>,
}

impl Queue {
    fn state(&self) -> MutexGuard<'_, QueueState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, found: Vec<Waiting>) {
        // The first in order is taken first.
        self.state().waiting.extend(found.into_iter().rev());
        self.changed.notify_all();
    }

    /// `None` when all is done, or something failed.
    fn next(&self) -> Option<Waiting> {
        let mut state = self.state();
        loop {
            if state.failure.is_some() {
                return None;
            }
            if let Some(next) = state.waiting.pop() {
                state.busy += 1;
                return Some(next);
            }
            if state.busy == 0 {
                return None;
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn done(&self, result: Result<()>) {
        let mut state = self.state();
        state.busy -= 1;
        if let Err(error) = result {
            state.failure.get_or_insert(error);
        }
        if state.busy == 0 || state.failure.is_some() {
            self.changed.notify_all();
        }
    }
}

#[derive(Default)]
struct Counts {
    written: AtomicU64,
    unchanged: AtomicU64,
    removed: AtomicU64,
    size_bytes: AtomicU64,
}

impl Counts {
    fn total(&self) -> Exported {
        let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Exported {
            written: of(&self.written),
            unchanged: of(&self.unchanged),
            removed: of(&self.removed),
            size_bytes: of(&self.size_bytes),
        }
    }
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

struct Export<'a> {
    options: &'a ExportOptions,
    root: &'a OwnedFd,
    /// Of the target. What is mounted in it is not ours to empty.
    device: u64,
    /// Names of one file in one layer stay names of one file: where the first is. Held until that is there.
    links: Mutex<HashMap<(u64, u64), Vec<u8>>>,
    temporaries: AtomicU64,
    done: Counts,
    watch: Watch<'a>,
}

impl Export<'_> {
    /// Everything in `top`.
    fn all(&self, top: &Arc<Place>) -> Result<()> {
        let queue = Queue::default();
        self.entries(&queue, top)?;
        let threads = thread::available_parallelism().map_or(1, usize::from).min(MAX_THREADS);
        thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| {
                    while let Some(waiting) = queue.next() {
                        queue.done(self.begin(&queue, waiting));
                    }
                });
            }
        });
        let failure = queue.state().failure.take();
        failure.map_or(Ok(()), Err)
    }

    fn begin(&self, queue: &Queue, Waiting { above, name, inner }: Waiting) -> Result<()> {
        self.watch.poll()?;
        let path = disk::join(&above.path, &name);
        let node = above.node.open(inner, &name, &path)?;
        let there = if above.keep {
            disk::facts(&above.target, &name)
                .map_err(|errno| Error::io("cannot examine", &path, errno))?
        } else {
            None
        };
        let keep = there.is_some_and(|facts| facts.is_directory());
        if !keep && there.is_some() {
            self.remove(&above.target, &name, &path)?;
        }
        let target = if keep {
            disk::open_directory(&above.target, &name)
                .map_err(|errno| Error::io("cannot open directory", &path, errno))?
        } else {
            copy::make_directory(&above.target, &name, &path)?
        };
        let place = Arc::new(Place::new(node, target, path, Some(above), keep));
        self.entries(queue, &place)?;
        self.finish(place)
    }

    /// Makes what is in a directory, but for directories.
    fn entries(&self, queue: &Queue, place: &Arc<Place>) -> Result<()> {
        let Place { node, target, path, keep, .. } = place.as_ref();
        let entries = node.entries(path)?;
        if *keep {
            self.clean(target, &entries, path)?;
        }
        let mut found = Vec::new();
        for (name, entry) in entries {
            self.watch.poll()?;
            match entry {
                Entry::Directory(inner) => {
                    found.push(Waiting { above: Arc::clone(place), name, inner });
                }
                Entry::Leaf(leaf) => {
                    let full = disk::join(path, &name);
                    let there = if *keep {
                        disk::facts(target, &name)
                            .map_err(|errno| Error::io("cannot examine", &full, errno))?
                    } else {
                        None
                    };
                    self.leaf(&leaf, target, &name, there, &full)?;
                }
            }
        }
        place.pending.fetch_add(found.len(), Ordering::Relaxed);
        queue.add(found);
        Ok(())
    }

    /// Ends a directory, and those that only waited for it. The target itself is the caller's.
    fn finish(&self, place: Arc<Place>) -> Result<()> {
        let mut current = Some(place);
        while let Some(place) = current {
            if place.pending.fetch_sub(1, Ordering::AcqRel) > 1 || place.above.is_none() {
                return Ok(());
            }
            let Place { node, target, path, keep, .. } = place.as_ref();
            match node.metadata(path)? {
                // After its children, which need to be made in it, and whose making changes its time.
                Some(metadata) => self.settle(target, &metadata, path)?,
                None if *keep => {}
                None => rustix::fs::fchmod(target, Mode::from_raw_mode(0o755))
                    .map_err(|errno| Error::io("cannot set the mode of", path, errno))?,
            }
            current = place.above.clone();
        }
        Ok(())
    }

    /// Removes what a dead export left, and with `delete` whatever is in no tree.
    fn clean(
        &self,
        target: &OwnedFd,
        entries: &BTreeMap<Vec<u8>, Entry>,
        path: &[u8],
    ) -> Result<()> {
        let names =
            disk::names(target).map_err(|errno| Error::io("cannot list directory", path, errno))?;
        for name in names {
            let left = name.starts_with(TEMPORARY_PREFIX) && !entries.contains_key(&name);
            if left || (self.options.delete && !entries.contains_key(&name)) {
                self.remove(target, &name, &disk::join(path, &name))?;
                if !left {
                    count(&self.done.removed);
                }
            }
        }
        Ok(())
    }

    fn leaf(
        &self,
        found: &Found,
        target: &OwnedFd,
        name: &[u8],
        there: Option<Facts>,
        path: &[u8],
    ) -> Result<()> {
        let facts = self.as_wanted(&found.facts);
        if facts.links < 2 {
            return self.only_name(found, &facts, target, name, there, path);
        }
        let key = (facts.dev, facts.ino);
        let mut links = self.links.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(first) = links.get(&key) {
            return self.link(first, target, name, there, path);
        }
        self.only_name(found, &facts, target, name, there, path)?;
        links.insert(key, path.to_vec());
        Ok(())
    }

    fn only_name(
        &self,
        found: &Found,
        facts: &Facts,
        target: &OwnedFd,
        name: &[u8],
        there: Option<Facts>,
        path: &[u8],
    ) -> Result<()> {
        if facts.is_file() {
            self.done.size_bytes.fetch_add(facts.size, Ordering::Relaxed);
        }
        let attributes = xattr::read(&found.directory, name, path)?;
        let leaf = Leaf { from: &found.directory, name, facts, attributes: &attributes, path };
        if let Some(there) = there
            && is_same(&leaf, target, &there)?
        {
            count(&self.done.unchanged);
            return Ok(());
        }
        let temporary = self.temporary(target, path)?;
        if let Err(error) = leaf.copy_to(target, &temporary, self.watch) {
            let _ = unlinkat(target, temporary.as_slice(), AtFlags::empty());
            return Err(error);
        }
        self.replace(target, &temporary, name, there, path)
    }

    /// A further name of the file that is at `first` now.
    fn link(
        &self,
        first: &[u8],
        target: &OwnedFd,
        name: &[u8],
        there: Option<Facts>,
        path: &[u8],
    ) -> Result<()> {
        let (above, base) = disk::split(first);
        let place = inside::open(self.root, above, None)
            .map_err(|errno| Error::io("cannot open directory", above, errno))?;
        let original = disk::facts(&place.fd, base)
            .map_err(|errno| Error::io("cannot examine", first, errno))?;
        let same = |one: &Facts, other: &Facts| (one.dev, one.ino) == (other.dev, other.ino);
        if there.zip(original).is_some_and(|(there, original)| same(&there, &original)) {
            count(&self.done.unchanged);
            return Ok(());
        }
        let temporary = self.temporary(target, path)?;
        linkat(&place.fd, base, target, temporary.as_slice(), AtFlags::empty())
            .map_err(|errno| Error::io("cannot make hard link", path, errno))?;
        self.replace(target, &temporary, name, there, path)
    }

    /// What was made under a temporary name gets its own.
    fn replace(
        &self,
        target: &OwnedFd,
        temporary: &[u8],
        name: &[u8],
        there: Option<Facts>,
        path: &[u8],
    ) -> Result<()> {
        let renamed = match there {
            Some(there) if there.is_directory() => self.remove(target, name, path),
            _ => Ok(()),
        }
        .and_then(|()| {
            renameat(target, temporary, target, name)
                .map_err(|errno| Error::io("cannot replace", path, errno))
        });
        if renamed.is_err() {
            let _ = unlinkat(target, temporary, AtFlags::empty());
        }
        count(&self.done.written);
        renamed
    }

    /// Removes an entry; a directory only if it is empty, unless extra files are to go.
    fn remove(&self, directory: &OwnedFd, name: &[u8], path: &[u8]) -> Result<()> {
        self.watch.poll()?;
        let facts = disk::facts(directory, name)
            .map_err(|errno| Error::io("cannot examine", path, errno))?;
        let Some(facts) = facts else { return Ok(()) };
        if !facts.is_directory() {
            return unlinkat(directory, name, AtFlags::empty())
                .map_err(|errno| Error::io("cannot remove", path, errno));
        }
        if facts.dev != self.device {
            return Err(Error::new(
                Code::OutputExists,
                path,
                format!("something is mounted at '{}'", show(path)),
            ));
        }
        if self.options.delete {
            let inner = disk::open_directory(directory, name)
                .map_err(|errno| Error::io("cannot open directory", path, errno))?;
            let names = disk::names(&inner)
                .map_err(|errno| Error::io("cannot list directory", path, errno))?;
            for each in names {
                self.remove(&inner, &each, &disk::join(path, &each))?;
            }
        }
        unlinkat(directory, name, AtFlags::REMOVEDIR).map_err(|errno| match errno {
            Errno::NOTEMPTY | Errno::EXIST => Error::new(
                Code::OutputExists,
                path,
                format!("'{}' is a directory that is not empty", show(path)),
            ),
            _ => Error::io("cannot remove", path, errno),
        })
    }

    /// Mode, owner, attributes and time of a directory, where they differ.
    fn settle(&self, fd: &OwnedFd, metadata: &(Facts, Attributes), path: &[u8]) -> Result<()> {
        let (facts, attributes) = metadata;
        let facts = self.as_wanted(facts);
        let there = disk::facts_of(fd).map_err(|errno| Error::io("cannot examine", path, errno))?;
        let owned = |facts: &Facts| (facts.mode, facts.uid, facts.gid);
        if owned(&facts) != owned(&there) || attributes.kept != xattr::read(fd, b"", path)?.kept {
            copy::set_metadata(fd, &facts, attributes, path)?;
        }
        if facts.mtime != there.mtime {
            futimens(fd, &copy::times(&facts))
                .map_err(|errno| Error::io("cannot set the time of", path, errno))?;
        }
        Ok(())
    }

    fn as_wanted(&self, facts: &Facts) -> Facts {
        let (uid, gid) = self.options.owner.unwrap_or((facts.uid, facts.gid));
        let mtime = match self.options.clamp_mtime_seconds {
            Some(latest) if facts.mtime > (latest, 0) => (latest, 0),
            _ => facts.mtime,
        };
        Facts { uid, gid, mtime, ..*facts }
    }

    /// A name that neither the user nor the image has there.
    fn temporary(&self, target: &OwnedFd, path: &[u8]) -> Result<Vec<u8>> {
        loop {
            let count = self.temporaries.fetch_add(1, Ordering::Relaxed);
            let number = format!("{}-{count}", process::id());
            let name = [TEMPORARY_PREFIX, number.as_bytes()].concat();
            if disk::facts(target, &name)
                .map_err(|errno| Error::io("cannot examine", path, errno))?
                .is_none()
            {
                return Ok(name);
            }
        }
    }
}

/// Whether what is at the destination is what would be written there, as far as metadata says.
fn is_same(leaf: &Leaf<'_>, target: &OwnedFd, there: &Facts) -> Result<bool> {
    let said = |facts: &Facts| {
        let size = if facts.is_file() { facts.size } else { 0 };
        (facts.kind, facts.mode, facts.uid, facts.gid, facts.mtime, facts.device, size)
    };
    if said(leaf.facts) != said(there) {
        return Ok(false);
    }
    if leaf.facts.kind == rustix::fs::FileType::Symlink {
        let target_of = |directory: &OwnedFd| {
            disk::link_target(directory, leaf.name)
                .map_err(|errno| Error::io("cannot read link", leaf.path, errno))
        };
        if target_of(leaf.from)? != target_of(target)? {
            return Ok(false);
        }
    }
    Ok(leaf.attributes.kept == xattr::read(target, leaf.name, leaf.path)?.kept)
}
