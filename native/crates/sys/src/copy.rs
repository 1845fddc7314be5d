//! Copies files, directories and links into a root without ever leaving it.

use std::{
    fs::File,
    io::{Read, Write},
    os::fd::{AsFd, OwnedFd},
    path::{Path, PathBuf},
    sync::atomic::AtomicBool,
};

use rustix::{
    fs::{AtFlags, CWD, FileType, Mode, OFlags, Stat, Timespec, Timestamps},
    io::Errno,
};

use crate::{
    Error, Result, check_cancel,
    hash::nanoseconds,
    root::{Root, normal, set_owner},
};

/// What a [`CopyEntry`] makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntryKind {
    /// A regular file.
    File,
    /// A directory; one that exists keeps its contents.
    Directory,
    /// A symbolic link.
    Symlink,
}

/// What a source was when it was hashed.
#[derive(Debug, Clone, Copy)]
pub struct Expectation {
    /// Bytes.
    pub size: u64,
    /// Nanoseconds since the epoch.
    pub mtime_ns: i128,
    /// Nanoseconds since the epoch.
    pub ctime_ns: i128,
}

/// One thing to copy.
#[derive(Debug, Clone)]
pub struct CopyEntry {
    /// Absolute path outside of the root.
    pub source: PathBuf,
    /// Path below the root.
    pub destination: PathBuf,
    /// What to make.
    pub kind: EntryKind,
    /// Target for a symlink.
    pub link: Option<PathBuf>,
    /// Absent keeps the source's.
    pub mode: Option<u32>,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Absent keeps the source's.
    pub mtime_ns: Option<i128>,
    /// Whether a source that is a link is followed.
    pub follow: bool,
    /// Whether `user.*` attributes and file capabilities are carried along.
    pub xattrs: bool,
    /// The source must still be this.
    pub expect: Option<Expectation>,
}

/// Copies in order. Missing parents are made, 0755 and owned by root; directories get their times last.
///
/// # Errors
/// `IO`, `CANCELLED`, `SOURCE_CHANGED`, `NOT_A_DIRECTORY`, `IS_A_DIRECTORY` (a file would replace a directory).
pub fn copy_into(
    root: &Path,
    entries: &[CopyEntry],
    cancel: &AtomicBool,
    progress: &mut dyn FnMut(u64),
) -> Result<()> {
    let root = Root::open(root)?;
    let mut directory_times: Vec<(PathBuf, i128)> = Vec::new();
    let mut done = 0;
    // The parent of the entry before: siblings follow each other.
    let mut last_parent: Option<(PathBuf, OwnedFd)> = None;
    for entry in entries {
        check_cancel(cancel)?;
        if entry.kind == EntryKind::Directory {
            let mtime = copy_directory(&root, entry)?;
            directory_times.push((entry.destination.clone(), mtime));
            continue;
        }
        let clean = normal(&entry.destination);
        let Some(name) = clean.file_name() else {
            return Err(Error::of(
                "IS_A_DIRECTORY",
                &entry.destination,
                "a file cannot replace the root",
            ));
        };
        let parent_path = clean.parent().unwrap_or(Path::new("")).to_owned();
        if last_parent.as_ref().is_none_or(|(path, _)| *path != parent_path) {
            last_parent =
                Some((parent_path.clone(), root.make_directories(&parent_path, 0o755, 0, 0)?));
        }
        let (_, parent) = last_parent.as_ref().expect("just set");
        let shown = root.shown(&clean);
        remove_existing(parent, Path::new(name), &shown)?;
        match entry.kind {
            EntryKind::Symlink => make_link(parent, Path::new(name), entry, &shown)?,
            EntryKind::File => {
                done += copy_file(parent, Path::new(name), entry, &shown, cancel)?;
                progress(done);
            }
            EntryKind::Directory => unreachable!("handled above"),
        }
    }
    for (path, mtime) in directory_times.iter().rev() {
        let fd = root
            .open_at(path, OFlags::RDONLY | OFlags::DIRECTORY)
            .map_err(|error| Error::io("open", root.shown(path), error))?;
        set_times(&fd, *mtime)
            .map_err(|error| Error::io("set times of", root.shown(path), error))?;
    }
    Ok(())
}

