//! Every entry of a tree, by path, with what a stat says.

use std::{
    ffi::OsStr,
    os::{fd::OwnedFd, unix::ffi::OsStrExt},
    path::Path,
    sync::atomic::AtomicBool,
};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat};

use crate::{Error, Result, check_cancel, hash::nanoseconds};

/// One entry.
#[derive(Debug, Clone)]
pub struct ScanEntry {
    /// Relative to the root, no leading `./`.
    pub path: Vec<u8>,
    /// `file`, `directory`, `symlink`, `fifo`, `socket`, `char` or `block`.
    pub kind: &'static str,
    /// Permission bits.
    pub mode: u32,
    /// Of a file.
    pub size: u64,
    /// Device.
    pub dev: u64,
    /// Inode.
    pub ino: u64,
    /// How many names the inode has.
    pub links: u64,
    /// Nanoseconds since the epoch.
    pub mtime_ns: i128,
    /// Nanoseconds since the epoch.
    pub ctime_ns: i128,
    /// Target of a symlink.
    pub link: Option<Vec<u8>>,
}

impl ScanEntry {
    /// From a stat; `link` is left out.
    pub fn of(path: Vec<u8>, stat: &Stat) -> Self {
        Self {
            path,
            kind: kind_of(stat),
            mode: stat.st_mode & 0o7777,
            size: stat.st_size as u64,
            dev: stat.st_dev,
            ino: stat.st_ino,
            links: stat.st_nlink,
            mtime_ns: nanoseconds(stat.st_mtime, stat.st_mtime_nsec as i64),
            ctime_ns: nanoseconds(stat.st_ctime, stat.st_ctime_nsec as i64),
            link: None,
        }
    }
}

/// The word for what a stat describes.
pub fn kind_of(stat: &Stat) -> &'static str {
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => "file",
        FileType::Directory => "directory",
        FileType::Symlink => "symlink",
        FileType::Fifo => "fifo",
        FileType::Socket => "socket",
        FileType::CharacterDevice => "char",
        _ => "block",
    }
}

/// Every entry below `root`, not itself, sorted by the bytes of its path. Links are not followed.
///
/// # Errors
/// `IO`, `CANCELLED`.
pub fn scan_tree(root: &Path, cancel: &AtomicBool) -> Result<Vec<ScanEntry>> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let top = rustix::fs::open(root, flags, Mode::empty())
        .map_err(|error| Error::io("open", root, error))?;
    let mut entries = Vec::new();
    let mut pending: Vec<Vec<u8>> = Vec::new();
    scan_directory(root, &top, Vec::new(), &mut entries, &mut pending)?;
    while let Some(path) = pending.pop() {
        check_cancel(cancel)?;
        let shown = root.join(OsStr::from_bytes(&path));
        let fd = rustix::fs::openat(
            &top,
            OsStr::from_bytes(&path),
            flags | OFlags::NOFOLLOW,
            Mode::empty(),
        )
        .map_err(|error| Error::io("open", shown, error))?;
        scan_directory(root, &fd, path, &mut entries, &mut pending)?;
    }
    entries.sort_unstable_by(|left, right| left.path.cmp(&right.path));
    Ok(entries)
}

/// What one directory holds.
#[derive(Debug, Default)]
pub struct Listing {
    /// Paths relative to the root, sorted by their bytes.
    pub entries: Vec<ScanEntry>,
    /// Whether this process may not look into it.
    pub denied: bool,
}

/// More do not help: the kernel serialises most of a walk.
pub(crate) const MAX_SCAN_THREADS: usize = 4;
/// Fewer are not worth a thread.
const DIRECTORIES_A_THREAD: usize = 16;

/// The entries of each of `directories`, which are relative to `root`; empty is `root` itself. Not their subdirectories', so
/// that a caller decides level by level where to go. Links are not followed.
///
/// # Errors
/// `IO`, `CANCELLED`. A directory that may not be read is an answer, not an error.
pub fn scan_directories(
    root: &Path,
    directories: &[Vec<u8>],
    cancel: &AtomicBool,
) -> Result<Vec<Listing>> {
    // Only to look names up in: the root need not be readable for that.
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::PATH;
    let top = rustix::fs::open(root, flags, Mode::empty())
        .map_err(|error| Error::io("open", root, error))?;
    let threads = std::thread::available_parallelism()
        .map_or(1, std::num::NonZero::get)
        .min(MAX_SCAN_THREADS)
        .min(directories.len().div_ceil(DIRECTORIES_A_THREAD));
    let mut listings: Vec<Listing> = Vec::new();
    listings.resize_with(directories.len(), Listing::default);
    if threads <= 1 {
        list_each(root, &top, directories, &mut listings, cancel)?;
        return Ok(listings);
    }
    let share = directories.len().div_ceil(threads);
    std::thread::scope(|scope| {
        let workers: Vec<_> = directories
            .chunks(share)
            .zip(listings.chunks_mut(share))
            .map(|(part, into)| {
                let top = &top;
                scope.spawn(move || list_each(root, top, part, into, cancel))
            })
            .collect();
        workers.into_iter().try_for_each(|worker| match worker.join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        })
    })?;
    Ok(listings)
}

