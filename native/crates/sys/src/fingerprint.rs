//! One digest of what a walk of a tree sees, so that a caller who remembers it knows the tree again without a list of it.

use std::{
    collections::HashSet,
    ffi::OsStr,
    mem::MaybeUninit,
    ops::Range,
    os::{fd::OwnedFd, unix::ffi::OsStrExt},
    path::Path,
    sync::{Condvar, Mutex, MutexGuard, PoisonError, atomic::AtomicBool},
};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, RawDir, Stat};
use sha2::{Digest, Sha256};

use crate::{
    Error, Result, check_cancel,
    hash::{hex, nanoseconds},
    scan::{MAX_SCAN_THREADS, kind_of},
};

/// What a name is followed by.
const END: u8 = 0;
/// Fewer directories that wait are not worth another thread.
const WAITING_A_THREAD: usize = 8;
/// What the kernel fills at a time: some thousand names.
const LISTING_BYTES: usize = 64 * 1024;

/// Hex SHA-256 of the digests of all directories below `root` and its own, sorted. That of a directory is of its path, and of the
/// kinds and names of its entries with, by kind: mode, size, device, inode and both times; mode; or target of a link.
///
/// Paths in `skip`, relative to `root`, only count with their kinds and names, and no directory of them is looked into. The text is
/// described in docs/reference/store.md; `local/scan-memory.ts` writes the same.
///
/// # Errors
/// `IO`, `CANCELLED`. A directory that may not be read is part of the answer.
pub fn fingerprint(root: &Path, skip: &HashSet<Vec<u8>>, cancel: &AtomicBool) -> Result<String> {
    // Only to look names up in: the root need not be readable for that.
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::PATH;
    let top = rustix::fs::open(root, flags, Mode::empty())
        .map_err(|error| Error::io("open", root, error))?;
    let walk = Walk { root, top, skip, cancel, state: Mutex::default(), changed: Condvar::new() };
    walk.state().waiting.push(Vec::new());
    std::thread::scope(|scope| walk.work(scope));
    let State { mut digests, error, .. } =
        walk.state.into_inner().unwrap_or_else(PoisonError::into_inner);
    if let Some(error) = error {
        return Err(error);
    }
    digests.sort_unstable();
    let mut whole = Sha256::new();
    for digest in &digests {
        whole.update(digest.as_bytes());
    }
    Ok(hex(&whole.finalize()))
}

/// What one thread writes in, again for each directory.
struct Desk {
    listing: Box<[MaybeUninit<u8>]>,
    /// Of all entries, one after the other.
    names: Vec<u8>,
    rows: Vec<(Range<usize>, Stat)>,
    text: Vec<u8>,
}

impl Desk {
    fn new() -> Self {
        let listing = Box::new_uninit_slice(LISTING_BYTES);
        Self { listing, names: Vec::new(), rows: Vec::new(), text: Vec::new() }
    }
}

#[derive(Default)]
struct State {
    /// Directories that nobody has looked into yet.
    waiting: Vec<Vec<u8>>,
    /// How many are being looked into.
    open: usize,
    threads: usize,
    digests: Vec<String>,
    error: Option<Error>,
}

struct Walk<'a> {
    root: &'a Path,
    top: OwnedFd,
    skip: &'a HashSet<Vec<u8>>,
    cancel: &'a AtomicBool,
    state: Mutex<State>,
    changed: Condvar,
}

