//! The step's files as one of its processes sees them: its root, its working directory, its descriptors.
//!
//! The supervisor's thread has the process's root for its own, so that links and `..` lead where they lead that process, and no
//! farther. Its working directory is the worker's `/proc`, which the step cannot change.

use std::{
    ffi::CString,
    fs::File,
    io::Read,
    os::fd::{AsFd, OwnedFd},
};

use rustix::{
    fs::{AtFlags, CWD, Mode, OFlags, ResolveFlags, Statx, StatxFlags, openat, openat2},
    io::Errno,
};
use tsbuild_sys::tracee;

use crate::{
    calls::{At, HERE},
    credentials::{Credentials, Ids, KEEP},
    table::Facts,
};

/// Why there is no file to act on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// The kernel's reason.
    Errno(Errno),
    /// It cannot be told from here which file is meant: the kernel shall say.
    Unknown,
}

impl From<Errno> for Refusal {
    fn from(errno: Errno) -> Self {
        Self::Errno(errno)
    }
}

impl From<std::io::Error> for Refusal {
    fn from(error: std::io::Error) -> Self {
        Self::Errno(Errno::from_io_error(&error).unwrap_or(Errno::IO))
    }
}

/// What the supervisor's thread has taken over from the step.
#[derive(Default)]
pub struct View {
    /// The root that the thread has now.
    root: Option<RootId>,
    /// Some process may have another root, or see other mounts, than the one that came first.
    roots_differ: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct RootId {
    mount: u64,
    inode: u64,
}

/// A place where a name is to be made.
pub struct Place {
    /// The directory.
    pub dir: OwnedFd,
    /// One name, without slashes.
    pub name: Vec<u8>,
}

const PATH_MAX: usize = 4095;
const DIRECTORY: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

impl View {
    /// Gives the calling thread a view of its own.
    ///
    /// # Errors
    /// The kernel's.
    pub fn begin() -> std::io::Result<()> {
        tracee::own_file_view()?;
        std::env::set_current_dir("/proc")?;
        rustix::process::umask(Mode::empty());
        Ok(())
    }

    /// From now on each process is asked for its root.
    pub fn roots_differ(&mut self) {
        self.roots_differ = true;
    }

    /// Takes the root of a process. True where it is another one than before: only a process that is still there after this
    /// had it, see [`View::leave`].
    ///
    /// # Errors
    /// The kernel's.
    pub fn enter(&mut self, pid: i32) -> Result<bool, Refusal> {
        if self.root.is_some() && !self.roots_differ {
            return Ok(false);
        }
        let path = format!("{pid}/root");
        let found: Statx =
            rustix::fs::statx(CWD, &path, AtFlags::empty(), StatxFlags::INO | StatxFlags::MNT_ID)?;
        let id = RootId { mount: found.stx_mnt_id, inode: found.stx_ino };
        if self.root == Some(id) {
            return Ok(false);
        }
        // Whatever fails, the root is not the one before.
        self.root = None;
        let path = CString::new(path).map_err(|_| Errno::INVAL)?;
        tracee::change_root(&path)?;
        self.root = Some(id);
        Ok(true)
    }

    /// The root was somebody else's.
    pub fn leave(&mut self) {
        self.root = None;
    }

    /// Where a relative path begins. `None` where the path is absolute.
    fn base(pid: i32, dir: i32, path: &[u8]) -> Result<Option<OwnedFd>, Refusal> {
        if path.first() == Some(&b'/') {
            return Ok(None);
        }
        let link = if dir == HERE { format!("{pid}/cwd") } else { format!("{pid}/fd/{dir}") };
        match openat(CWD, link, DIRECTORY, Mode::empty()) {
            Ok(fd) => Ok(Some(fd)),
            Err(Errno::NOENT) if dir != HERE => Err(Errno::BADF.into()),
            Err(errno) => Err(errno.into()),
        }
    }

    /// What a thread has open.
    fn opened(pid: i32, fd: i32) -> Result<OwnedFd, Refusal> {
        if fd == HERE {
            return Ok(openat(CWD, format!("{pid}/cwd"), DIRECTORY, Mode::empty())?);
        }
        match openat(CWD, format!("{pid}/fd/{fd}"), OFlags::PATH | OFlags::CLOEXEC, Mode::empty()) {
            Err(Errno::NOENT) => Err(Errno::BADF.into()),
            other => Ok(other?),
        }
    }

    /// The path in a process's memory, which may be that of no path.
    fn path(pid: i32, at: &At) -> Result<Vec<u8>, Refusal> {
        if at.path == 0 && at.empty {
            return Ok(Vec::new());
        }
        Ok(tracee::read_string(pid, at.path, PATH_MAX)?)
    }

    /// The file that a call means, opened as a place only: nothing of it can be read or written.
    ///
    /// # Errors
    /// The kernel's, and where only the process itself can tell.
    pub fn open(pid: i32, at: &At) -> Result<OwnedFd, Refusal> {
        let path = Self::path(pid, at)?;
        if path.is_empty() {
            return if at.empty { Self::opened(pid, at.dir) } else { Err(Errno::NOENT.into()) };
        }
        let mut flags = OFlags::PATH | OFlags::CLOEXEC;
        if !at.follow {
            flags |= OFlags::NOFOLLOW;
        }
        let base = Self::base(pid, at.dir, &path)?;
        match resolve(base.as_ref(), &path, flags) {
            // A descriptor's link leads to what is open, not to a path.
            Err(Errno::LOOP | Errno::NOENT) if at.follow && descriptor_in(&path).is_some() => {
                Self::opened(pid, descriptor_in(&path).unwrap_or(HERE))
            }
            Err(Errno::LOOP) => Err(Refusal::Unknown),
            // The kernel knows which process is meant by `self`.
            Err(Errno::NOENT) if path.starts_with(b"/proc/") => Err(Refusal::Unknown),
            other => Ok(other?),
        }
    }

