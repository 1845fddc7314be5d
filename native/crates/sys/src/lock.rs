//! Advisory locks on files (`flock`): held by the open file, so the kernel lets go when the process ends.

use std::{
    fs::File, os::fd::AsFd, os::unix::fs::OpenOptionsExt, path::Path, sync::atomic::AtomicBool,
    time::Duration,
};

use rustix::{fs::FlockOperation, io::Errno};

use crate::{Error, Result, check_cancel};

/// A lock that is held until it is dropped.
pub struct Lock {
    file: File,
}

impl Drop for Lock {
    fn drop(&mut self) {
        unlock(&self.file);
    }
}

/// Closing is not enough: a process that is being started has a copy of the descriptor until it runs its program, and holds the lock with it.
pub fn unlock(file: impl AsFd) {
    // Without locks there is none to let go of.
    let _ = rustix::fs::flock(file, FlockOperation::Unlock);
}

/// The lock, or `None` when somebody else holds it.
///
/// A lock file that its owner removes must be locked again: what we hold would be a file that nobody else sees.
///
/// # Errors
/// `IO`.
pub fn try_lock(path: &Path, shared: bool) -> Result<Option<Lock>> {
    loop {
        let file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o644)
            .open(path)
            .map_err(|error| Error::io("open lock", path, error))?;
        let operation = if shared {
            FlockOperation::NonBlockingLockShared
        } else {
            FlockOperation::NonBlockingLockExclusive
        };
        match rustix::fs::flock(&file, operation) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => return Ok(None),
            Err(Errno::INTR) => continue,
            Err(error) => return Err(Error::io("lock", path, error)),
        }
        let held = rustix::fs::fstat(&file).map_err(|error| Error::io("stat", path, error))?;
        match rustix::fs::stat(path) {
            Ok(named) if named.st_ino == held.st_ino && named.st_dev == held.st_dev => {
                return Ok(Some(Lock { file }));
            }
            Ok(_) | Err(Errno::NOENT) => {}
            Err(error) => return Err(Error::io("stat", path, error)),
        }
    }
}

/// Waits for the lock. Polls, because a thread that sleeps in `flock` cannot be cancelled.
///
/// # Errors
/// `IO`, `CANCELLED`.
pub fn lock(path: &Path, shared: bool, cancel: &AtomicBool) -> Result<Lock> {
    let mut pause = Duration::from_millis(1);
    loop {
        check_cancel(cancel)?;
        if let Some(lock) = try_lock(path, shared)? {
            return Ok(lock);
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(50));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shared_and_exclusive() {
        let path = std::env::temp_dir().join(format!("tsbuild-lock-{}", std::process::id()));
        let first = try_lock(&path, true).unwrap().unwrap();
        let second = try_lock(&path, true).unwrap().unwrap();
        assert!(try_lock(&path, false).unwrap().is_none());
        drop((first, second));
        let held = try_lock(&path, false).unwrap().unwrap();
        assert_eq!(lock(&path, false, &AtomicBool::new(true)).err().unwrap().code, "CANCELLED");
        // Removed by its owner: the next one gets a new file, not the old one.
        std::fs::remove_file(&path).unwrap();
        assert!(try_lock(&path, false).unwrap().is_some());
        drop(held);
        std::fs::remove_file(&path).unwrap();
    }

    #[test]
    fn nobody_keeps_it_by_a_copy() {
        let path = std::env::temp_dir().join(format!("tsbuild-lock-copy-{}", std::process::id()));
        let held = try_lock(&path, false).unwrap().unwrap();
        // As a process has one that is being started.
        let copy = held.file.try_clone().unwrap();
        drop(held);
        assert!(try_lock(&path, false).unwrap().is_some());
        drop(copy);
        std::fs::remove_file(&path).unwrap();
    }
}
