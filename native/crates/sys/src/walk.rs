//! A walk of a tree by several threads, a directory at a time.

use std::{
    collections::HashSet,
    ffi::OsStr,
    mem::MaybeUninit,
    ops::Range,
    os::{fd::OwnedFd, unix::ffi::OsStrExt},
    path::Path,
    sync::{Condvar, Mutex, MutexGuard, PoisonError, atomic::AtomicBool},
};

use rustix::fs::{AtFlags, Mode, OFlags, RawDir};

use crate::{
    Error, Result, check_cancel,
    scan::{MAX_SCAN_THREADS, ScanEntry},
};

/// Fewer directories that wait are not worth another thread.
const WAITING_A_THREAD: usize = 8;

/// What the kernel fills at a time: some thousand names.
const LISTING_BYTES: usize = 64 * 1024;

/// A directory as the walk came to it. Nothing is allocated for each of its entries but the targets of links: most walks only recognise a
/// tree.
pub(crate) struct Listed {
    /// Relative to the root; empty is the root itself.
    pub path: Vec<u8>,
    /// Whether this process may not look into it.
    pub is_denied: bool,
    /// Of all entries, one after the other.
    names: Vec<u8>,
    /// Sorted by the bytes of their names.
    pub rows: Vec<Row>,
}

pub(crate) struct Row {
    name: Range<usize>,
    /// Only its kind and its name count, and it is not looked into.
    pub is_skipped: bool,
    /// Without its path.
    pub entry: ScanEntry,
}

impl Listed {
    pub fn name_of(&self, row: &Row) -> &[u8] {
        &self.names[row.name.clone()]
    }

    /// What is not skipped.
    pub fn into_entries(self) -> impl Iterator<Item = ScanEntry> {
        let Self { path: directory, names, rows, .. } = self;
        rows.into_iter().filter(|row| !row.is_skipped).map(move |Row { name, entry, .. }| {
            let path = joined(&directory, &names[name]);
            ScanEntry { path, ..entry }
        })
    }
}

/// What `look` makes of each directory below `root` and of itself, in no order. Paths in `skip` are relative to `root`. Links are not
/// followed.
///
/// # Errors
/// `IO`, `CANCELLED`. A directory that may not be read is an answer, not an error.
pub(crate) fn walk<T: Send>(
    root: &Path,
    skip: &HashSet<Vec<u8>>,
    cancel: &AtomicBool,
    look: impl Fn(Listed) -> T + Sync,
) -> Result<Vec<T>> {
    // Only to look names up in: the root need not be readable for that.
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::PATH;
    let top = rustix::fs::open(root, flags, Mode::empty())
        .map_err(|error| Error::io("open", root, error))?;
    let state = Mutex::new(State::default());
    let walk = Walk { root, top, skip, cancel, look, state, changed: Condvar::new() };
    walk.state().waiting.push(Vec::new());
    std::thread::scope(|scope| walk.work(scope));
    let State { found, error, .. } =
        walk.state.into_inner().unwrap_or_else(PoisonError::into_inner);
    error.map_or(Ok(found), Err)
}

struct State<T> {
    /// Directories that nobody has looked into yet.
    waiting: Vec<Vec<u8>>,
    /// How many are being looked into.
    open: usize,
    threads: usize,
    found: Vec<T>,
    error: Option<Error>,
}

impl<T> Default for State<T> {
    fn default() -> Self {
        Self { waiting: Vec::new(), open: 0, threads: 0, found: Vec::new(), error: None }
    }
}

struct Walk<'a, T, L> {
    root: &'a Path,
    top: OwnedFd,
    skip: &'a HashSet<Vec<u8>>,
    cancel: &'a AtomicBool,
    look: L,
    state: Mutex<State<T>>,
    changed: Condvar,
}

