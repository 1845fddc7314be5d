//! Digests of files, with the facts that tell later whether the file is still the same.

use std::{
    fs::{File, Metadata},
    io::Read,
    ops::Range,
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use sha2::{Digest, Sha256};

use crate::{
    Error, Result, check_cancel,
    sha256::{self, BLOCK_BYTES},
};

/// What was read, and what the file was when it was read.
#[derive(Debug, Clone)]
pub struct FileFacts {
    /// Lower-case hex.
    pub sha256: String,
    /// Bytes that were hashed.
    pub size: u64,
    /// Permission bits.
    pub mode: u32,
    /// Device.
    pub dev: u64,
    /// Inode.
    pub ino: u64,
    /// Nanoseconds since the epoch.
    pub mtime_ns: i128,
    /// Nanoseconds since the epoch.
    pub ctime_ns: i128,
}

/// Two of them stay in a core's second-level cache.
const BUFFER_BYTES: usize = 128 * 1024;

/// Lower-case hex SHA-256.
pub fn sha256_hex(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// Hashes a regular file, following links.
///
/// # Errors
/// `IO`, `IS_A_DIRECTORY`, `CANCELLED`.
pub fn hash_file(path: &Path, cancel: &AtomicBool) -> Result<FileFacts> {
    let mut file = OpenFile::open(path)?;
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        let count = file.read(&mut buffer, cancel)?;
        if count == 0 {
            return Ok(file.finish());
        }
        file.hash.update(&buffer[..count]);
    }
}

/// A file that is being hashed.
struct OpenFile<'a> {
    path: &'a Path,
    file: File,
    stat: Metadata,
    hash: Sha256,
    size: u64,
}

impl<'a> OpenFile<'a> {
    fn open(path: &'a Path) -> Result<Self> {
        // A FIFO must not hang us.
        let file = File::options()
            .read(true)
            .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY)
            .open(path)
            .map_err(|error| Error::io("read", path, error))?;
        let stat = file.metadata().map_err(|error| Error::io("stat", path, error))?;
        if !stat.is_file() {
            return Err(Error::of(
                "IS_A_DIRECTORY",
                path,
                format!("'{}' is not a regular file", path.display()),
            ));
        }
        Ok(Self { path, file, stat, hash: Sha256::new(), size: 0 })
    }

    /// What comes next, which the caller hashes; 0 at the end.
    fn read(&mut self, buffer: &mut [u8], cancel: &AtomicBool) -> Result<usize> {
        check_cancel(cancel)?;
        let count = self.file.read(buffer).map_err(|error| Error::io("read", self.path, error))?;
        self.size += count as u64;
        Ok(count)
    }

    fn finish(self) -> FileFacts {
        let Self { stat, hash, size, .. } = self;
        FileFacts {
            sha256: hex(&hash.finalize()),
            size,
            mode: stat.mode() & 0o7777,
            dev: stat.dev(),
            ino: stat.ino(),
            mtime_ns: nanoseconds(stat.mtime(), stat.mtime_nsec()),
            ctime_ns: nanoseconds(stat.ctime(), stat.ctime_nsec()),
        }
    }
}

/// Hashes many files on all cores, two at a time on each; the result has the order of `paths`.
///
/// # Errors
/// The first failure in the order of `paths` that was met.
pub fn hash_files(paths: &[PathBuf], cancel: &AtomicBool) -> Result<Vec<FileFacts>> {
    let threads =
        std::thread::available_parallelism().map_or(1, usize::from).min(paths.len()).min(16);
    let queue = Queue {
        paths,
        cancel,
        next: AtomicUsize::new(0),
        failed: AtomicBool::new(false),
        results: Mutex::new((0..paths.len()).map(|_| None).collect()),
    };
    if threads <= 1 {
        queue.work();
    } else {
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| queue.work());
            }
        });
    }
    let mut facts = Vec::with_capacity(paths.len());
    let mut skipped = false;
    for result in queue.results.into_inner().expect("all threads ended") {
        match result {
            Some(Ok(one)) if !skipped => facts.push(one),
            Some(Ok(_)) => {}
            Some(Err(error)) => return Err(error),
            None => skipped = true,
        }
    }
    debug_assert!(!skipped, "a gap means that a failure was returned above");
    Ok(facts)
}

/// Files that threads take, one after the other, and what they found.
struct Queue<'a> {
    paths: &'a [PathBuf],
    cancel: &'a AtomicBool,
    next: AtomicUsize,
    failed: AtomicBool,
    results: Mutex<Vec<Option<Result<FileFacts>>>>,
}

impl<'a> Queue<'a> {
    fn take(&self) -> Option<(usize, &'a Path)> {
        if self.failed.load(Ordering::Relaxed) {
            return None;
        }
        let index = self.next.fetch_add(1, Ordering::Relaxed);
        self.paths.get(index).map(|path| (index, path.as_path()))
    }

    fn put(&self, index: usize, result: Result<FileFacts>) {
        if result.is_err() {
            self.failed.store(true, Ordering::Relaxed);
        }
        self.results.lock().expect("no thread panics with the lock held")[index] = Some(result);
    }

