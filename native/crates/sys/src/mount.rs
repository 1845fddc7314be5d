//! Mounts. All of them happen in the worker's own mount namespace and end with it.

use std::{
    ffi::OsString,
    fs::File,
    io::Read,
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
        unix::{ffi::OsStringExt, fs::symlink},
    },
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
};

use rustix::{
    fs::{CWD, FileType, Gid, Mode, OFlags, StatVfsMountFlags, Uid},
    io::Errno,
    mount::{
        FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, MountPropagationFlags,
        MoveMountFlags, OpenTreeFlags, UnmountFlags,
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
    let names = ShortNames::of(overlay);
    let name = |path: &Path| names.name(path).map_err(denied);
    for (index, lower) in overlay.lowers.iter().enumerate() {
        match rustix::mount::fsconfig_set_string(&fs, "lowerdir+", &name(lower)?.1) {
            Ok(()) => {}
            Err(Errno::INVAL) if index == 0 => return Ok(Outcome::Unsupported),
            Err(error) => return Err(explained(&fs, overlay, error)),
        }
    }
    let set = || -> std::result::Result<(), Errno> {
        if let (Some(upper), Some(work)) = (&overlay.upper, &overlay.work) {
            rustix::mount::fsconfig_set_string(&fs, "upperdir", &names.name(upper)?.1)?;
            rustix::mount::fsconfig_set_string(&fs, "workdir", &names.name(work)?.1)?;
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

/// What directories are called to the kernel. It repeats those names in the table of mounts, which whoever makes a sandbox on the
/// overlay reads for each of its mounts: a path of the store for each of many layers makes that slow. A step sees the table too.
enum ShortNames {
    /// By way of a descriptor.
    Links,
    Paths,
}

impl ShortNames {
    /// Links, if the `/proc` that we see is ours.
    fn of(overlay: &Overlay) -> Self {
        let leads_there = |path: &Path| -> std::result::Result<bool, Errno> {
            let (fd, name) = Self::Links.name(path)?;
            let Some(fd) = fd else { return Ok(false) };
            let (direct, linked) = (rustix::fs::fstat(&fd)?, rustix::fs::stat(&name)?);
            Ok((direct.st_dev, direct.st_ino) == (linked.st_dev, linked.st_ino))
        };
        match overlay.lowers.first().map(|path| leads_there(path)) {
            Some(Ok(true)) => Self::Links,
            _ => Self::Paths,
        }
    }

    /// The name holds as long as the descriptor is open.
    fn name(&self, path: &Path) -> std::result::Result<(Option<OwnedFd>, OsString), Errno> {
        match self {
            Self::Links => {
                let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
                let fd = rustix::fs::open(path, flags, Mode::empty())?;
                let name = format!("/proc/self/fd/{}", fd.as_raw_fd());
                Ok((Some(fd), name.into()))
            }
            Self::Paths => Ok((None, path.as_os_str().to_owned())),
        }
    }
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
        let flags = MountFlags::BIND | MountFlags::RDONLY | held_flags(held);
        rustix::mount::mount_remount(target, flags, "")
            .map_err(|error| Error::io("make read-only", target, error))?;
    }
    Ok(())
}

/// What a mount can be forbidden without touching what else is said of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Restriction {
    /// Device nodes cannot be opened.
    NoDevices,
    /// Nothing can be written.
    ReadOnly,
}

/// Restricts the mount at `target`, with `recursive` those below it too. Unlike a remount it needs not repeat the flags that are
/// locked, and reaches all of them or none.
///
/// # Errors
/// `IO`; `EINVAL` where nothing is mounted, `ENOSYS` before Linux 5.12.
pub fn restrict(target: &Path, restriction: Restriction, recursive: bool) -> Result<()> {
    let failed = |error: std::io::Error| {
        let errno = Errno::from_io_error(&error).unwrap_or(Errno::IO);
        Error::io("restrict the mount at", target, errno)
    };
    let path = std::ffi::CString::new(target.as_os_str().as_encoded_bytes())
        .map_err(|_| failed(std::io::ErrorKind::InvalidInput.into()))?;
    let attributes = libc::mount_attr {
        attr_set: match restriction {
            Restriction::NoDevices => libc::MOUNT_ATTR_NODEV,
            Restriction::ReadOnly => libc::MOUNT_ATTR_RDONLY,
        },
        attr_clr: 0,
        propagation: 0,
        userns_fd: 0,
    };
    // SAFETY: the path ends with a zero byte, and the kernel reads exactly the size that it is told of the attributes.
    let status = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            libc::AT_FDCWD,
            path.as_ptr(),
            if recursive { libc::AT_RECURSIVE } else { 0 },
            &raw const attributes,
            size_of::<libc::mount_attr>(),
        )
    };
    if status < 0 { Err(failed(std::io::Error::last_os_error())) } else { Ok(()) }
}