fn copy_directory(root: &Root, entry: &CopyEntry) -> Result<i128> {
    let shown = root.shown(&entry.destination);
    let needs_source = entry.mode.is_none() || entry.mtime_ns.is_none();
    let source = if needs_source { Some(stat_source(entry)?) } else { None };
    let mode =
        entry.mode.unwrap_or_else(|| source.as_ref().map_or(0o755, |stat| stat.st_mode & 0o7777));
    let clean = normal(&entry.destination);
    if !clean.as_os_str().is_empty() {
        let (parent, name) = root.parent_of(&clean, true)?;
        // What is not a directory makes way, but a link to one is followed, as the image's programs would.
        if root.open_at(&clean, OFlags::PATH | OFlags::DIRECTORY).is_err() {
            remove_existing(&parent, Path::new(&name), &shown)?;
        }
    }
    root.make_directories(&clean, mode, entry.uid, entry.gid)?;
    let fd = root
        .open_at(&clean, OFlags::RDONLY | OFlags::DIRECTORY)
        .map_err(|error| Error::io("open", &shown, error))?;
    set_owner(&fd, entry.uid, entry.gid)
        .map_err(|error| Error::io("change owner of", &shown, error))?;
    rustix::fs::fchmod(&fd, Mode::from_raw_mode(mode & 0o7777))
        .map_err(|error| Error::io("change mode of", &shown, error))?;
    Ok(entry.mtime_ns.unwrap_or_else(|| source.as_ref().map_or(0, mtime_of)))
}

fn make_link(parent: &OwnedFd, name: &Path, entry: &CopyEntry, shown: &Path) -> Result<()> {
    let target = match &entry.link {
        Some(target) => target.clone(),
        None => std::fs::read_link(&entry.source)
            .map_err(|error| Error::io("read link", &entry.source, error))?,
    };
    rustix::fs::symlinkat(&target, parent, name)
        .map_err(|error| Error::io("make link", shown, error))?;
    rustix::fs::chownat(
        parent,
        name,
        Some(rustix::fs::Uid::from_raw(entry.uid)),
        Some(rustix::fs::Gid::from_raw(entry.gid)),
        AtFlags::SYMLINK_NOFOLLOW,
    )
    .map_err(|error| Error::io("change owner of", shown, error))?;
    let mtime = match entry.mtime_ns {
        Some(mtime) => mtime,
        None => mtime_of(&stat_source(entry)?),
    };
    rustix::fs::utimensat(parent, name, &timestamps(mtime), AtFlags::SYMLINK_NOFOLLOW)
        .map_err(|error| Error::io("set times of", shown, error))
}

fn copy_file(
    parent: &OwnedFd,
    name: &Path,
    entry: &CopyEntry,
    shown: &Path,
    cancel: &AtomicBool,
) -> Result<u64> {
    let mut flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    if !entry.follow {
        flags |= OFlags::NOFOLLOW;
    }
    let source = rustix::fs::open(&entry.source, flags, Mode::empty()).map_err(|error| {
        match (error, entry.expect) {
            // It was a file when it was hashed.
            (Errno::NOENT | Errno::LOOP, Some(_)) => changed(entry),
            _ => Error::io("read", &entry.source, error),
        }
    })?;
    let stat =
        rustix::fs::fstat(&source).map_err(|error| Error::io("stat", &entry.source, error))?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(changed(entry));
    }
    check_expectation(entry, &stat)?;
    let target = rustix::fs::openat(
        parent,
        name,
        OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC,
        Mode::from_raw_mode(0o600),
    )
    .map_err(|error| Error::io("create", shown, error))?;
    let size = copy_bytes(&source, &target, stat.st_size as u64, entry, shown, cancel)?;
    if entry.expect.is_some() {
        let after =
            rustix::fs::fstat(&source).map_err(|error| Error::io("stat", &entry.source, error))?;
        check_expectation(entry, &after)?;
        if size != after.st_size as u64 {
            return Err(changed(entry));
        }
    }
    // Owner first: changing it clears the set-id bits and the capabilities.
    set_owner(&target, entry.uid, entry.gid)
        .map_err(|error| Error::io("change owner of", shown, error))?;
    let mode = entry.mode.unwrap_or(stat.st_mode & 0o7777);
    rustix::fs::fchmod(&target, Mode::from_raw_mode(mode & 0o7777))
        .map_err(|error| Error::io("change mode of", shown, error))?;
    if entry.xattrs {
        copy_xattrs(&source, &target)
            .map_err(|error| Error::io("copy attributes to", shown, error))?;
    }
    set_times(&target, entry.mtime_ns.unwrap_or_else(|| mtime_of(&stat)))
        .map_err(|error| Error::io("set times of", shown, error))?;
    Ok(size)
}

