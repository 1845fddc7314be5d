//! A walk of a tree by several threads, a directory at a time.

use std::{
    collections::HashSet,
    ffi::OsStr,
    os::{fd::OwnedFd, unix::ffi::OsStrExt},
    path::Path,
    sync::{Condvar, Mutex, MutexGuard, PoisonError, atomic::AtomicBool},
};

use rustix::fs::{AtFlags, Dir, Mode, OFlags};

use crate::{
    Error, Result, check_cancel,
    scan::{MAX_SCAN_THREADS, ScanEntry},
};

/// Fewer directories that wait are not worth another thread.
const WAITING_A_THREAD: usize = 8;

/// A directory as the walk came to it.
pub(crate) struct Listed {
    /// Relative to the root; empty is the root itself.
    pub path: Vec<u8>,
    /// Sorted by the bytes of their names; `None` where this process may not look into it.
    pub rows: Option<Vec<Row>>,
}

pub(crate) struct Row {
    pub entry: ScanEntry,
    /// Only its kind and its name count, and it is not looked into.
    pub is_skipped: bool,
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
        while let Some(directory) = self.take() {
            let mut below = Vec::new();
            let outcome = self.list(directory, &mut below).map(&self.look);
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
    fn list(&self, path: Vec<u8>, below: &mut Vec<Vec<u8>>) -> Result<Listed> {
        check_cancel(self.cancel)?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let name: &[u8] = if path.is_empty() { b"." } else { &path };
        let at = |path: &[u8]| self.root.join(OsStr::from_bytes(path));
        let fd = match rustix::fs::openat(&self.top, OsStr::from_bytes(name), flags, Mode::empty())
        {
            Ok(fd) => fd,
            Err(rustix::io::Errno::ACCESS) => return Ok(Listed { path, rows: None }),
            Err(error) => return Err(Error::io("open", at(&path), error)),
        };
        let mut rows = Vec::new();
        for entry in Dir::read_from(&fd).map_err(|error| Error::io("list", at(&path), error))? {
            let entry = entry.map_err(|error| Error::io("list", at(&path), error))?;
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            let inner = joined(&path, name.to_bytes());
            let stat = rustix::fs::statat(&fd, name, AtFlags::SYMLINK_NOFOLLOW)
                .map_err(|error| Error::io("stat", at(&inner), error))?;
            let is_skipped = self.skip.contains(&inner);
            let mut entry = ScanEntry::of(inner, &stat);
            if !is_skipped {
                match entry.kind {
                    "symlink" => {
                        let link = rustix::fs::readlinkat(&fd, name, Vec::new())
                            .map_err(|error| Error::io("read link", at(&entry.path), error))?;
                        entry.link = Some(link.into_bytes());
                    }
                    "directory" => below.push(entry.path.clone()),
                    _ => {}
                }
            }
            rows.push(Row { entry, is_skipped });
        }
        rows.sort_unstable_by(|left, right| left.entry.path.cmp(&right.entry.path));
        Ok(Listed { path, rows: Some(rows) })
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