fn held_flags(held: StatVfsMountFlags) -> MountFlags {
    let mut flags = MountFlags::empty();
    for (held_flag, flag) in [
        (StatVfsMountFlags::RDONLY, MountFlags::RDONLY),
        (StatVfsMountFlags::NOSUID, MountFlags::NOSUID),
        (StatVfsMountFlags::NODEV, MountFlags::NODEV),
        (StatVfsMountFlags::NOEXEC, MountFlags::NOEXEC),
        (StatVfsMountFlags::NOATIME, MountFlags::NOATIME),
        (StatVfsMountFlags::NODIRATIME, MountFlags::NODIRATIME),
    ] {
        if held.contains(held_flag) {
            flags |= flag;
        }
    }
    flags
}

/// What a bound tree is made to be, with every mount in it. Flags that its mounts have already stay.
#[derive(Debug, Clone, Copy)]
pub struct Bound {
    /// No writing.
    pub read_only: bool,
    /// Devices in it can be opened.
    pub devices: bool,
}

/// Binds `source`, with what is mounted in it, on what `target` has open. No name is looked up twice, so that nobody can
/// put a link in the way. Setuid bits in it have no effect.
///
/// # Errors
/// `IO`.
pub fn bind_tree(source: &Path, target: BorrowedFd<'_>, bound: Bound) -> Result<()> {
    let failed = |error: Errno| Error::io("bind", source, error);
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_RECURSIVE;
    let tree = match rustix::mount::open_tree(CWD, source, flags) {
        Ok(tree) => tree,
        Err(Errno::NOSYS) => return bind_tree_by_path(source, target, bound),
        Err(error) => return Err(failed(error)),
    };
    match set_tree_flags(&tree, bound) {
        Ok(()) => {}
        // Linux 5.2 to 5.11: a detached tree cannot be changed.
        Err(Errno::NOSYS) => return bind_tree_by_path(source, target, bound),
        Err(error) => return Err(failed(error)),
    }
    let both = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    rustix::mount::move_mount(&tree, "", target, "", both).map_err(failed)
}

#[repr(C)]
struct MountAttributes {
    set: u64,
    clear: u64,
    propagation: u64,
    user_namespace: u64,
}

fn set_tree_flags(tree: &OwnedFd, bound: Bound) -> std::result::Result<(), Errno> {
    const READ_ONLY: u64 = 1;
    const NO_SETUID: u64 = 2;
    const NO_DEVICES: u64 = 4;
    let set = NO_SETUID
        | if bound.read_only { READ_ONLY } else { 0 }
        | if bound.devices { 0 } else { NO_DEVICES };
    let attributes = MountAttributes { set, clear: 0, propagation: 0, user_namespace: 0 };
    // SAFETY: the path ends in zero, and the structure outlives the call, which is told its size.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            tree.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH | libc::AT_RECURSIVE,
            &attributes,
            size_of::<MountAttributes>(),
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO))
    }
}

/// For kernels before 5.12: mount by mount, each with the flags that it has already, which may be locked.
fn bind_tree_by_path(source: &Path, target: BorrowedFd<'_>, bound: Bound) -> Result<()> {
    let link = PathBuf::from(format!("/proc/self/fd/{}", target.as_raw_fd()));
    let place = std::fs::read_link(&link).map_err(|error| Error::io("look up", &link, error))?;
    rustix::mount::mount_bind_recursive(source, &link)
        .map_err(|error| Error::io("bind on", &place, error))?;
    let table = std::fs::read_to_string("/proc/self/mountinfo")
        .map_err(|error| Error::io("read", "/proc/self/mountinfo", error))?;
    for path in mounted_in(&table, &place) {
        let held = match rustix::fs::statvfs(&path) {
            Ok(facts) => facts.f_flag,
            // Covered by another one, or not for us to see: then nobody in there sees it either.
            Err(Errno::ACCESS | Errno::NOENT) => continue,
            Err(error) => return Err(Error::io("stat", &path, error)),
        };
        let mut flags = MountFlags::BIND | MountFlags::NOSUID | held_flags(held);
        if bound.read_only {
            flags |= MountFlags::RDONLY;
        }
        if !bound.devices {
            flags |= MountFlags::NODEV;
        }
        rustix::mount::mount_remount(&path, flags, "")
            .map_err(|error| Error::io("change the flags of", &path, error))?;
    }
    Ok(())
}

/// Mountpoints at and below `top`, of `/proc/self/mountinfo`.
fn mounted_in(table: &str, top: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> = table
        .lines()
        .filter_map(|line| line.split(' ').nth(4))
        .map(|field| PathBuf::from(unescape(field)))
        .filter(|path| path.starts_with(top))
        .collect();
    paths.dedup();
    paths
}