impl Walk<'_> {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Until nothing is left to do, with more threads when enough waits.
    fn work<'scope>(&'scope self, scope: &'scope std::thread::Scope<'scope, '_>) {
        let mut desk = Desk::new();
        while let Some(directory) = self.take() {
            let outcome = self.digest_of(&directory, &mut desk);
            let mut state = self.state();
            state.open -= 1;
            match outcome {
                Ok((digest, below)) => {
                    state.digests.push(digest);
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

    /// Of one directory, and those in it.
    fn digest_of(&self, directory: &[u8], desk: &mut Desk) -> Result<(String, Vec<Vec<u8>>)> {
        check_cancel(self.cancel)?;
        desk.text.clear();
        let mut below = Vec::new();
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let name: &[u8] = if directory.is_empty() { b"." } else { directory };
        match rustix::fs::openat(&self.top, OsStr::from_bytes(name), flags, Mode::empty()) {
            Ok(fd) => {
                desk.text.push(b'>');
                push_name(&mut desk.text, directory);
                self.rows(directory, &fd, desk, &mut below)?;
            }
            Err(rustix::io::Errno::ACCESS) => {
                desk.text.push(b'!');
                push_name(&mut desk.text, directory);
            }
            Err(error) => {
                let shown = self.root.join(OsStr::from_bytes(directory));
                return Err(Error::io("open", shown, error));
            }
        }
        Ok((hex(&Sha256::digest(&desk.text)), below))
    }

    fn rows(
        &self,
        directory: &[u8],
        fd: &OwnedFd,
        desk: &mut Desk,
        below: &mut Vec<Vec<u8>>,
    ) -> Result<()> {
        let at = |name: &[u8]| self.root.join(OsStr::from_bytes(&joined(directory, name)));
        let Desk { listing, names, rows, text } = desk;
        names.clear();
        rows.clear();
        let mut entries = RawDir::new(fd, listing);
        while let Some(entry) = entries.next() {
            let entry = entry.map_err(|error| Error::io("list", at(b""), error))?;
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            let stat = rustix::fs::statat(fd, name, AtFlags::SYMLINK_NOFOLLOW)
                .map_err(|error| Error::io("stat", at(name.to_bytes()), error))?;
            let start = names.len();
            names.extend_from_slice(name.to_bytes());
            rows.push((start..names.len(), stat));
        }
        rows.sort_unstable_by(|left, right| names[left.0.clone()].cmp(&names[right.0.clone()]));
        for (range, stat) in rows {
            let name = &names[range.clone()];
            let mode = u64::from(stat.st_mode & 0o7777);
            if !self.skip.is_empty() && self.skip.contains(&joined(directory, name)) {
                text.extend_from_slice(b"skipped ");
                text.extend_from_slice(kind_of(stat).as_bytes());
                text.push(b' ');
                push_name(text, name);
                continue;
            }
            text.extend_from_slice(kind_of(stat).as_bytes());
            text.push(b' ');
            match FileType::from_raw_mode(stat.st_mode) {
                FileType::RegularFile => {
                    push_number(text, mode);
                    push_number(text, stat.st_size as u64);
                    push_number(text, stat.st_dev);
                    push_number(text, stat.st_ino);
                    push_time(text, nanoseconds(stat.st_mtime, stat.st_mtime_nsec as i64));
                    push_time(text, nanoseconds(stat.st_ctime, stat.st_ctime_nsec as i64));
                    push_name(text, name);
                }
                FileType::Symlink => {
                    push_name(text, name);
                    let link = rustix::fs::readlinkat(fd, name, Vec::new())
                        .map_err(|error| Error::io("read link", at(name), error))?;
                    push_name(text, link.to_bytes());
                }
                kind => {
                    push_number(text, mode);
                    push_name(text, name);
                    if kind == FileType::Directory {
                        below.push(joined(directory, name));
                    }
                }
            }
        }
        Ok(())
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

fn push_name(text: &mut Vec<u8>, name: &[u8]) {
    text.extend_from_slice(name);
    text.push(END);
}

/// Decimal, and a space. The formatter of the library takes as long as the stat.
fn push_number(text: &mut Vec<u8>, number: u64) {
    let mut digits = [b' '; 21];
    let mut at = digits.len() - 1;
    let mut rest = number;
    loop {
        at -= 1;
        digits[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    text.extend_from_slice(&digits[at..]);
}

/// As [`push_number`]. Few times are before 1970 or after 2554.
fn push_time(text: &mut Vec<u8>, nanoseconds: i128) {
    match u64::try_from(nanoseconds) {
        Ok(number) => push_number(text, number),
        Err(_) => text.extend_from_slice(format!("{nanoseconds} ").as_bytes()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers() {
        let mut text = Vec::new();
        push_number(&mut text, u64::MAX);
        for time in [0, 7, 1_234_567_890, -1, i128::from(u64::MAX), i128::MIN] {
            push_time(&mut text, time);
        }
        let most = u64::MAX;
        let expected = format!("{most} 0 7 1234567890 -1 {most} {} ", i128::MIN);
        assert_eq!(String::from_utf8(text).unwrap(), expected);
    }

    #[test]
    fn changes_with_what_is_not_skipped() {
        let root = std::env::temp_dir().join(format!("tsbuild-fingerprint-{}", std::process::id()));
        for index in 0..40 {
            std::fs::create_dir_all(root.join(format!("d{index}/e"))).unwrap();
            std::fs::write(root.join(format!("d{index}/e/f")), "12345").unwrap();
        }
        let look = |skip: &[&[u8]]| {
            let skip = skip.iter().map(|path| path.to_vec()).collect();
            fingerprint(&root, &skip, &AtomicBool::new(false)).unwrap()
        };
        let (whole, part) = (look(&[]), look(&[b"d7/e"]));
        assert_eq!(whole, look(&[]));
        assert_ne!(whole, part);
        std::fs::write(root.join("d7/e/g"), "").unwrap();
        assert_ne!(whole, look(&[]));
        assert_eq!(part, look(&[b"d7/e"]));
        std::os::unix::fs::symlink("e", root.join("d8/l")).unwrap();
        let linked = look(&[b"d7/e"]);
        std::fs::remove_file(root.join("d8/l")).unwrap();
        std::os::unix::fs::symlink("f", root.join("d8/l")).unwrap();
        assert_ne!(linked, look(&[b"d7/e"]));
        let cancelled = fingerprint(&root, &HashSet::new(), &AtomicBool::new(true));
        assert_eq!(cancelled.unwrap_err().code, "CANCELLED");
        std::fs::remove_dir_all(root).unwrap();
    }
}
