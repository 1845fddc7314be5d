//! Mounts. All of them happen in the worker's own mount namespace and end with it.

use std::{
    fs::File,
    io::Read,
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::fs::symlink,
    },
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
};

use rustix::{
    fs::{CWD, FileType, Gid, Mode, Uid},
    io::Errno,
    mount::{
        FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, MountPropagationFlags,
        MoveMountFlags, UnmountFlags,
    },
};

use crate::{Error, Result, root::Root};

/// The kernel's limit (`OVL_MAX_STACK`).
pub const MAX_LOWERS: usize = 500;

/// An overlay to mount.
#[derive(Debug, Clone)]
pub struct Overlay {
    /// Topmost first.
    pub lowers: Vec<PathBuf>,
    /// Absent makes it read-only.
    pub upper: Option<PathBuf>,
    /// Empty directory on the filesystem of `upper`.
    pub work: Option<PathBuf>,
    /// Where it appears.
    pub target: PathBuf,
    /// `user.overlay.*` attributes, as a user namespace must use.
    pub user_xattr: bool,
    /// Skip syncing.
    pub volatile: bool,
}

impl Overlay {
    /// Options that must be said aloud. Distributions turn the last three on by default, and with them data lies
    /// elsewhere than in the upper; with `userxattr` the kernel has them off and refuses to hear about them.
    fn words(&self) -> Vec<(&'static str, Option<&'static str>)> {
        let mut words = if self.user_xattr {
            vec![("userxattr", None)]
        } else {
            vec![("metacopy", Some("off")), ("redirect_dir", Some("off")), ("index", Some("off"))]
        };
        if self.volatile && self.upper.is_some() {
            words.push(("volatile", None));
        }
        words
    }
}

/// Mounts an overlay of up to 500 layers, however long their names are.
///
/// # Errors
/// `IO` with the kernel's own explanation where it gives one; `TOO_MANY_LAYERS`.
pub fn mount_overlay(overlay: &Overlay) -> Result<()> {
    // Kernels before 6.7 lack `lowerdir+`. Found by trying, once.
    static HAS_LOWERDIR_ADD: AtomicBool = AtomicBool::new(true);
    if overlay.lowers.len() > MAX_LOWERS {
        return Err(Error::of(
            "TOO_MANY_LAYERS",
            &overlay.target,
            format!(
                "{} layers are more than the {MAX_LOWERS} that an overlay can stack",
                overlay.lowers.len()
            ),
        ));
    }
    if HAS_LOWERDIR_ADD.load(Ordering::Relaxed) {
        match mount_overlay_by_fd(overlay)? {
            Outcome::Mounted => return Ok(()),
            Outcome::Unsupported => HAS_LOWERDIR_ADD.store(false, Ordering::Relaxed),
        }
    }
    mount_overlay_by_string(overlay)
}

enum Outcome {
    Mounted,
    Unsupported,
}

fn mount_overlay_by_fd(overlay: &Overlay) -> Result<Outcome> {
    let denied = |error: Errno| Error::io("mount overlay on", &overlay.target, error);
    let fs = match rustix::mount::fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC) {
        Ok(fs) => fs,
        Err(Errno::NOSYS) => return Ok(Outcome::Unsupported),
        Err(error) => return Err(denied(error)),
    };
    for (index, lower) in overlay.lowers.iter().enumerate() {
        match rustix::mount::fsconfig_set_string(&fs, "lowerdir+", lower) {
            Ok(()) => {}
            Err(Errno::INVAL) if index == 0 => return Ok(Outcome::Unsupported),
            Err(error) => return Err(explained(&fs, overlay, error)),
        }
    }
    let set = || -> std::result::Result<(), Errno> {
        if let (Some(upper), Some(work)) = (&overlay.upper, &overlay.work) {
            rustix::mount::fsconfig_set_string(&fs, "upperdir", upper)?;
            rustix::mount::fsconfig_set_string(&fs, "workdir", work)?;
        }
        for (key, value) in overlay.words() {
            match value {
                Some(value) => rustix::mount::fsconfig_set_string(&fs, key, value)?,
                None => rustix::mount::fsconfig_set_flag(&fs, key)?,
            }
        }
        rustix::mount::fsconfig_create(&fs)
    };
    set().map_err(|error| explained(&fs, overlay, error))?;
    let mount = rustix::mount::fsmount(&fs, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty())
        .map_err(denied)?;
    rustix::mount::move_mount(
        &mount,
        "",
        CWD,
        &overlay.target,
        MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH,
    )
    .map_err(denied)?;
    Ok(Outcome::Mounted)
}

