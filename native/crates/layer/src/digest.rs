//! A digest of a layer directory that two equal layers share whenever they were made: everything but times.
//!
//! The input of the hash is a sequence of length-framed fields, so that no name can pass for another field. Version 1:
//!
//! ```text
//! "tsbuild tree 1"
//! per entry, in the order of a layer's walk (names sorted, a directory before what it holds; the root has no name, also
//! where it is no directory):
//!   path, type letter, mode, uid, gid, number of attributes, then name and value of each
//!   d: "opaque" or ""        f: size, sha-256 of the content        l: target
//!   h: path of the first name of the same file                      c b: major, minor
//!   w (whiteout) and p, s: nothing more
//! ```

use std::{
    collections::HashMap,
    fs::File,
    io::Read,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    sync::Mutex,
    thread,
};

use rustix::fs::FileType;
use sha2::{Digest, Sha256};
use tsbuild_owners::{Owners, Record};

use crate::{
    disk::{self, Facts},
    error::{Error, Result},
    hex::digest_text,
    watch::Watch,
    xattr::{self, Attributes},
};

/// Owners of a larger tree.
#[derive(Clone, Debug)]
pub struct OwnersBelow {
    /// The larger tree's sidecar.
    pub file: PathBuf,
    /// Where in it the digested tree is.
    pub path: Vec<u8>,
}

/// `sha256:…` of everything in a directory but times: paths, types, modes, owners, attributes, links, contents. What is no
/// directory is digested by itself, without its name.
///
/// # Errors
/// `DAMAGED_OWNERS`, `IO`, `CANCELLED`.
pub fn tree_digest(
    root: &Path,
    owners: Option<&OwnersBelow>,
    threads: usize,
    watch: Watch<'_>,
) -> Result<String> {
    let path = root.as_os_str().as_encoded_bytes();
    let mut tree = Tree {
        owners: owners.map(|owners| Owners::read(&owners.file)).transpose()?.unwrap_or_default(),
        inside: owners.map(|owners| owners.path.clone()).unwrap_or_default(),
        hash: Sha256::new(),
        links: HashMap::new(),
        batch: Vec::new(),
        size: 0,
        threads,
        watch,
    };
    field(&mut tree.hash, b"tsbuild tree 1");
    match (root.parent(), root.file_name()) {
        (Some(parent), Some(name)) if !root.is_dir() || root.is_symlink() => {
            let name = name.as_encoded_bytes();
            let above = disk::open_root(parent.as_os_str().as_encoded_bytes())?;
            let facts = disk::facts(&above, name)
                .map_err(|errno| Error::io("cannot examine", path, errno))?
                .ok_or_else(|| Error::io("cannot examine", path, rustix::io::Errno::NOENT))?;
            tree.child(&above, name, b"", &facts, &Attributes::default())?;
        }
        _ => tree.whole(path)?,
    }
    tree.flush()?;
    Ok(digest_text(tree.hash))
}

/// Files that wait for their content to be hashed, with what is known of everything up to them.
struct Waiting {
    /// Bytes for the tree's hash that come before the content's digest.
    before: Vec<u8>,
    file: Option<(File, Vec<u8>)>,
}

/// One descriptor each, so not too many; large enough to keep every core busy.
const BATCH: usize = 128;
/// A large file ends a batch too, or its neighbours would wait for nothing.
const BATCH_BYTES: u64 = 64 << 20;

struct Tree<'a> {
    owners: Owners,
    /// Where the digested tree is in that of the owners.
    inside: Vec<u8>,
    hash: Sha256,
    links: HashMap<(u64, u64), Vec<u8>>,
    batch: Vec<Waiting>,
    size: u64,
    threads: usize,
    watch: Watch<'a>,
}

fn field(hash: &mut impl Sink, bytes: &[u8]) {
    hash.put(&(bytes.len() as u64).to_le_bytes());
    hash.put(bytes);
}

trait Sink {
    fn put(&mut self, bytes: &[u8]);
}

impl Sink for Sha256 {
    fn put(&mut self, bytes: &[u8]) {
        self.update(bytes);
    }
}

impl Sink for Vec<u8> {
    fn put(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }
}