/// Cloned where the filesystem can, else copied in the kernel, else by hand.
fn copy_bytes(
    source: &OwnedFd,
    target: &OwnedFd,
    size: u64,
    entry: &CopyEntry,
    shown: &Path,
    cancel: &AtomicBool,
) -> Result<u64> {
    const CHUNK_BYTES: usize = 8 * 1024 * 1024;
    if size > 0 && rustix::fs::ioctl_ficlone(target, source).is_ok() {
        return Ok(size);
    }
    let mut done = 0;
    loop {
        check_cancel(cancel)?;
        match rustix::fs::copy_file_range(source, None, target, None, CHUNK_BYTES) {
            Ok(0) => break,
            Ok(count) => done += count as u64,
            Err(Errno::INTR) => {}
            Err(Errno::XDEV | Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP | Errno::PERM)
                if done == 0 =>
            {
                break;
            }
            Err(error) => return Err(Error::io("write", shown, error)),
        }
    }
    if done >= size && size > 0 {
        return Ok(done);
    }
    // Files of procfs and the like claim no size, and some filesystems refuse the call: read to the end.
    let mut reader = File::from(
        source
            .as_fd()
            .try_clone_to_owned()
            .map_err(|error| Error::io("read", &entry.source, error))?,
    );
    let mut writer = File::from(
        target.as_fd().try_clone_to_owned().map_err(|error| Error::io("write", shown, error))?,
    );
    let mut buffer = vec![0; 256 * 1024];
    loop {
        check_cancel(cancel)?;
        let count =
            reader.read(&mut buffer).map_err(|error| Error::io("read", &entry.source, error))?;
        if count == 0 {
            return Ok(done);
        }
        writer.write_all(&buffer[..count]).map_err(|error| Error::io("write", shown, error))?;
        done += count as u64;
    }
}

fn copy_xattrs(source: &OwnedFd, target: &OwnedFd) -> std::result::Result<(), Errno> {
    let mut names = vec![0u8; 64 * 1024];
    let count = match rustix::fs::flistxattr(source, &mut names[..]) {
        Ok(count) => count,
        Err(Errno::OPNOTSUPP) => return Ok(()),
        Err(error) => return Err(error),
    };
    for name in names[..count].split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        let carried = name == b"security.capability"
            || (name.starts_with(b"user.") && !name.starts_with(b"user.overlay."));
        if !carried {
            continue;
        }
        let mut value = vec![0u8; 64 * 1024];
        let size = rustix::fs::fgetxattr(source, name, &mut value[..])?;
        rustix::fs::fsetxattr(target, name, &value[..size], rustix::fs::XattrFlags::empty())?;
    }
    Ok(())
}

