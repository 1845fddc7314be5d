//! Unpacks packages in parallel and writes dpkg's database.
//!
//! What dpkg does one after the other, threads do here in any order, so what depends on the order is decided by the
//! position in the list: the first package that holds a directory gives it its mode, owner and time (dpkg leaves a
//! directory alone that is there already). Files that two packages hold go to the one that replaces the other.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fs::File,
    hash::{DefaultHasher, Hash, Hasher},
    io::{self, Read, Write},
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    thread,
};

use md5::{Digest, Md5};
use rustix::{
    fs::{AtFlags, Mode, OFlags},
    io::Errno,
};
use tsbuild_owners::{Ledger, Recording};
use tsbuild_sys::hash::hex;
use tsbuild_tar::{Entry, EntryKind, Reader};

use crate::{
    Error,
    control::Control,
    deb::{Deb, Hashing},
    root::{Parent, Root, clean, create, is_directory, set_attributes, split, stat, times},
};

/// A package may grow this much, beyond a size at which nobody cares. Text compresses a hundredfold at the very most.
const MAX_RATIO: u64 = 1000;
const FREE_BYTES: u64 = 256 << 20;

const CHUNK: usize = 1 << 17;

/// Where packages lie that dpkg itself has to unpack; the configuration removes it.
const DEFERRED: &str = "var/tmp/tsbuild-deferred";

/// One package file.
#[derive(Clone, Debug)]
pub struct Package {
    /// The `.deb`.
    pub path: PathBuf,
    /// Hex SHA-256 that it must have.
    pub sha256: String,
    /// Whether dpkg may unpack it later, when a script of it has to run before its files are there.
    pub may_defer: bool,
}

/// How to unpack.
#[derive(Clone, Debug)]
pub struct Options {
    /// An existing directory; what is in it already (merged-usr links) is respected.
    pub root: PathBuf,
    /// Earlier ones decide about directories that several have.
    pub packages: Vec<Package>,
    /// 0 for as many as there are cores.
    pub threads: usize,
    /// Where owners that the disk cannot have are recorded.
    pub owners: Option<Recording>,
}

/// What was done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unpacked {
    /// Entries of all data archives.
    pub entry_count: u64,
    /// Names of the packages that were only laid down under `var/tmp/tsbuild-deferred`, sorted.
    pub deferred: Vec<String>,
}