fn list_each(
    root: &Path,
    top: &OwnedFd,
    directories: &[Vec<u8>],
    listings: &mut [Listing],
    cancel: &AtomicBool,
) -> Result<()> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    for (directory, listing) in directories.iter().zip(listings) {
        check_cancel(cancel)?;
        let name: &[u8] = if directory.is_empty() { b"." } else { directory };
        match rustix::fs::openat(top, OsStr::from_bytes(name), flags, Mode::empty()) {
            Ok(fd) => {
                let entries = &mut listing.entries;
                scan_directory(root, &fd, directory.clone(), entries, &mut Vec::new())?;
                entries.sort_unstable_by(|left, right| left.path.cmp(&right.path));
            }
            Err(rustix::io::Errno::ACCESS) => listing.denied = true,
            Err(error) => {
                return Err(Error::io("open", root.join(OsStr::from_bytes(directory)), error));
            }
        }
    }
    Ok(())
}

fn scan_directory(
    root: &Path,
    fd: &OwnedFd,
    prefix: Vec<u8>,
    entries: &mut Vec<ScanEntry>,
    pending: &mut Vec<Vec<u8>>,
) -> Result<()> {
    let shown = || root.join(OsStr::from_bytes(&prefix));
    for entry in Dir::read_from(fd).map_err(|error| Error::io("list", shown(), error))? {
        let entry = entry.map_err(|error| Error::io("list", shown(), error))?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        let mut path = prefix.clone();
        if !path.is_empty() {
            path.push(b'/');
        }
        path.extend_from_slice(name.to_bytes());
        let stat = rustix::fs::statat(fd, name, AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|error| Error::io("stat", root.join(OsStr::from_bytes(&path)), error))?;
        let mut row = ScanEntry::of(path, &stat);
        match row.kind {
            "symlink" => {
                let link = rustix::fs::readlinkat(fd, name, Vec::new()).map_err(|error| {
                    Error::io("read link", root.join(OsStr::from_bytes(&row.path)), error)
                })?;
                row.link = Some(link.into_bytes());
            }
            "directory" => pending.push(row.path.clone()),
            _ => {}
        }
        entries.push(row);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sorted_by_path_bytes() {
        let root = std::env::temp_dir().join(format!("tsbuild-scan-{}", std::process::id()));
        std::fs::create_dir_all(root.join("a/b")).unwrap();
        std::fs::write(root.join("a.txt"), "12345").unwrap();
        std::fs::write(root.join(OsStr::from_bytes(b"a/\xff")), "").unwrap();
        std::os::unix::fs::symlink("../x", root.join("a/b/l")).unwrap();
        let entries = scan_tree(&root, &AtomicBool::new(false)).unwrap();
        let paths: Vec<&[u8]> = entries.iter().map(|entry| entry.path.as_slice()).collect();
        assert_eq!(paths, [b"a".as_slice(), b"a.txt", b"a/b", b"a/b/l", b"a/\xff"]);
        assert_eq!(entries[1].size, 5);
        assert_eq!(entries[3].link.as_deref(), Some(b"../x".as_slice()));
        let wanted = [Vec::new(), b"a/b".to_vec()];
        let listings = scan_directories(&root, &wanted, &AtomicBool::new(false)).unwrap();
        let paths: Vec<Vec<&[u8]>> = listings
            .iter()
            .map(|listing| listing.entries.iter().map(|entry| entry.path.as_slice()).collect())
            .collect();
        assert_eq!(paths, [vec![b"a".as_slice(), b"a.txt"], vec![b"a/b/l"]]);
        assert!(scan_directories(&root, &[b"a/b/l".to_vec()], &AtomicBool::new(false)).is_err());
        std::fs::remove_dir_all(root).unwrap();
    }
}
