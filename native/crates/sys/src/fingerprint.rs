//! One digest of what a walk of a tree sees, so that a caller who remembers it knows the tree again without a list of it.

use std::{
    collections::HashSet,
    ffi::OsStr,
    os::{fd::OwnedFd, unix::ffi::OsStrExt},
    path::Path,
    sync::{Condvar, Mutex, MutexGuard, PoisonError, atomic::AtomicBool},
};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat};
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
        let mut text = Vec::new();
        while let Some(directory) = self.take() {
            let outcome = self.digest_of(&directory, &mut text);
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
    fn digest_of(&self, directory: &[u8], text: &mut Vec<u8>) -> Result<(String, Vec<Vec<u8>>)> {
        check_cancel(self.cancel)?;
        text.clear();
        let mut below = Vec::new();
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let name: &[u8] = if directory.is_empty() { b"." } else { directory };
        match rustix::fs::openat(&self.top, OsStr::from_bytes(name), flags, Mode::empty()) {
            Ok(fd) => {
                text.push(b'>');
                push_name(text, directory);
                self.rows(directory, &fd, text, &mut below)?;
            }
            Err(rustix::io::Errno::ACCESS) => {
                text.push(b'!');
                push_name(text, directory);
            }
            Err(error) => {
                let shown = self.root.join(OsStr::from_bytes(directory));
                return Err(Error::io("open", shown, error));
            }
        }
        Ok((hex(&Sha256::digest(&*text)), below))
    }

    fn rows(
        &self,
        directory: &[u8],
        fd: &OwnedFd,
        text: &mut Vec<u8>,
        below: &mut Vec<Vec<u8>>,
    ) -> Result<()> {
        let at = |name: &[u8]| self.root.join(OsStr::from_bytes(&joined(directory, name)));
        let mut rows: Vec<(Vec<u8>, Stat)> = Vec::new();
        for entry in Dir::read_from(fd).map_err(|error| Error::io("list", at(b""), error))? {
            let entry = entry.map_err(|error| Error::io("list", at(b""), error))?;
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            let stat = rustix::fs::statat(fd, name, AtFlags::SYMLINK_NOFOLLOW)
                .map_err(|error| Error::io("stat", at(name.to_bytes()), error))?;
            rows.push((name.to_bytes().to_vec(), stat));
        }
        rows.sort_unstable_by(|left, right| left.0.cmp(&right.0));
        for (name, stat) in rows {
            let mode = i128::from(stat.st_mode & 0o7777);
            let path = joined(directory, &name);
            if self.skip.contains(&path) {
                text.extend_from_slice(b"skipped ");
                text.extend_from_slice(kind_of(&stat).as_bytes());
                text.push(b' ');
                push_name(text, &name);
                continue;
            }
            text.extend_from_slice(kind_of(&stat).as_bytes());
            text.push(b' ');
            match FileType::from_raw_mode(stat.st_mode) {
                FileType::RegularFile => {
                    push_number(text, mode);
                    push_number(text, i128::from(stat.st_size));
                    push_number(text, i128::from(stat.st_dev));
                    push_number(text, i128::from(stat.st_ino));
                    push_number(text, nanoseconds(stat.st_mtime, stat.st_mtime_nsec as i64));
                    push_number(text, nanoseconds(stat.st_ctime, stat.st_ctime_nsec as i64));
                    push_name(text, &name);
                }
                FileType::Symlink => {
                    push_name(text, &name);
                    let link = rustix::fs::readlinkat(fd, name.as_slice(), Vec::new())
                        .map_err(|error| Error::io("read link", at(&name), error))?;
                    push_name(text, link.to_bytes());
                }
                kind => {
                    push_number(text, mode);
                    push_name(text, &name);
                    if kind == FileType::Directory {
                        below.push(path);
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
fn push_number(text: &mut Vec<u8>, number: i128) {
    let mut digits = [0; 40];
    let mut at = digits.len();
    let mut rest = number.unsigned_abs();
    loop {
        at -= 1;
        digits[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    if number < 0 {
        text.push(b'-');
    }
    text.extend_from_slice(&digits[at..]);
    text.push(b' ');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers() {
        let mut text = Vec::new();
        for number in [0, 7, -1, i128::from(u64::MAX), i128::MIN] {
            push_number(&mut text, number);
        }
        let expected = format!("0 7 -1 {} {} ", u64::MAX, i128::MIN);
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