/// Unpacks all packages and registers them as unpacked: scripts and lists in `var/lib/dpkg/info`, stanzas in
/// `var/lib/dpkg/status`, trigger interests in `var/lib/dpkg/triggers`. No script is run.
///
/// `progress` is told how many bytes of package files have been read, by any thread, as often as a chunk was read.
///
/// # Errors
/// See [`Error`]. What was unpacked until then stays: the caller throws the root away.
pub fn unpack(
    options: &Options,
    cancel: &AtomicBool,
    progress: &(dyn Fn(u64) + Sync),
) -> Result<Unpacked, Error> {
    let mut order = (0..options.packages.len()).collect::<Vec<_>>();
    let size = |index: usize| {
        std::fs::metadata(&options.packages[index].path).map_or(0, |facts| facts.len())
    };
    // The largest take longest: they must not begin last.
    order.sort_by_cached_key(|&index| std::cmp::Reverse(size(index)));
    let ledger = options.owners.as_ref().map(Ledger::open).transpose().map_err(owners_error)?;
    let shared = Shared {
        options,
        ledger: Mutex::new(ledger),
        cancel,
        progress,
        order,
        next: AtomicUsize::new(0),
        failed: AtomicBool::new(false),
        read: AtomicU64::new(0),
        claims: Mutex::default(),
        controls: Mutex::default(),
        naming: std::array::from_fn(|_| Mutex::default()),
    };
    let threads = match options.threads {
        0 => thread::available_parallelism().map_or(1, usize::from),
        some => some,
    };
    let results = thread::scope(|scope| {
        let workers = (0..threads.min(options.packages.len()).max(1))
            .map(|_| scope.spawn(|| shared.work()))
            .collect::<Vec<_>>();
        workers
            .into_iter()
            .map(|worker| worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect::<Vec<_>>()
    });
    // The first real failure, rather than what it made the others stop with.
    let mut cancelled = None;
    let mut done = Vec::new();
    for result in results {
        match result {
            Ok(packages) => done.extend(packages),
            Err(Error::Cancelled) => cancelled = Some(Error::Cancelled),
            Err(error) => return Err(error),
        }
    }
    if let Some(error) = cancelled {
        return Err(error);
    }
    done.sort_by_key(|package| package.index);
    let mut root = Root::open(&options.root)?;
    shared.finish_directories(&root)?;
    let deferred =
        done.iter().filter(|package| package.deferred).map(|package| package.name.clone());
    let deferred = deferred.collect::<BTreeSet<_>>().into_iter().collect();
    let claims = lock(&shared.claims);
    let entry_count = done.iter().map(|package| package.entry_count).sum();
    register(&mut root, &done, &lock(&shared.controls), &claims.lost)?;
    if let Some(ledger) = lock(&shared.ledger).take() {
        ledger.close().map_err(owners_error)?;
    }
    Ok(Unpacked { entry_count, deferred })
}

/// What one package turned into.
struct Done {
    index: usize,
    name: String,
    deferred: bool,
    entry_count: u64,
    /// Absolute paths in the order of the archive, `/.` first: the package's `.list`.
    list: Vec<Vec<u8>>,
    /// Digests of configuration files by absolute path.
    md5: BTreeMap<String, String>,
}

/// A name in a directory, however the path to it was written.
type Place = (u64, Vec<u8>);

enum Claim {
    /// `index` of the package that decides, and what it says.
    Directory {
        index: usize,
        path: Vec<u8>,
        entry: Entry,
    },
    Other {
        index: usize,
    },
}

#[derive(Default)]
struct Claims {
    by_place: HashMap<Place, Claim>,
    /// Paths that are another package's, by the package that also has them.
    lost: HashMap<usize, BTreeSet<Vec<u8>>>,
}

struct Shared<'a> {
    options: &'a Options,
    ledger: Mutex<Option<Ledger>>,
    cancel: &'a AtomicBool,
    progress: &'a (dyn Fn(u64) + Sync),
    /// Indices of the packages, largest first, and how many are taken.
    order: Vec<usize>,
    next: AtomicUsize,
    failed: AtomicBool,
    read: AtomicU64,
    claims: Mutex<Claims>,
    controls: Mutex<HashMap<usize, Control>>,
    /// Held while a name is made, by hash of its place.
    naming: [Mutex<()>; 64],
}