/// The kernel writes its reason into the context.
fn explained(fs: &OwnedFd, overlay: &Overlay, error: Errno) -> Error {
    let mut failure = Error::io("mount overlay on", &overlay.target, error);
    let Ok(copy) = fs.try_clone() else { return failure };
    let mut file = File::from(copy);
    let mut buffer = [0; 1024];
    while let Ok(count @ 1..) = file.read(&mut buffer) {
        failure
            .message
            .push_str(&format!(" ({})", String::from_utf8_lossy(&buffer[..count]).trim_end()));
    }
    failure
}

/// `mount(2)` takes one page of options, so that the layers get short names: links in a directory that a thread of its
/// own makes its working directory.
///
/// # Errors
/// As [`mount_overlay`].
pub fn mount_overlay_by_string(overlay: &Overlay) -> Result<()> {
    let failed = |error: Errno| Error::io("mount overlay on", &overlay.target, error);
    let base = overlay.work.as_ref().unwrap_or(&overlay.target);
    let mut name = base.file_name().unwrap_or_default().to_owned();
    name.push(".links");
    let links = base.with_file_name(name);
    let mount = || -> Result<()> {
        std::fs::create_dir_all(&links)
            .map_err(|error| Error::io("make directory", &links, error))?;
        let link = |target: &Path, name: &str| {
            symlink(target, links.join(name))
                .map_err(|error| Error::io("make link", links.join(name), error))
        };
        let mut names = Vec::new();
        for (index, lower) in overlay.lowers.iter().enumerate() {
            let name = index.to_string();
            link(lower, &name)?;
            names.push(name);
        }
        let mut data = format!("lowerdir={}", names.join(":"));
        if let (Some(upper), Some(work)) = (&overlay.upper, &overlay.work) {
            link(upper, "u")?;
            link(work, "w")?;
            data.push_str(",upperdir=u,workdir=w");
        }
        for (key, value) in overlay.words() {
            data.push(',');
            data.push_str(key);
            if let Some(value) = value {
                data.push('=');
                data.push_str(value);
            }
        }
        let data = std::ffi::CString::new(data).expect("names have no zero byte");
        let result = std::thread::scope(|scope| {
            scope
                .spawn(|| {
                    // SAFETY: only this thread's working directory is taken apart from the others'; no memory is shared less.
                    unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::FS) }?;
                    rustix::process::chdir(&links)?;
                    rustix::mount::mount(
                        "overlay",
                        &overlay.target,
                        "overlay",
                        MountFlags::empty(),
                        Some(data.as_c_str()),
                    )
                })
                .join()
                .expect("the closure does not panic")
        });
        result.map_err(failed)
    };
    let result = mount();
    let _ = std::fs::remove_dir_all(&links);
    result
}

/// Binds `source` on `target`.
///
/// # Errors
/// `IO`.
pub fn mount_bind(source: &Path, target: &Path, read_only: bool, recursive: bool) -> Result<()> {
    let bound = if recursive {
        rustix::mount::mount_bind_recursive(source, target)
    } else {
        rustix::mount::mount_bind(source, target)
    };
    bound.map_err(|error| Error::io("bind on", target, error))?;
    if read_only {
        // Flags that the source's mount has locked must be repeated, or the kernel refuses (EPERM).
        let held =
            rustix::fs::statvfs(target).map_err(|error| Error::io("stat", target, error))?.f_flag;
        let mut flags = MountFlags::BIND | MountFlags::RDONLY;
        for (held_flag, flag) in [
            (rustix::fs::StatVfsMountFlags::NOSUID, MountFlags::NOSUID),
            (rustix::fs::StatVfsMountFlags::NODEV, MountFlags::NODEV),
            (rustix::fs::StatVfsMountFlags::NOEXEC, MountFlags::NOEXEC),
            (rustix::fs::StatVfsMountFlags::NOATIME, MountFlags::NOATIME),
            (rustix::fs::StatVfsMountFlags::NODIRATIME, MountFlags::NODIRATIME),
        ] {
            if held.contains(held_flag) {
                flags |= flag;
            }
        }
        rustix::mount::mount_remount(target, flags, "")
            .map_err(|error| Error::io("make read-only", target, error))?;
    }
    Ok(())
}

