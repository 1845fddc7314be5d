//! Paths that stay inside a root, whatever symbolic links the image holds.
//!
//! Links are followed as the image's own programs would follow them: absolute ones start at the root, `..` stops there.
//! The kernel does that (`openat2` with `RESOLVE_IN_ROOT`), so that no race with a running program leads outside.

use std::{
    ffi::{OsStr, OsString},
    fs::File,
    io::Read,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::{Component, Path, PathBuf},
};

use rustix::{
    fs::{AtFlags, CWD, FileType, Gid, Mode, OFlags, ResolveFlags, Stat, Uid},
    io::Errno,
};

use tsbuild_owners::Ledger;

use crate::{
    Error, Result,
    copy::{owner_error, timestamps},
};

/// An open root directory.
pub struct Root {
    fd: OwnedFd,
    path: PathBuf,
}

impl Root {
    /// Opens `path` as a root.
    ///
    /// # Errors
    /// `IO` when it is not a directory that can be opened.
    pub fn open(path: &Path) -> Result<Self> {
        let fd = rustix::fs::open(
            path,
            OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
            Mode::empty(),
        )
        .map_err(|error| Error::io("open", path, error))?;
        Ok(Self { fd, path: path.to_owned() })
    }

    /// The root itself.
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// The path on the host for display.
    pub fn shown(&self, path: &Path) -> PathBuf {
        self.path.join(relative(path))
    }

    /// Where below the root an open descriptor is, as bytes without slashes at either end.
    ///
    /// # Errors
    /// The kernel's.
    pub fn path_of(&self, fd: impl AsFd) -> std::result::Result<Vec<u8>, Errno> {
        let (real, base) = (fd_path(fd.as_fd())?, fd_path(self.fd.as_fd())?);
        let inside = real.strip_prefix(&base).map_err(|_| Errno::XDEV)?;
        Ok(inside.as_os_str().as_bytes().to_vec())
    }

    /// Opens a path below the root; every link is resolved inside it.
    ///
    /// # Errors
    /// The kernel's.
    pub fn open_at(&self, path: &Path, flags: OFlags) -> std::result::Result<OwnedFd, Errno> {
        self.open_as(path, flags, ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS)
    }

    /// Opens what is at a path below the root, to be named and not to be read. No link on the way is followed.
    ///
    /// # Errors
    /// The kernel's; `ELOOP` for a link.
    pub fn open_without_links(&self, path: &Path) -> std::result::Result<OwnedFd, Errno> {
        self.open_as(path, OFlags::PATH, ResolveFlags::IN_ROOT | ResolveFlags::NO_SYMLINKS)
    }

    fn open_as(
        &self,
        path: &Path,
        flags: OFlags,
        resolve: ResolveFlags,
    ) -> std::result::Result<OwnedFd, Errno> {
        let path = relative(path);
        let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        loop {
            // The kernel answers EAGAIN when a rename elsewhere made it unsure about `..`.
            match rustix::fs::openat2(
                &self.fd,
                path,
                flags | OFlags::CLOEXEC,
                Mode::empty(),
                resolve,
            ) {
                Err(Errno::AGAIN | Errno::INTR) => {}
                other => return other,
            }
        }
    }

    /// The directory that `path` lies in, and its last name. Missing parents are made, 0755 and owned by root.
    ///
    /// # Errors
    /// `IO`; `NOT_A_DIRECTORY` when a parent is something else or a dangling link.
    pub fn parent_of(&self, path: &Path, make: bool) -> Result<(OwnedFd, OsString)> {
        let clean = normal(path);
        let Some(name) = clean.file_name() else {
            return Err(Error::of("IS_A_DIRECTORY", path, "the root itself cannot be replaced"));
        };
        let parent = clean.parent().unwrap_or(Path::new(""));
        let fd = if make {
            self.make_directories(parent, 0o755, 0, 0)?
        } else {
            self.open_at(parent, OFlags::PATH | OFlags::DIRECTORY)
                .map_err(|error| Error::io("open", self.shown(parent), error))?
        };
        Ok((fd, name.to_owned()))
    }