    /// Only what the file is; as cheap as can be, since it is asked for most.
    ///
    /// # Errors
    /// As [`View::open`].
    pub fn facts(pid: i32, at: &At) -> Result<Facts, Refusal> {
        let path = Self::path(pid, at)?;
        if path.is_empty() {
            if !at.empty {
                return Err(Errno::NOENT.into());
            }
            let link =
                if at.dir == HERE { format!("{pid}/cwd") } else { format!("{pid}/fd/{}", at.dir) };
            return Ok(Facts::of(CWD, link.as_bytes(), AtFlags::empty())?);
        }
        if path.starts_with(b"/proc/") || path.starts_with(b"/dev/") {
            return Ok(Facts::of_open(Self::open(pid, at)?)?);
        }
        let flags = if at.follow { AtFlags::empty() } else { AtFlags::SYMLINK_NOFOLLOW };
        match Self::base(pid, at.dir, &path)? {
            Some(base) => Ok(Facts::of(base, &path, flags)?),
            None => Ok(Facts::of(CWD, &path, flags)?),
        }
    }

    /// The directory of a name that is to be made, and the name. A slash at its end is kept from a directory's name alone.
    ///
    /// # Errors
    /// As [`View::open`]; `Unknown` for names that cannot be made, to which the kernel has the right answer.
    pub fn place(pid: i32, dir: i32, path: u64, directory: bool) -> Result<Place, Refusal> {
        let text = tracee::read_string(pid, path, PATH_MAX)?;
        let end = text.iter().rposition(|byte| *byte != b'/').map_or(0, |last| last + 1);
        if end < text.len() && !directory {
            return Err(Refusal::Unknown);
        }
        let text = &text[..end];
        let (above, name) = match text.iter().rposition(|byte| *byte == b'/') {
            Some(slash) => (&text[..=slash], &text[slash + 1..]),
            None => (&b"."[..], text),
        };
        if name.is_empty() || name == b"." || name == b".." {
            return Err(Refusal::Unknown);
        }
        let base = Self::base(pid, dir, above)?;
        match resolve(base.as_ref(), above, DIRECTORY) {
            Err(Errno::LOOP) => Err(Refusal::Unknown),
            Err(Errno::NOENT) if above.starts_with(b"/proc/") => Err(Refusal::Unknown),
            other => Ok(Place { dir: other?, name: name.to_vec() }),
        }
    }
}

fn resolve(base: Option<&OwnedFd>, path: &[u8], flags: OFlags) -> Result<OwnedFd, Errno> {
    let base = base.map_or(CWD, AsFd::as_fd);
    loop {
        match openat2(base, path, flags, Mode::empty(), ResolveFlags::NO_MAGICLINKS) {
            // A rename elsewhere made the kernel unsure.
            Err(Errno::AGAIN | Errno::INTR) => {}
            other => return other,
        }
    }
}

/// The number in the ways to name a descriptor by a path.
fn descriptor_in(path: &[u8]) -> Option<i32> {
    let number = match path {
        b"/dev/stdin" => return Some(0),
        b"/dev/stdout" => return Some(1),
        b"/dev/stderr" => return Some(2),
        _ => ["/dev/fd/", "/proc/self/fd/", "/proc/thread-self/fd/"]
            .iter()
            .find_map(|prefix| path.strip_prefix(prefix.as_bytes()))?,
    };
    std::str::from_utf8(number).ok()?.parse().ok().filter(|number| *number >= 0)
}

/// What a process does not give to files that it makes. Slow; for calls that are seldom.
///
/// # Errors
/// The kernel's.
pub fn umask(pid: i32) -> Result<Mode, Refusal> {
    let text = status(pid)?;
    let mask = field(&text, "Umask").trim();
    Ok(Mode::from_raw_mode(u32::from_str_radix(mask, 8).unwrap_or(0o022)))
}

/// Who a process really is.
///
/// # Errors
/// The kernel's.
pub fn credentials(pid: i32) -> Result<Credentials, Refusal> {
    let text = status(pid)?;
    let ids = |name: &str| {
        let mut ids = field(&text, name).split_whitespace().map(|id| id.parse().unwrap_or(KEEP));
        let mut next = || ids.next().unwrap_or(KEEP);
        Ids { real: next(), effective: next(), saved: next(), filesystem: next() }
    };
    Ok(Credentials { user: ids("Uid"), group: ids("Gid"), groups: Vec::new() })
}

fn status(pid: i32) -> Result<String, Refusal> {
    let mut text = String::new();
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let file = openat(CWD, format!("{pid}/status"), flags, Mode::empty())?;
    File::from(file).read_to_string(&mut text)?;
    Ok(text)
}

fn field<'a>(status: &'a str, name: &str) -> &'a str {
    status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).unwrap_or("")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptors_by_path() {
        assert_eq!(descriptor_in(b"/dev/stdout"), Some(1));
        assert_eq!(descriptor_in(b"/proc/self/fd/12"), Some(12));
        assert_eq!(descriptor_in(b"/dev/fd/3"), Some(3));
        for other in
            ["/dev/fd/", "/dev/fd/-1", "/dev/fd/1x", "/dev/fd/1/a", "/etc/fd/1", "/dev/null"]
        {
            assert_eq!(descriptor_in(other.as_bytes()), None, "{other}");
        }
    }
}