/// An empty tmpfs, in which device nodes can be opened if `devices`.
///
/// # Errors
/// `IO`.
pub fn mount_tmpfs(target: &Path, mode: u32, size_bytes: Option<u64>, devices: bool) -> Result<()> {
    let mut data = format!("mode={mode:o}");
    if let Some(size) = size_bytes {
        data.push_str(&format!(",size={size}"));
    }
    let data = std::ffi::CString::new(data).expect("digits have no zero byte");
    rustix::mount::mount(
        "tmpfs",
        target,
        "tmpfs",
        if devices { MountFlags::NOSUID } else { MountFlags::NOSUID | MountFlags::NODEV },
        Some(data.as_c_str()),
    )
    .map_err(|error| Error::io("mount tmpfs on", target, error))
}

/// Makes a node at `target` for the device that `source` is a node of, with the same mode and owner.
///
/// # Errors
/// `IO`.
pub fn make_device_like(source: &Path, target: &Path) -> Result<()> {
    let stat = rustix::fs::stat(source).map_err(|error| Error::io("stat", source, error))?;
    let kind = FileType::from_raw_mode(stat.st_mode);
    let failed = |error: Errno| Error::io("make the device", target, error);
    rustix::fs::mknodat(CWD, target, kind, Mode::empty(), stat.st_rdev).map_err(failed)?;
    let (uid, gid) = (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid));
    rustix::fs::chown(target, Some(uid), Some(gid)).map_err(failed)?;
    // Whatever the mask says.
    rustix::fs::chmod(target, Mode::from_raw_mode(stat.st_mode)).map_err(failed)
}

/// Moves the mount at `from` to `path` below `root`, which others may be changing meanwhile: what is missing is made, and where a link is
/// in the way it fails. Whatever they do afterwards, the mount is on what was found.
///
/// # Errors
/// `IO`, `ELOOP` among them for a link; `NOT_A_DIRECTORY`, `IS_A_DIRECTORY` where something else is there than what is mounted.
pub fn move_within(from: &Path, root: &Path, path: &Path, directory: bool) -> Result<()> {
    let inside = Root::open(root)?;
    let shown = inside.shown(path);
    let failed = |error: Errno| Error::io("mount on", &shown, error);
    if directory {
        inside.make_directories(path, 0o755, 0, 0)?;
    } else {
        let (parent, name) = inside.parent_of(path, true)?;
        let mode = Mode::from_raw_mode(0o644);
        match rustix::fs::mknodat(&parent, &name, FileType::RegularFile, mode, 0) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(failed(error)),
        }
    }
    let found = inside.open_without_links(path).map_err(failed)?;
    let stat = rustix::fs::fstat(&found).map_err(failed)?;
    let is_directory = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
    if is_directory != directory {
        let (code, what) = if directory {
            ("NOT_A_DIRECTORY", "not a directory")
        } else {
            ("IS_A_DIRECTORY", "a directory")
        };
        return Err(Error::of(code, &shown, what.to_owned()));
    }
    let target = format!("/proc/self/fd/{}", found.as_raw_fd());
    rustix::mount::mount_move(from, target.as_str()).map_err(failed)
}

/// A fresh procfs of the caller's pid namespace.
///
/// # Errors
/// `IO`; `EPERM` where part of the existing one is masked.
pub fn mount_proc(target: &Path) -> Result<()> {
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    rustix::mount::mount("proc", target, "proc", flags, None)
        .map_err(|error| Error::io("mount proc on", target, error))
}

/// A fresh sysfs, which shows the interfaces of the caller's network namespace.
///
/// # Errors
/// `IO`; `EPERM` where part of the existing one is masked, or the namespace is not ours.
pub fn mount_sysfs(target: &Path) -> Result<()> {
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    rustix::mount::mount("sysfs", target, "sysfs", flags, None)
        .map_err(|error| Error::io("mount sysfs on", target, error))
}

/// Nothing that is mounted here is seen outside, nor the other way round.
///
/// # Errors
/// `IO`.
pub fn make_private() -> Result<()> {
    rustix::mount::mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)
        .map_err(|error| Error::io("make private", "/", error))
}

/// Unmounts; what is not mounted is fine.
///
/// # Errors
/// `IO`, `EBUSY` among them when not `detach`.
pub fn unmount(target: &Path, detach: bool) -> Result<()> {
    let flags =
        if detach { UnmountFlags::DETACH } else { UnmountFlags::empty() } | UnmountFlags::NOFOLLOW;
    match rustix::mount::unmount(target, flags) {
        Ok(()) | Err(Errno::INVAL | Errno::NOENT) => Ok(()),
        Err(error) => Err(Error::io("unmount", target, error)),
    }
}