    /// Makes a directory and its parents; what exists stays as it is. The last gets `mode` and the owner, parents 0755 root.
    ///
    /// # Errors
    /// `IO`; `NOT_A_DIRECTORY`.
    pub fn make_directories(&self, path: &Path, mode: u32, uid: u32, gid: u32) -> Result<OwnedFd> {
        let new = |last| {
            let (mode, uid, gid) = if last { (mode, uid, gid) } else { (0o755, 0, 0) };
            NewDirectory { mode, uid, gid, mtime_ns: None }
        };
        self.make(path, &new, None)
    }

    /// The same, and the parents that are made are made alike. An owner that the disk cannot have goes to the ledger.
    ///
    /// # Errors
    /// `IO`; `NOT_A_DIRECTORY`, `NEEDS_IDS`.
    pub fn make_directories_alike(
        &self,
        path: &Path,
        new: NewDirectory,
        ledger: Option<&mut Ledger>,
    ) -> Result<OwnedFd> {
        self.make(path, &|_| new, ledger)
    }

    fn make(
        &self,
        path: &Path,
        new: &dyn Fn(bool) -> NewDirectory,
        mut ledger: Option<&mut Ledger>,
    ) -> Result<OwnedFd> {
        let clean = normal(path);
        let flags = OFlags::PATH | OFlags::DIRECTORY;
        match self.open_at(&clean, flags) {
            Ok(fd) => return Ok(fd),
            Err(Errno::NOENT) => {}
            Err(Errno::NOTDIR) => return Err(not_a_directory(&clean, "not a directory")),
            Err(error) => return Err(Error::io("open", self.shown(&clean), error)),
        }
        let mut current = self
            .open_at(Path::new("."), flags)
            .map_err(|error| Error::io("open", &self.path, error))?;
        let mut walked = PathBuf::new();
        let mut times: Vec<(OwnedFd, PathBuf, i128)> = Vec::new();
        let count = clean.components().count();
        for (index, component) in clean.components().enumerate() {
            walked.push(component);
            match self.open_at(&walked, flags) {
                Ok(fd) => {
                    current = fd;
                    continue;
                }
                Err(Errno::NOENT) => {}
                Err(Errno::NOTDIR) => return Err(not_a_directory(&walked, "not a directory")),
                Err(error) => return Err(Error::io("open", self.shown(&walked), error)),
            }
            let name = component.as_os_str();
            match rustix::fs::mkdirat(&current, name, Mode::from_raw_mode(0o700)) {
                Ok(()) => {}
                // A link that leads nowhere, or somebody else was quicker.
                Err(Errno::EXIST) => {
                    current = self.open_at(&walked, flags).map_err(|_| {
                        not_a_directory(&walked, "a dangling link, not a directory")
                    })?;
                    continue;
                }
                Err(error) => return Err(Error::io("make directory", self.shown(&walked), error)),
            }
            let made = rustix::fs::openat(
                &current,
                name,
                OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC,
                Mode::empty(),
            )
            .map_err(|error| Error::io("open", self.shown(&walked), error))?;
            let NewDirectory { mode, uid, gid, mtime_ns } = new(index + 1 == count);
            let on_disk = ledger.as_ref().map_or((uid, gid), |ledger| ledger.on_disk(uid, gid));
            set_owner(&made, on_disk.0, on_disk.1)
                .map_err(|error| owner_error(uid, gid, &Path::new("/").join(&walked), error))?;
            if let Some(ledger) = &mut ledger {
                let place = self
                    .path_of(&made)
                    .map_err(|error| Error::io("resolve", self.shown(&walked), error))?;
                ledger.made(&place, uid, gid, None);
            }
            rustix::fs::fchmod(&made, Mode::from_raw_mode(mode & 0o7777))
                .map_err(|error| Error::io("change mode of", self.shown(&walked), error))?;
            if let Some(mtime_ns) = mtime_ns {
                let again = made
                    .try_clone()
                    .map_err(|error| Error::io("open", self.shown(&walked), error))?;
                times.push((again, walked.clone(), mtime_ns));
            }
            current = made;
        }
        // Once nothing more is made in them.
        for (fd, path, mtime_ns) in times {
            rustix::fs::futimens(&fd, &timestamps(mtime_ns))
                .map_err(|error| Error::io("set times of", self.shown(&path), error))?;
        }
        Ok(current)
    }