/// A panic of another thread is reported by its join; what it left behind is not used.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared<'_> {
    fn work(&self) -> Result<Vec<Done>, Error> {
        let mut root = Root::open(&self.options.root)?;
        let mut buffer = vec![0; CHUNK];
        let mut done = Vec::new();
        while let Some(&index) = self.order.get(self.next.fetch_add(1, Ordering::Relaxed)) {
            match self.package(index, &mut root, &mut buffer) {
                Ok(package) => done.push(package),
                Err(error) => {
                    self.failed.store(true, Ordering::Relaxed);
                    return Err(error);
                }
            }
        }
        Ok(done)
    }

    fn check_cancel(&self) -> Result<(), Error> {
        if self.cancel.load(Ordering::Relaxed) || self.failed.load(Ordering::Relaxed) {
            return Err(Error::Cancelled);
        }
        Ok(())
    }

    fn package(&self, index: usize, root: &mut Root, buffer: &mut [u8]) -> Result<Done, Error> {
        self.check_cancel()?;
        let package = &self.options.packages[index];
        let failed = |error: io::Error| archive_error(&package.path, error);
        let file = File::open(&package.path).map_err(|error| Error::io(&package.path, error))?;
        let size = file.metadata().map_err(|error| Error::io(&package.path, error))?.len();
        let counting = Counting { inner: file, shared: self };
        let mut deb = Deb::open(Hashing::new(io::BufReader::with_capacity(CHUNK, counting)))
            .map_err(failed)?;
        let control = std::mem::take(&mut deb.control);
        let mut done = Done {
            index,
            name: control.name().to_owned(),
            deferred: package.may_defer && control.must_precede_files(),
            entry_count: 0,
            list: vec![b"/.".to_vec()],
            md5: BTreeMap::new(),
        };
        if done.deferred {
            let path = format!("{DEFERRED}/{:05}.deb", index);
            let content =
                std::fs::read(&package.path).map_err(|error| Error::io(&package.path, error))?;
            root.write(path.as_bytes(), &content, 0o644, None)?;
        } else {
            let conffiles =
                control.conffiles().into_iter().map(|(_, path)| path).collect::<BTreeSet<_>>();
            lock(&self.controls).insert(index, control);
            let mut budget = size.saturating_mul(MAX_RATIO).saturating_add(FREE_BYTES);
            let mut reader = deb.data().map_err(failed)?;
            while let Some(entry) =
                reader.next_entry().map_err(|error| tar_error(&package.path, error))?
            {
                self.check_cancel()?;
                budget = budget
                    .checked_sub(entry.size)
                    .ok_or_else(|| Error::Limit { path: package.path.clone() })?;
                done.entry_count += 1;
                self.entry(&mut done, root, &conffiles, entry, &mut reader, buffer)?;
            }
            // Behind the end of the archive is padding, and the checksum of the compressed stream.
            let rest =
                io::copy(&mut reader.into_inner().take(budget), &mut io::sink()).map_err(failed)?;
            if rest == budget {
                return Err(Error::Limit { path: package.path.clone() });
            }
        }
        // To the end of the file, whatever is behind the archive: the digest is over all of it.
        let actual = deb.finish().and_then(Hashing::finish).map_err(failed)?;
        if actual != package.sha256 {
            return Err(Error::Digest {
                path: package.path.clone(),
                expected: package.sha256.clone(),
                actual,
            });
        }
        Ok(done)
    }

    fn entry<R: Read>(
        &self,
        done: &mut Done,
        root: &mut Root,
        conffiles: &BTreeSet<String>,
        entry: Entry,
        reader: &mut Reader<R>,
        buffer: &mut [u8],
    ) -> Result<(), Error> {
        let archive = &self.options.packages[done.index].path;
        let bad = |reason: String| Error::BadArchive { path: archive.clone(), reason };
        let Some(path) = clean(&entry.path) else {
            return Err(bad(format!(
                "it holds the path '{}'",
                String::from_utf8_lossy(&entry.path)
            )));
        };
        if path.is_empty() {
            return Ok(());
        }
        let owner = match (u32::try_from(entry.uid), u32::try_from(entry.gid)) {
            (Ok(uid), Ok(gid)) => (uid, gid),
            _ => return Err(bad("an owner is out of range".to_owned())),
        };
        done.list.push([b"/", path].concat());
        if entry.kind == EntryKind::Directory {
            let directory = root.directory(path)?;
            self.claim_directory(done.index, root, path, &directory, &entry)?;
            return Ok(());
        }
        let (parent_path, name) = split(path);
        let parent = root.directory(parent_path)?;
        // From the claim until the name is there: otherwise the one that loses could still replace the winner's file.
        let mut hasher = DefaultHasher::new();
        (parent.inode, name).hash(&mut hasher);
        let naming = lock(&self.naming[hasher.finish() as usize % self.naming.len()]);
        if !self.claim(done.index, &parent, name, path)? {
            return Ok(());
        }
        let shown = root.display(path);
        let failed = |error: Errno| Error::io(&shown, error);
        let not_owned = |error: Errno| owner_error(error, path, &entry, &shown);
        let mtime = (entry.mtime.seconds, entry.mtime.nanoseconds);
        match entry.kind {
            EntryKind::File => {
                let file = create(&parent, name).map_err(|error| Error::io(&shown, error))?;
                // While the name is ours alone.
                let on_disk = self.record(root, &parent, name, owner).map_err(failed)?;
                drop(naming);
                let conffile = std::str::from_utf8(done.list.last().map_or(&[], Vec::as_slice))
                    .ok()
                    .filter(|absolute| conffiles.contains(*absolute))
                    .map(str::to_owned);
                let digest =
                    self.copy(&file, reader, buffer, conffile.is_some(), archive, &shown)?;
                if let (Some(absolute), Some(digest)) = (conffile, digest) {
                    done.md5.insert(absolute, digest);
                }
                set_attributes(&file, on_disk, entry.mode & 0o7777, mtime).map_err(not_owned)?;
            }
            EntryKind::Symlink => {
                match rustix::fs::symlinkat(&entry.link[..], &parent.fd, name) {
                    Err(Errno::EXIST) => match stat(&parent, name).map_err(failed)? {
                        // As dpkg: what is a directory already stays one.
                        Some(found) if is_directory(&found) => return Ok(()),
                        // The merged-usr links, which others are being unpacked through at this moment.
                        _ if same_link(&parent, name, &entry.link) => {}
                        _ => {
                            rustix::fs::unlinkat(&parent.fd, name, AtFlags::empty())
                                .map_err(failed)?;
                            rustix::fs::symlinkat(&entry.link[..], &parent.fd, name)
                                .map_err(failed)?;
                        }
                    },
                    made => made.map_err(failed)?,
                }
                let on_disk = self.record(root, &parent, name, owner).map_err(failed)?;
                let (uid, gid) =
                    (rustix::fs::Uid::from_raw(on_disk.0), rustix::fs::Gid::from_raw(on_disk.1));
                let flags = AtFlags::SYMLINK_NOFOLLOW;
                rustix::fs::chownat(&parent.fd, name, Some(uid), Some(gid), flags)
                    .map_err(not_owned)?;
                rustix::fs::utimensat(&parent.fd, name, &times(mtime.0, mtime.1), flags)
                    .map_err(failed)?;
            }
            EntryKind::HardLink => {
                let Some(target) =
                    clean(&entry.link).filter(|target| !target.is_empty() && *target != path)
                else {
                    return Err(bad(format!(
                        "'{}' is a hard link to nowhere",
                        String::from_utf8_lossy(path)
                    )));
                };
                let (target_parent, target_name) = split(target);
                let target_parent = root.directory(target_parent)?;
                let link = || {
                    rustix::fs::linkat(
                        &target_parent.fd,
                        target_name,
                        &parent.fd,
                        name,
                        AtFlags::empty(),
                    )
                };
                match link() {
                    Err(Errno::EXIST) => {
                        rustix::fs::unlinkat(&parent.fd, name, AtFlags::empty()).map_err(failed)?;
                        link().map_err(failed)?;
                    }
                    made => made.map_err(failed)?,
                }
                if let Some(ledger) = &mut *lock(&self.ledger)
                    && !ledger.owners().is_empty()
                {
                    let first = root.place_of(&target_parent, target_name).map_err(failed)?;
                    ledger.linked(&first, &root.place_of(&parent, name).map_err(failed)?);
                }
            }
            EntryKind::Fifo => {
                let mode = Mode::from_raw_mode(entry.mode & 0o7777);
                rustix::fs::mknodat(&parent.fd, name, rustix::fs::FileType::Fifo, mode, 0)
                    .map_err(failed)?;
                let on_disk = self.record(root, &parent, name, owner).map_err(failed)?;
                let fd = rustix::fs::openat(
                    &parent.fd,
                    name,
                    OFlags::RDONLY | OFlags::NONBLOCK,
                    Mode::empty(),
                );
                set_attributes(fd.map_err(failed)?, on_disk, entry.mode & 0o7777, mtime)
                    .map_err(not_owned)?;
            }
            EntryKind::CharDevice | EntryKind::BlockDevice | EntryKind::Directory => {
                return Err(bad(format!(
                    "it holds the device '{}'",
                    String::from_utf8_lossy(path)
                )));
            }
        }
        Ok(())
    }

    /// Records the owner of a name, and gives the one for the disk.
    fn record(
        &self,
        root: &Root,
        parent: &Parent,
        name: &[u8],
        owner: (u32, u32),
    ) -> Result<(u32, u32), Errno> {
        let mut ledger = lock(&self.ledger);
        let Some(ledger) = &mut *ledger else { return Ok(owner) };
        let on_disk = ledger.on_disk(owner.0, owner.1);
        // Nearly all are root's, whose way need not be known.
        if on_disk != owner || !ledger.owners().is_empty() {
            let place = root.place_of(parent, name)?;
            ledger.made(&place, owner.0, owner.1, None);
        }
        Ok(on_disk)
    }

    fn copy<R: Read>(
        &self,
        mut file: &File,
        reader: &mut Reader<R>,
        buffer: &mut [u8],
        with_digest: bool,
        archive: &Path,
        shown: &Path,
    ) -> Result<Option<String>, Error> {
        let mut md5 = Md5::new();
        loop {
            let count = match reader.read(buffer) {
                Ok(0) => break,
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(archive_error(archive, error)),
            };
            if with_digest {
                md5.update(&buffer[..count]);
            }
            file.write_all(&buffer[..count]).map_err(|error| Error::io(shown, error))?;
            self.check_cancel()?;
        }
        Ok(with_digest.then(|| hex(&md5.finalize())))
    }

    fn claim_directory(
        &self,
        index: usize,
        root: &mut Root,
        path: &[u8],
        directory: &Parent,
        entry: &Entry,
    ) -> Result<(), Error> {
        let (parent_path, name) = split(path);
        let parent = root.directory(parent_path)?;
        // A link to a directory (merged /usr) stays a link; its target has an entry of its own.
        let found = stat(&parent, name).map_err(|error| Error::io(root.display(path), error))?;
        if !found.is_some_and(|found| is_directory(&found) && found.st_ino == directory.inode) {
            return Ok(());
        }
        let claim = || Claim::Directory { index, path: path.to_vec(), entry: entry.clone() };
        lock(&self.claims)
            .by_place
            .entry((parent.inode, name.to_vec()))
            .and_modify(|known| match known {
                Claim::Directory { index: first, .. } if *first <= index => {}
                _ => *known = claim(),
            })
            .or_insert_with(claim);
        Ok(())
    }

    /// Whether the package may put its file there; the other one loses it where one replaces the other.
    fn claim(
        &self,
        index: usize,
        parent: &Parent,
        name: &[u8],
        path: &[u8],
    ) -> Result<bool, Error> {
        let mut claims = lock(&self.claims);
        let place = (parent.inode, name.to_vec());
        let (winner, loser) = match claims.by_place.get(&place) {
            Some(&Claim::Other { index: other }) if other != index => {
                let controls = lock(&self.controls);
                let (Some(mine), Some(theirs)) = (controls.get(&index), controls.get(&other))
                else {
                    return Ok(true);
                };
                match (mine.replaces(theirs), theirs.replaces(mine)) {
                    (true, false) => (index, Some(other)),
                    (false, true) => (other, Some(index)),
                    // Each other: the later one, as if dpkg had unpacked them in the order of the list.
                    (true, true) => (index.max(other), Some(index.min(other))),
                    (false, false) => {
                        return Err(Error::Conflict {
                            path: absolute(path),
                            packages: [theirs.name().to_owned(), mine.name().to_owned()],
                        });
                    }
                }
            }
            // A link over a directory of another package: the directory stays, and its attributes are still wanted.
            Some(Claim::Directory { .. }) => return Ok(true),
            _ => (index, None),
        };
        claims.by_place.insert(place, Claim::Other { index: winner });
        if let Some(loser) = loser {
            claims.lost.entry(loser).or_default().insert([b"/", path].concat());
        }
        Ok(winner == index)
    }

    /// Modes, owners and times of directories, once nothing more is put into them.
    fn finish_directories(&self, root: &Root) -> Result<(), Error> {
        for claim in lock(&self.claims).by_place.values() {
            let Claim::Directory { path, entry, .. } = claim else { continue };
            let failed = |error: Errno| Error::io(root.display(path), error);
            let fd: OwnedFd =
                root.resolve(path, OFlags::RDONLY | OFlags::DIRECTORY).map_err(failed)?;
            // Checked to fit when the entry was read.
            let mut owner = (entry.uid as u32, entry.gid as u32);
            if let Some(ledger) = &mut *lock(&self.ledger) {
                ledger.made(&root.path_of(&fd).map_err(failed)?, owner.0, owner.1, None);
                owner = ledger.on_disk(owner.0, owner.1);
            }
            let mtime = (entry.mtime.seconds, entry.mtime.nanoseconds);
            set_attributes(fd, owner, entry.mode & 0o7777, mtime)
                .map_err(|error| owner_error(error, path, entry, &root.display(path)))?;
        }
        Ok(())
    }
}