/// Makes a directory look like another: owner, mode, extended attributes, times.
///
/// # Errors
/// `IO`.
pub fn copy_attributes(source: &Path, target: &Path) -> Result<()> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let from = rustix::fs::open(source, flags, Mode::empty())
        .map_err(|error| Error::io("open", source, error))?;
    let to = rustix::fs::open(target, flags, Mode::empty())
        .map_err(|error| Error::io("open", target, error))?;
    let stat = rustix::fs::fstat(&from).map_err(|error| Error::io("stat", source, error))?;
    set_owner(&to, stat.st_uid, stat.st_gid)
        .map_err(|error| Error::io("change owner of", target, error))?;
    rustix::fs::fchmod(&to, Mode::from_raw_mode(stat.st_mode & 0o7777))
        .map_err(|error| Error::io("change mode of", target, error))?;
    copy_xattrs(&from, &to).map_err(|error| Error::io("copy attributes to", target, error))?;
    set_times(&to, mtime_of(&stat)).map_err(|error| Error::io("set times of", target, error))
}

/// Sets both times of a file or directory; a link is not followed.
///
/// # Errors
/// `IO`.
pub fn set_mtime(path: &Path, mtime_ns: i128) -> Result<()> {
    rustix::fs::utimensat(CWD, path, &timestamps(mtime_ns), AtFlags::SYMLINK_NOFOLLOW)
        .map_err(|error| Error::io("set times of", path, error))
}

/// Sets an extended attribute; links are not followed.
///
/// # Errors
/// `IO`.
pub fn set_xattr(path: &Path, name: &str, value: &[u8]) -> Result<()> {
    rustix::fs::lsetxattr(path, name, value, rustix::fs::XattrFlags::empty())
        .map_err(|error| Error::io("set attribute of", path, error))
}

fn remove_existing(parent: &OwnedFd, name: &Path, shown: &Path) -> Result<()> {
    match rustix::fs::unlinkat(parent, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(Errno::ISDIR) => Err(Error::of(
            "IS_A_DIRECTORY",
            shown,
            format!("a directory is in the way at '{}'", shown.display()),
        )),
        Err(error) => Err(Error::io("replace", shown, error)),
    }
}

fn stat_source(entry: &CopyEntry) -> Result<Stat> {
    let flags = if entry.follow { AtFlags::empty() } else { AtFlags::SYMLINK_NOFOLLOW };
    rustix::fs::statat(CWD, &entry.source, flags)
        .map_err(|error| Error::io("stat", &entry.source, error))
}

fn check_expectation(entry: &CopyEntry, stat: &Stat) -> Result<()> {
    let Some(expect) = entry.expect else { return Ok(()) };
    let same = stat.st_size as u64 == expect.size
        && mtime_of(stat) == expect.mtime_ns
        && nanoseconds(stat.st_ctime, stat.st_ctime_nsec as i64) == expect.ctime_ns;
    if same { Ok(()) } else { Err(changed(entry)) }
}

fn changed(entry: &CopyEntry) -> Error {
    Error::of(
        "SOURCE_CHANGED",
        &entry.source,
        format!("'{}' changed while the build read it", entry.source.display()),
    )
}

fn mtime_of(stat: &Stat) -> i128 {
    nanoseconds(stat.st_mtime, stat.st_mtime_nsec as i64)
}

/// Both times, in nanoseconds since the epoch.
pub fn timestamps(mtime_ns: i128) -> Timestamps {
    let time = Timespec {
        tv_sec: i64::try_from(mtime_ns.div_euclid(1_000_000_000)).unwrap_or(0),
        tv_nsec: i64::try_from(mtime_ns.rem_euclid(1_000_000_000)).unwrap_or(0) as _,
    };
    Timestamps { last_access: time, last_modification: time }
}