/// proc(5): space, tab, newline and backslash are three octal digits.
fn unescape(field: &str) -> OsString {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let digits = after.get(..3).and_then(|text| std::str::from_utf8(text).ok());
        let code = digits.and_then(|text| u8::from_str_radix(text, 8).ok());
        match (first, code) {
            (b'\\', Some(code)) => {
                bytes.push(code);
                rest = &after[3..];
            }
            _ => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    OsString::from_vec(bytes)
}

/// A tmpfs on what `target` has open; `mode` and size as in [`mount_tmpfs`].
///
/// # Errors
/// `IO`.
pub fn mount_tmpfs_on(target: &OwnedFd, mode: u32, size_bytes: Option<u64>) -> Result<()> {
    mount_tmpfs(
        &PathBuf::from(format!("/proc/self/fd/{}", target.as_raw_fd())),
        mode,
        size_bytes,
        false,
    )
}

/// Makes the mount read-only that `mounted` has open.
///
/// # Errors
/// `IO`.
pub fn make_read_only(mounted: &OwnedFd) -> Result<()> {
    let link = PathBuf::from(format!("/proc/self/fd/{}", mounted.as_raw_fd()));
    let failed = |error: Errno| Error::io("make read-only", &link, error);
    let held = rustix::fs::fstatvfs(mounted).map_err(failed)?.f_flag;
    rustix::mount::mount_remount(
        &link,
        MountFlags::BIND | MountFlags::RDONLY | held_flags(held),
        "",
    )
    .map_err(failed)
}

/// Hides files and directories, and makes others read-only, in the tree of this process. Where nothing is a link.
///
/// # Errors
/// `IO`.
pub fn cover(hidden: &[PathBuf], read_only: &[PathBuf]) -> Result<()> {
    let bound = Bound { read_only: true, devices: false };
    let root = Root::open(Path::new("/"))?;
    let open =
        |path: &Path| root.open_without_links(path).map_err(|error| Error::io("open", path, error));
    // One for all of them.
    let mut nothing: Option<PathBuf> = None;
    for path in hidden {
        let target = open(path)?;
        let stat = rustix::fs::fstat(&target).map_err(|error| Error::io("stat", path, error))?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
            bind_tree(Path::new("/dev/null"), target.as_fd(), bound)?;
        } else if let Some(nothing) = &nothing {
            bind_tree(nothing, target.as_fd(), bound)?;
        } else {
            mount_tmpfs_on(&target, 0o755, None)?;
            make_read_only(&open(path)?)?;
            nothing = Some(path.clone());
        }
    }
    for path in read_only {
        bind_tree(path, open(path)?.as_fd(), bound)?;
    }
    Ok(())
}

/// Terminals of our own on what `target` has open.
///
/// # Errors
/// `IO`.
pub fn mount_terminals(target: &OwnedFd) -> Result<()> {
    let link = PathBuf::from(format!("/proc/self/fd/{}", target.as_raw_fd()));
    rustix::mount::mount(
        "devpts",
        &link,
        "devpts",
        MountFlags::NOSUID | MountFlags::NOEXEC,
        Some(c"newinstance,ptmxmode=0666,mode=620"),
    )
    .map_err(|error| Error::io("mount devpts on", &link, error))
}

/// The mountpoint `root` becomes `/`, and what was there before is gone.
///
/// # Errors
/// `IO`.
pub fn pivot_into(root: &Path) -> Result<()> {
    let failed = |error: Errno| Error::io("make the root", root, error);
    rustix::process::chdir(root).map_err(failed)?;
    // Onto itself: the old root comes to lie on the new one, and is taken off.
    match rustix::process::pivot_root(".", ".") {
        Ok(()) => rustix::mount::unmount(".", UnmountFlags::DETACH).map_err(failed)?,
        // Docker's seccomp profile forbids it even where it allows mounts, and it cannot be done on a root that is memory.
        // Whatever is looked up in the old root then leads to the new one, which covers it.
        Err(Errno::PERM | Errno::INVAL | Errno::NOSYS) => {
            rustix::mount::mount_move(".", "/").map_err(failed)?;
            rustix::process::chroot(".").map_err(failed)?;
        }
        Err(error) => return Err(failed(error)),
    }
    rustix::process::chdir("/").map_err(failed)
}

/// An empty tmpfs.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_of_a_tree_with_odd_names() {
        let table = "1 0 8:1 / / rw - ext4 a rw\n\
                     2 1 0:5 / /a\\040b rw,nosuid - proc proc rw\n\
                     3 2 0:6 / /a\\040b/c\\134d ro - tmpfs t rw\n\
                     4 1 0:7 / /a\\040bc ro - tmpfs t rw\n";
        let paths = mounted_in(table, Path::new("/a b"));
        assert_eq!(paths, [PathBuf::from("/a b"), PathBuf::from("/a b/c\\d")]);
    }
}