/// dpkg's database: see deb-triggers(5), dpkg(1) "FILES", and dpkg's own lib/dpkg/dbmodify.c.
fn register(
    root: &mut Root,
    done: &[Done],
    controls: &HashMap<usize, Control>,
    lost: &HashMap<usize, BTreeSet<Vec<u8>>>,
) -> Result<(), Error> {
    const ADMIN: &str = "var/lib/dpkg";
    for directory in ["info", "updates", "triggers", "alternatives", "parts"] {
        root.directory(format!("{ADMIN}/{directory}").as_bytes())?;
    }
    let mut write = |name: &str, content: &[u8], mode: u32, mtime: Option<i64>| {
        root.write(format!("{ADMIN}/{name}").as_bytes(), content, mode, mtime)
    };
    let mut stanzas = BTreeMap::new();
    let mut file_triggers = BTreeSet::new();
    let mut triggers = BTreeMap::<String, BTreeSet<String>>::new();
    for package in done {
        let Some(control) = controls.get(&package.index) else { continue };
        let info = control.info_name();
        for file in &control.files {
            // The status file has these.
            if file.name != "conffiles" || !control.conffiles().is_empty() {
                write(
                    &format!("info/{info}.{}", file.name),
                    &file.content,
                    file.mode,
                    Some(file.mtime),
                )?;
            }
        }
        let mut list = Vec::new();
        let lost = lost.get(&package.index);
        for path in
            package.list.iter().filter(|path| !lost.is_some_and(|lost| lost.contains(*path)))
        {
            list.extend_from_slice(path);
            list.push(b'\n');
        }
        write(&format!("info/{info}.list"), &list, 0o644, None)?;
        stanzas.insert((control.name().to_owned(), info), control.status_stanza(&package.md5));
        for (name, who) in control.interests() {
            if name.starts_with('/') {
                file_triggers.insert(format!("{name} {who}\n"));
            } else if name.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'/')
                && !name.starts_with('.')
            {
                triggers.entry(name).or_default().insert(format!("{who}\n"));
            }
        }
    }
    write("info/format", b"1\n", 0o644, None)?;
    write("triggers/File", file_triggers.into_iter().collect::<String>().as_bytes(), 0o644, None)?;
    write("triggers/Unincorp", b"", 0o644, None)?;
    for (name, who) in triggers {
        write(
            &format!("triggers/{name}"),
            who.into_iter().collect::<String>().as_bytes(),
            0o644,
            None,
        )?;
    }
    let status = stanzas.into_values().collect::<Vec<_>>().join("\n");
    write("status", status.as_bytes(), 0o644, None)?;
    Ok(())
}