    /// Opens what something is to be mounted on, made if it is missing. No link is followed: of what others may write to at
    /// the same time, none leads elsewhere.
    ///
    /// # Errors
    /// `IO`, `NOT_A_DIRECTORY`; `ELOOP` for a link.
    pub fn mountpoint(&self, path: &Path, is_directory: bool) -> Result<OwnedFd> {
        let clean = normal(path);
        let open = |flags: OFlags, mode: u32| {
            rustix::fs::openat2(
                &self.fd,
                &clean,
                flags | OFlags::CLOEXEC,
                Mode::from_raw_mode(mode),
                ResolveFlags::IN_ROOT | ResolveFlags::NO_SYMLINKS,
            )
        };
        let kind = if is_directory { OFlags::DIRECTORY } else { OFlags::empty() };
        match open(OFlags::PATH | kind, 0) {
            Err(Errno::NOENT) => {}
            other => return other.map_err(|error| Error::io("open", self.shown(&clean), error)),
        }
        if is_directory {
            self.make_directories(&clean, 0o755, 0, 0)?;
        } else {
            self.parent_of(&clean, true)?;
            open(OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL, 0o644)
                .map_err(|error| Error::io("make", self.shown(&clean), error))?;
        }
        open(OFlags::PATH | kind, 0).map_err(|error| Error::io("open", self.shown(&clean), error))
    }

    /// Reads a whole file of at most `max_bytes`.
    ///
    /// # Errors
    /// `IO`, `TOO_LARGE`, `IS_A_DIRECTORY`.
    pub fn read(&self, path: &Path, max_bytes: u64) -> Result<Vec<u8>> {
        let shown = self.shown(path);
        // A FIFO of the image must not hang us.
        let fd = self
            .open_at(path, OFlags::RDONLY | OFlags::NONBLOCK)
            .map_err(|error| Error::io("read", &shown, error))?;
        let stat = rustix::fs::fstat(&fd).map_err(|error| Error::io("stat", &shown, error))?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(Error::of(
                "IS_A_DIRECTORY",
                &shown,
                format!("'{}' is not a regular file", shown.display()),
            ));
        }
        let mut bytes = Vec::new();
        File::from(fd)
            .take(max_bytes.saturating_add(1))
            .read_to_end(&mut bytes)
            .map_err(|error| Error::io("read", &shown, error))?;
        if bytes.len() as u64 > max_bytes {
            return Err(Error::of(
                "TOO_LARGE",
                &shown,
                format!("'{}' is larger than {max_bytes} bytes", shown.display()),
            ));
        }
        Ok(bytes)
    }

    /// What `path` is after every link was resolved inside the root, and where; `None` where nothing is.
    ///
    /// # Errors
    /// `IO` for anything but a missing path.
    pub fn stat(&self, path: &Path) -> Result<Option<(PathBuf, Stat)>> {
        let fd = match self.open_at(path, OFlags::PATH) {
            Ok(fd) => fd,
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(None),
            Err(error) => return Err(Error::io("stat", self.shown(path), error)),
        };
        let stat =
            rustix::fs::fstat(&fd).map_err(|error| Error::io("stat", self.shown(path), error))?;
        let real =
            fd_path(fd.as_fd()).map_err(|error| Error::io("resolve", self.shown(path), error))?;
        let base =
            fd_path(self.fd.as_fd()).map_err(|error| Error::io("resolve", &self.path, error))?;
        let inside = real.strip_prefix(&base).unwrap_or(Path::new("")).to_owned();
        Ok(Some((inside, stat)))
    }
}