impl<T: Send, L: Fn(Listed) -> T + Sync> Walk<'_, T, L> {
    fn state(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Until nothing is left to do, with more threads when enough waits.
    fn work<'scope>(&'scope self, scope: &'scope std::thread::Scope<'scope, '_>) {
        let mut listing = Box::new_uninit_slice(LISTING_BYTES);
        while let Some(directory) = self.take() {
            let mut below = Vec::new();
            let outcome = self.list(directory, &mut listing, &mut below).map(&self.look);
            let mut state = self.state();
            state.open -= 1;
            match outcome {
                Ok(found) => {
                    state.found.push(found);
                    state.waiting.extend(below);
                    if state.threads == 0 && state.waiting.len() >= WAITING_A_THREAD {
                        let more = std::thread::available_parallelism()
                            .map_or(1, std::num::NonZero::get)
                            .min(MAX_SCAN_THREADS)
                            - 1;
                        state.threads = more.max(1);
                        for _ in 0..more {
                            scope.spawn(|| self.work(scope));
                        }
                    }
                }
                Err(error) => {
                    state.waiting.clear();
                    state.error.get_or_insert(error);
                }
            }
            self.changed.notify_all();
        }
    }

    fn take(&self) -> Option<Vec<u8>> {
        let mut state = self.state();
        loop {
            if state.error.is_some() {
                return None;
            }
            if let Some(directory) = state.waiting.pop() {
                state.open += 1;
                return Some(directory);
            }
            if state.open == 0 {
                return None;
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// One directory, and those in it that are to be looked into.
    fn list(
        &self,
        path: Vec<u8>,
        listing: &mut [MaybeUninit<u8>],
        below: &mut Vec<Vec<u8>>,
    ) -> Result<Listed> {
        check_cancel(self.cancel)?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let name: &[u8] = if path.is_empty() { b"." } else { &path };
        let at = |path: &[u8]| self.root.join(OsStr::from_bytes(path));
        let fd = match rustix::fs::openat(&self.top, OsStr::from_bytes(name), flags, Mode::empty())
        {
            Ok(fd) => fd,
            Err(rustix::io::Errno::ACCESS) => {
                return Ok(Listed { path, is_denied: true, names: Vec::new(), rows: Vec::new() });
            }
            Err(error) => return Err(Error::io("open", at(&path), error)),
        };
        let (mut names, mut rows) = (Vec::new(), Vec::new());
        let mut entries = RawDir::new(&fd, listing);
        while let Some(entry) = entries.next() {
            let entry = entry.map_err(|error| Error::io("list", at(&path), error))?;
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            let inner = || joined(&path, name.to_bytes());
            let stat = rustix::fs::statat(&fd, name, AtFlags::SYMLINK_NOFOLLOW)
                .map_err(|error| Error::io("stat", at(&inner()), error))?;
            let is_skipped = !self.skip.is_empty() && self.skip.contains(&inner());
            let mut entry = ScanEntry::of(Vec::new(), &stat);
            match entry.kind {
                "symlink" if !is_skipped => {
                    let target = rustix::fs::readlinkat(&fd, name, Vec::new())
                        .map_err(|error| Error::io("read link", at(&inner()), error))?;
                    entry.link = Some(target.into_bytes());
                }
                "directory" if !is_skipped => below.push(inner()),
                _ => {}
            }
            let start = names.len();
            names.extend_from_slice(name.to_bytes());
            rows.push(Row { name: start..names.len(), is_skipped, entry });
        }
        rows.sort_unstable_by(|left, right| {
            names[left.name.clone()].cmp(&names[right.name.clone()])
        });
        Ok(Listed { path, is_denied: false, names, rows })
    }
}

fn joined(directory: &[u8], name: &[u8]) -> Vec<u8> {
    let mut path = Vec::with_capacity(directory.len() + 1 + name.len());
    path.extend_from_slice(directory);
    if !directory.is_empty() {
        path.push(b'/');
    }
    path.extend_from_slice(name);
    path
}