    fn work(&self) {
        let (mut first, mut second) = (Lane::new(), Lane::new());
        loop {
            match (first.fill(self), second.fill(self)) {
                (None, None) => break,
                (Some(all), None) => first.update(all),
                (None, Some(all)) => second.update(all),
                // As long as both hashes are at the end of a block, both go on at once.
                (Some(one), Some(other)) => match one.min(other) / BLOCK_BYTES * BLOCK_BYTES {
                    0 if one < other => first.update(one),
                    0 => second.update(other),
                    both => sha256::update_both([first.take(both), second.take(both)]),
                },
            }
        }
    }
}

/// One of the files that a thread hashes at a time.
struct Lane<'a> {
    file: Option<(usize, OpenFile<'a>)>,
    buffer: Vec<u8>,
    /// Of the buffer: what was read and not yet hashed.
    waiting: Range<usize>,
}

impl<'a> Lane<'a> {
    fn new() -> Self {
        Self { file: None, buffer: vec![0; BUFFER_BYTES], waiting: 0..0 }
    }

    /// Goes on until there is something to hash, with the next file where one has ended, and gives how much. `None`: there are no more files.
    fn fill(&mut self, queue: &Queue<'a>) -> Option<usize> {
        while self.waiting.is_empty() {
            let Some((index, file)) = &mut self.file else {
                let (index, path) = queue.take()?;
                match OpenFile::open(path) {
                    Ok(file) => self.file = Some((index, file)),
                    Err(error) => queue.put(index, Err(error)),
                }
                continue;
            };
            match file.read(&mut self.buffer, queue.cancel) {
                Ok(0) => {
                    if let Some((index, file)) = self.file.take() {
                        queue.put(index, Ok(file.finish()));
                    }
                }
                Ok(count) => self.waiting = 0..count,
                Err(error) => {
                    queue.put(*index, Err(error));
                    self.file = None;
                }
            }
        }
        Some(self.waiting.len())
    }

    /// The hash of the file, and so many of the bytes that wait for it.
    fn take(&mut self, count: usize) -> sha256::Update<'_> {
        let start = self.waiting.start;
        self.waiting.start += count;
        let (_, file) = self.file.as_mut().expect("what waits is of a file");
        (&mut file.hash, &self.buffer[start..start + count])
    }

    fn update(&mut self, count: usize) {
        let (hash, bytes) = self.take(count);
        hash.update(bytes);
    }
}

/// Seconds and nanoseconds as one number.
pub fn nanoseconds(seconds: i64, nanoseconds: i64) -> i128 {
    i128::from(seconds) * 1_000_000_000 + i128::from(nanoseconds)
}

/// Lower case.
pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    bytes
        .iter()
        .flat_map(|byte| [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]])
        .map(char::from)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_all_lengths_are_what_each_is_alone() {
        let directory = std::env::temp_dir().join(format!("tsbuild-lanes-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let around = |length: usize| [length.saturating_sub(1), length, length + 1];
        let lengths: Vec<_> = [0, 64, 128, 5000, BUFFER_BYTES, 3 * BUFFER_BYTES]
            .into_iter()
            .flat_map(around)
            .collect();
        let contents: Vec<_> = lengths
            .iter()
            .flat_map(|length| [vec![*length as u8; *length], vec![7; 1000]])
            .collect();
        let paths: Vec<_> =
            (0..contents.len()).map(|number| directory.join(number.to_string())).collect();
        for (path, content) in paths.iter().zip(&contents) {
            std::fs::write(path, content).unwrap();
        }
        let facts = hash_files(&paths, &AtomicBool::new(false)).unwrap();
        for (facts, content) in facts.iter().zip(&contents) {
            assert_eq!(facts.sha256, sha256_hex(content));
            assert_eq!(facts.size, content.len() as u64);
        }
        let cancelled = hash_files(&paths, &AtomicBool::new(true)).unwrap_err();
        assert_eq!(cancelled.code, "CANCELLED");
        std::fs::remove_dir_all(directory).unwrap();
    }

    #[test]
    fn known_digest_and_order() {
        let directory = std::env::temp_dir().join(format!("tsbuild-hash-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let paths: Vec<_> = (0..40).map(|number| directory.join(format!("{number}"))).collect();
        for (number, path) in paths.iter().enumerate() {
            std::fs::write(path, if number == 7 { "abc".into() } else { number.to_string() })
                .unwrap();
        }
        let cancel = AtomicBool::new(false);
        let facts = hash_files(&paths, &cancel).unwrap();
        assert_eq!(
            facts[7].sha256,
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
        assert_eq!(facts[12].sha256, hash_file(&paths[12], &cancel).unwrap().sha256);
        let missing = hash_files(&[paths[0].clone(), directory.join("none")], &cancel).unwrap_err();
        assert_eq!(missing.path.unwrap(), directory.join("none"));
        assert_eq!(hash_file(&directory, &cancel).unwrap_err().code, "IS_A_DIRECTORY");
        cancel.store(true, Ordering::Relaxed);
        assert_eq!(hash_file(&paths[0], &cancel).unwrap_err().code, "CANCELLED");
        std::fs::remove_dir_all(directory).unwrap();
    }
}