/// How directories are made.
#[derive(Debug, Clone, Copy)]
pub struct NewDirectory {
    /// 07777.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Absent leaves the clock's.
    pub mtime_ns: Option<i128>,
}

fn not_a_directory(path: &Path, what: &str) -> Error {
    let shown = Path::new("/").join(path);
    Error::of("NOT_A_DIRECTORY", &shown, format!("'{}' in the image is {what}", shown.display()))
}

/// Sets the owner of what `fd` names, links included.
///
/// # Errors
/// The kernel's; `EINVAL` for an id that the user namespace does not have.
pub fn set_owner(fd: impl AsFd, uid: u32, gid: u32) -> std::result::Result<(), Errno> {
    rustix::fs::chownat(
        fd,
        "",
        Some(Uid::from_raw(uid)),
        Some(Gid::from_raw(gid)),
        AtFlags::EMPTY_PATH,
    )
}

/// Where an open descriptor is now.
fn fd_path(fd: BorrowedFd<'_>) -> std::result::Result<PathBuf, Errno> {
    use std::os::fd::AsRawFd;
    let link =
        rustix::fs::readlinkat(CWD, format!("/proc/self/fd/{}", fd.as_raw_fd()), Vec::new())?;
    Ok(PathBuf::from(OsStr::from_bytes(link.as_bytes())))
}

/// Without leading slashes: `openat2` with `RESOLVE_IN_ROOT` takes both, joining does not.
fn relative(path: &Path) -> &Path {
    let bytes = path.as_os_str().as_bytes();
    let start = bytes.iter().position(|byte| *byte != b'/').unwrap_or(bytes.len());
    Path::new(OsStr::from_bytes(&bytes[start..]))
}

/// Lexically clean and relative. `..` is taken textually, as Docker's tools do with destinations; it stops at the root.
pub fn normal(path: &Path) -> PathBuf {
    let mut clean = PathBuf::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => clean.push(name),
            Component::ParentDir => {
                clean.pop();
            }
            Component::CurDir | Component::RootDir | Component::Prefix(_) => {}
        }
    }
    clean
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn scratch(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("tsbuild-root-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).unwrap();
        path
    }

    #[test]
    fn links_stay_inside() {
        let outside = scratch("outside");
        std::fs::write(outside.join("secret"), "no").unwrap();
        let path = scratch("inside");
        std::fs::create_dir(path.join("real")).unwrap();
        std::fs::write(path.join("real/file"), "yes").unwrap();
        symlink("/real", path.join("absolute")).unwrap();
        symlink("../../../../real", path.join("upwards")).unwrap();
        symlink(&outside, path.join("escape")).unwrap();
        let root = Root::open(&path).unwrap();
        assert_eq!(root.read(Path::new("/absolute/file"), 10).unwrap(), b"yes");
        assert_eq!(root.read(Path::new("upwards/file"), 10).unwrap(), b"yes");
        assert_eq!(root.read(Path::new("/../../real/file"), 10).unwrap(), b"yes");
        assert_eq!(
            root.read(Path::new("/escape/secret"), 10).unwrap_err().errno,
            Some(libc::ENOENT)
        );
        assert_eq!(
            root.stat(Path::new("absolute/file")).unwrap().unwrap().0,
            Path::new("real/file")
        );
        assert!(root.stat(Path::new("escape/secret")).unwrap().is_none());
        assert_eq!(
            root.make_directories(Path::new("/escape/new"), 0o755, 0, 0).unwrap_err().code,
            "NOT_A_DIRECTORY"
        );
        assert!(!outside.join("new").exists());
        assert_eq!(root.read(Path::new("real/file"), 2).unwrap_err().code, "TOO_LARGE");
        std::fs::remove_dir_all(path).unwrap();
        std::fs::remove_dir_all(outside).unwrap();
    }
}