fn set_times(fd: impl AsFd, mtime_ns: i128) -> std::result::Result<(), Errno> {
    rustix::fs::futimens(fd, &timestamps(mtime_ns))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

    fn entry(source: &Path, destination: &str, kind: EntryKind) -> CopyEntry {
        CopyEntry {
            source: source.to_owned(),
            destination: destination.into(),
            kind,
            link: None,
            mode: Some(0o644),
            uid: rustix::process::geteuid().as_raw(),
            gid: rustix::process::getegid().as_raw(),
            mtime_ns: Some(0),
            follow: false,
            xattrs: false,
            expect: None,
        }
    }

    #[test]
    fn copies_replace_and_never_escape() {
        let base = std::env::temp_dir().join(format!("tsbuild-copy-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&base);
        let (root, outside) = (base.join("root"), base.join("outside"));
        std::fs::create_dir_all(root.join("usr/lib")).unwrap();
        std::fs::create_dir_all(&outside).unwrap();
        std::fs::write(outside.join("source"), "hello").unwrap();
        std::fs::write(outside.join("victim"), "safe").unwrap();
        symlink("usr/lib", root.join("lib")).unwrap();
        symlink(&outside, root.join("escape")).unwrap();
        symlink(outside.join("victim"), root.join("usr/link")).unwrap();
        let cancel = AtomicBool::new(false);
        let source = outside.join("source");
        let mut seen = 0;
        copy_into(
            &root,
            &[
                entry(&source, "/lib/a", EntryKind::File),
                // A link in the last place is replaced, not followed.
                entry(&source, "/usr/link", EntryKind::File),
                CopyEntry {
                    mode: Some(0o700),
                    mtime_ns: Some(1_500_000_000),
                    ..entry(&outside, "/new/dir", EntryKind::Directory)
                },
                entry(&source, "/new/dir/b", EntryKind::File),
                CopyEntry {
                    link: Some("../x".into()),
                    ..entry(&source, "/new/l", EntryKind::Symlink)
                },
            ],
            &cancel,
            &mut |bytes| seen = bytes,
        )
        .unwrap();
        assert_eq!(seen, 15);
        assert_eq!(std::fs::read(root.join("usr/lib/a")).unwrap(), b"hello");
        assert_eq!(std::fs::metadata(root.join("usr/lib/a")).unwrap().mtime(), 0);
        assert_eq!(std::fs::read(outside.join("victim")).unwrap(), b"safe");
        assert_eq!(std::fs::read(root.join("usr/link")).unwrap(), b"hello");
        let made = std::fs::metadata(root.join("new/dir")).unwrap();
        assert_eq!(
            (made.permissions().mode() & 0o7777, made.mtime(), made.mtime_nsec()),
            (0o700, 1, 500_000_000)
        );
        assert_eq!(std::fs::read_link(root.join("new/l")).unwrap(), Path::new("../x"));
        let escaped = copy_into(
            &root,
            &[entry(&source, "/escape/file", EntryKind::File)],
            &cancel,
            &mut |_| {},
        );
        assert!(escaped.is_err() && !outside.join("file").exists());
        let blocked =
            copy_into(&root, &[entry(&source, "/usr", EntryKind::File)], &cancel, &mut |_| {});
        assert_eq!(blocked.unwrap_err().code, "IS_A_DIRECTORY");
        std::fs::remove_dir_all(base).unwrap();
    }

    #[test]
    fn notices_change() {
        let base = std::env::temp_dir().join(format!("tsbuild-copy-change-{}", std::process::id()));
        std::fs::create_dir_all(base.join("root")).unwrap();
        let source = base.join("source");
        std::fs::write(&source, "hello").unwrap();
        let stat = rustix::fs::stat(&source).unwrap();
        let expect = Expectation {
            size: 5,
            mtime_ns: mtime_of(&stat),
            ctime_ns: nanoseconds(stat.st_ctime, stat.st_ctime_nsec as i64),
        };
        let cancel = AtomicBool::new(false);
        let entry = CopyEntry { expect: Some(expect), ..entry(&source, "/a", EntryKind::File) };
        copy_into(&base.join("root"), std::slice::from_ref(&entry), &cancel, &mut |_| {}).unwrap();
        std::fs::write(&source, "other").unwrap();
        let error =
            copy_into(&base.join("root"), std::slice::from_ref(&entry), &cancel, &mut |_| {})
                .unwrap_err();
        assert_eq!(error.code, "SOURCE_CHANGED");
        std::fs::remove_file(&source).unwrap();
        let error = copy_into(&base.join("root"), &[entry], &cancel, &mut |_| {}).unwrap_err();
        assert_eq!(error.code, "SOURCE_CHANGED");
        std::fs::remove_dir_all(base).unwrap();
    }
}