impl Tree<'_> {
    /// Where the next fields go: behind the last file that waits.
    fn sink(&mut self) -> &mut Vec<u8> {
        if self.batch.last().is_none_or(|waiting| waiting.file.is_some()) {
            self.batch.push(Waiting { before: Vec::new(), file: None });
        }
        let last = self.batch.len() - 1;
        &mut self.batch[last].before
    }

    fn describe(&mut self, path: &[u8], kind: u8, facts: &Facts, attributes: &Attributes) {
        let sink = self.sink();
        field(sink, path);
        field(sink, &[kind]);
        field(sink, &facts.mode.to_le_bytes());
        field(sink, &facts.uid.to_le_bytes());
        field(sink, &facts.gid.to_le_bytes());
        field(sink, &(attributes.kept.len() as u64).to_le_bytes());
        for (name, value) in &attributes.kept {
            field(sink, name);
            field(sink, value);
        }
    }

    fn record(&self, path: &[u8]) -> Option<&Record> {
        match (self.inside.as_slice(), path) {
            _ if self.owners.is_empty() => None,
            (b"", _) => self.owners.get(path),
            (inside, b"") => self.owners.get(inside),
            (inside, _) => self.owners.get(&disk::join(inside, path)),
        }
    }

    fn mark_opaque(&mut self, attributes: &Attributes) {
        field(self.sink(), if attributes.opaque { b"opaque" } else { b"" });
    }

    fn whole(&mut self, root: &[u8]) -> Result<()> {
        let fd = disk::open_root(root)?;
        let facts =
            disk::facts_of(&fd).map_err(|errno| Error::io("cannot examine", root, errno))?;
        let facts = facts.with(self.record(b""));
        let attributes = xattr::read(&fd, b"", root)?;
        self.describe(b"", b'd', &facts, &attributes);
        self.mark_opaque(&attributes);
        self.directory(&fd, b"", &attributes)
    }

    fn directory(&mut self, fd: &OwnedFd, path: &[u8], own: &Attributes) -> Result<()> {
        for name in
            disk::names(fd).map_err(|errno| Error::io("cannot list directory", path, errno))?
        {
            self.watch.poll()?;
            let full = disk::join(path, &name);
            let facts = disk::facts(fd, &name)
                .map_err(|errno| Error::io("cannot examine", &full, errno))?
                .ok_or_else(|| Error::io("cannot examine", &full, rustix::io::Errno::NOENT))?;
            self.child(fd, &name, &full, &facts, own)?;
        }
        Ok(())
    }

    fn child(
        &mut self,
        fd: &OwnedFd,
        name: &[u8],
        path: &[u8],
        facts: &Facts,
        parent: &Attributes,
    ) -> Result<()> {
        if facts.is_whiteout() {
            return self.whiteout(path);
        }
        let attributes = xattr::read(fd, name, path)?;
        if parent.holds_marked_whiteouts
            && attributes.whiteout
            && facts.is_file()
            && facts.size == 0
        {
            return self.whiteout(path);
        }
        let facts = &facts.with(self.record(path));
        if facts.is_directory() {
            self.describe(path, b'd', facts, &attributes);
            self.mark_opaque(&attributes);
            let inner = disk::open_directory(fd, name)
                .map_err(|errno| Error::io("cannot open directory", path, errno))?;
            return self.directory(&inner, path, &attributes);
        }
        if facts.links > 1 {
            if let Some(first) = self.links.get(&(facts.dev, facts.ino)) {
                let first = first.clone();
                self.describe(path, b'h', facts, &attributes);
                field(self.sink(), &first);
                return Ok(());
            }
            self.links.insert((facts.dev, facts.ino), path.to_vec());
        }
        match facts.kind {
            FileType::RegularFile => {
                self.describe(path, b'f', facts, &attributes);
                field(self.sink(), &facts.size.to_le_bytes());
                let file = disk::open_file(fd, name)
                    .map_err(|errno| Error::io("cannot open", path, errno))?;
                self.sink();
                if let Some(last) = self.batch.last_mut() {
                    last.file = Some((file.into(), path.to_vec()));
                }
                self.size += facts.size;
                if self.batch.len() >= BATCH || self.size >= BATCH_BYTES {
                    self.flush()?;
                }
            }
            FileType::Symlink => {
                let target = disk::link_target(fd, name)
                    .map_err(|errno| Error::io("cannot read link", path, errno))?;
                self.describe(path, b'l', facts, &attributes);
                field(self.sink(), &target);
            }
            FileType::CharacterDevice | FileType::BlockDevice => {
                let letter = if facts.kind == FileType::BlockDevice { b'b' } else { b'c' };
                self.describe(path, letter, facts, &attributes);
                let (major, minor) =
                    (rustix::fs::major(facts.device), rustix::fs::minor(facts.device));
                field(self.sink(), &major.to_le_bytes());
                field(self.sink(), &minor.to_le_bytes());
            }
            FileType::Fifo => self.describe(path, b'p', facts, &attributes),
            _ => self.describe(path, b's', facts, &attributes),
        }
        Ok(())
    }

    /// Nothing but the name counts.
    fn whiteout(&mut self, path: &[u8]) -> Result<()> {
        let sink = self.sink();
        field(sink, path);
        field(sink, b"w");
        Ok(())
    }

    /// Hashes the contents of the batch on all threads and adds them in order.
    fn flush(&mut self) -> Result<()> {
        self.size = 0;
        let batch = std::mem::take(&mut self.batch);
        let count = batch.iter().filter(|waiting| waiting.file.is_some()).count();
        let threads = self.threads.clamp(1, count.max(1));
        let watch = self.watch;
        let (tasks, befores): (Vec<_>, Vec<_>) =
            batch.into_iter().map(|waiting| (waiting.file, waiting.before)).unzip();
        let results: Vec<Mutex<Option<Result<[u8; 32]>>>> =
            tasks.iter().map(|_| Mutex::new(None)).collect();
        let queue = Mutex::new(tasks.into_iter().enumerate());
        let work = || {
            loop {
                let next = queue.lock().ok().and_then(|mut queue| queue.next());
                let Some((index, task)) = next else { break };
                if let (Some((file, path)), Ok(mut slot)) = (task, results[index].lock()) {
                    *slot = Some(hash_file(file, &path, watch));
                }
            }
        };
        if threads == 1 {
            work();
        } else {
            thread::scope(|scope| {
                for _ in 0..threads {
                    scope.spawn(work);
                }
            });
        }
        for (before, result) in befores.into_iter().zip(results) {
            self.hash.update(&before);
            if let Ok(Some(content)) = result.into_inner() {
                field(&mut self.hash, &content?);
            }
        }
        Ok(())
    }
}

fn hash_file(mut file: File, path: &[u8], watch: Watch<'_>) -> Result<[u8; 32]> {
    let mut hash = Sha256::new();
    let mut buffer = vec![0_u8; 256 * 1024];
    loop {
        watch.poll()?;
        let count =
            file.read(&mut buffer).map_err(|error| Error::std_io("cannot read", path, &error))?;
        if count == 0 {
            return Ok(hash.finalize().into());
        }
        hash.update(&buffer[..count]);
    }
}