/// Adds what is read to the count of all threads.
struct Counting<'a> {
    inner: File,
    shared: &'a Shared<'a>,
}

impl Read for Counting<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        let total = self.shared.read.fetch_add(count as u64, Ordering::Relaxed) + count as u64;
        (self.shared.progress)(total);
        Ok(count)
    }
}

fn same_link(parent: &Parent, name: &[u8], target: &[u8]) -> bool {
    rustix::fs::readlinkat(&parent.fd, name, Vec::new())
        .is_ok_and(|found| found.to_bytes() == target)
}

fn owners_error(error: tsbuild_owners::Error) -> Error {
    match error {
        tsbuild_owners::Error::Io { path, error, .. } => Error::io(path, error),
        tsbuild_owners::Error::Damaged { path, reason } => {
            Error::BadArchive { path, reason: reason.to_owned() }
        }
    }
}

/// An id without a mapping is EINVAL in a user namespace.
fn owner_error(error: Errno, path: &[u8], entry: &Entry, shown: &Path) -> Error {
    match error {
        Errno::INVAL => Error::NeedsIds { path: absolute(path), uid: entry.uid, gid: entry.gid },
        error => Error::io(shown, error),
    }
}

fn absolute(path: &[u8]) -> PathBuf {
    use std::os::unix::ffi::OsStrExt;
    Path::new("/").join(std::ffi::OsStr::from_bytes(path))
}

fn tar_error(path: &Path, error: tsbuild_tar::Error) -> Error {
    match error {
        tsbuild_tar::Error::Io(error) => archive_error(path, error),
        other => Error::BadArchive { path: path.to_owned(), reason: other.to_string() },
    }
}

/// Decompressors report bad data as one of these kinds; anything else is the disk.
fn archive_error(path: &Path, error: io::Error) -> Error {
    if error.raw_os_error().is_some() {
        return Error::io(path, error);
    }
    let reason = match error.kind() {
        io::ErrorKind::UnexpectedEof => "it is cut short".to_owned(),
        _ => error.to_string(),
    };
    Error::BadArchive { path: path.to_owned(), reason }
}
