//! Digests of files, with the facts that tell later whether the file is still the same.

use std::{
    fs::File,
    io::Read,
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use sha2::{Digest, Sha256};

use crate::{Error, Result, check_cancel};

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

const BUFFER_BYTES: usize = 256 * 1024;

/// Lower-case hex SHA-256.
pub fn sha256_hex(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// Hashes a regular file, following links.
///
/// # Errors
/// `IO`, `IS_A_DIRECTORY`, `CANCELLED`.
pub fn hash_file(path: &Path, cancel: &AtomicBool) -> Result<FileFacts> {
    let mut buffer = vec![0; BUFFER_BYTES];
    hash_with(path, cancel, &mut buffer)
}

fn hash_with(path: &Path, cancel: &AtomicBool, buffer: &mut [u8]) -> Result<FileFacts> {
    // A FIFO must not hang us.
    let mut file = File::options()
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
    let mut hasher = Sha256::new();
    let mut size = 0;
    loop {
        check_cancel(cancel)?;
        let count = file.read(buffer).map_err(|error| Error::io("read", path, error))?;
        if count == 0 {
            break;
        }
        hasher.update(&buffer[..count]);
        size += count as u64;
    }
    Ok(FileFacts {
        sha256: hex(&hasher.finalize()),
        size,
        mode: stat.mode() & 0o7777,
        dev: stat.dev(),
        ino: stat.ino(),
        mtime_ns: nanoseconds(stat.mtime(), stat.mtime_nsec()),
        ctime_ns: nanoseconds(stat.ctime(), stat.ctime_nsec()),
    })
}

/// Hashes many files on all cores; the result has the order of `paths`.
///
/// # Errors
/// The first failure in the order of `paths` that was met.
pub fn hash_files(paths: &[PathBuf], cancel: &AtomicBool) -> Result<Vec<FileFacts>> {
    let threads =
        std::thread::available_parallelism().map_or(1, usize::from).min(paths.len()).min(16);
    let next = AtomicUsize::new(0);
    let stop = AtomicBool::new(false);
    let results: Mutex<Vec<Option<Result<FileFacts>>>> =
        Mutex::new((0..paths.len()).map(|_| None).collect());
    let work = || {
        let mut buffer = vec![0; BUFFER_BYTES];
        while !stop.load(Ordering::Relaxed) {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(path) = paths.get(index) else { break };
            let result = hash_with(path, cancel, &mut buffer);
            if result.is_err() {
                stop.store(true, Ordering::Relaxed);
            }
            results.lock().expect("no thread panics with the lock held")[index] = Some(result);
        }
    };
    if threads <= 1 {
        work();
    } else {
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(work);
            }
        });
    }
    let mut facts = Vec::with_capacity(paths.len());
    let mut skipped = false;
    for result in results.into_inner().expect("all threads ended") {
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
