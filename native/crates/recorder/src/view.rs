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
    credentials::{Credentials, Ids, KEEP, Program},
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

    /// The path in a process's memory, and where it begins. What leads through the process's own directory in `/proc` is said
    /// without it: here that name would mean another process.
    fn path(pid: i32, at: &At) -> Result<(i32, Vec<u8>), Refusal> {
        if at.path == 0 && at.empty {
            return Ok((at.dir, Vec::new()));
        }
        let path = tracee::read_string(pid, at.path, PATH_MAX)?;
        if path.is_empty() && !at.empty {
            return Err(Errno::NOENT.into());
        }
        Ok(through_own(&path, at.follow).unwrap_or((at.dir, path)))
    }

    /// The file that a call means, opened as a place only: nothing of it can be read or written.
    ///
    /// # Errors
    /// The kernel's, and where only the process itself can tell.
    pub fn open(pid: i32, at: &At) -> Result<OwnedFd, Refusal> {
        let (dir, path) = Self::path(pid, at)?;
        if path.is_empty() {
            return Self::opened(pid, dir);
        }
        let mut flags = OFlags::PATH | OFlags::CLOEXEC;
        if !at.follow {
            flags |= OFlags::NOFOLLOW;
        }
        let base = Self::base(pid, dir, &path)?;
        match resolve(base.as_ref(), &path, flags) {
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
        let (dir, path) = Self::path(pid, at)?;
        if path.is_empty() {
            let link = if dir == HERE { format!("{pid}/cwd") } else { format!("{pid}/fd/{dir}") };
            return Ok(Facts::of(CWD, link.as_bytes(), AtFlags::empty())?);
        }
        let flags = if at.follow { AtFlags::empty() } else { AtFlags::SYMLINK_NOFOLLOW };
        if path.starts_with(b"/") {
            return Ok(Facts::of(CWD, &path, flags)?);
        }
        // Through the link in `/proc` at once: opening where the path begins would double the cost.
        let mut whole =
            if dir == HERE { format!("{pid}/cwd/") } else { format!("{pid}/fd/{dir}/") }
                .into_bytes();
        if whole.len() + path.len() > PATH_MAX {
            return Ok(Facts::of(Self::base(pid, dir, &path)?.ok_or(Errno::BADF)?, &path, flags)?);
        }
        whole.extend(path);
        Ok(Facts::of(CWD, &whole, flags)?)
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

/// What a path through the process's own directory in `/proc` means to it: where to begin, and the rest, which is empty for a
/// descriptor itself.
fn through_own(path: &[u8], follow: bool) -> Option<(i32, Vec<u8>)> {
    let own = [&b"/proc/self/"[..], b"/proc/thread-self/"];
    let in_own = own.iter().find_map(|prefix| path.strip_prefix(*prefix));
    let (dir, rest) = match path {
        b"/dev/stdin" => (0, &b""[..]),
        b"/dev/stdout" => (1, &b""[..]),
        b"/dev/stderr" => (2, &b""[..]),
        _ => {
            if let Some(rest) = in_own.and_then(|rest| rest.strip_prefix(b"root/")) {
                return Some((HERE, [b"/", rest].concat()));
            }
            if let Some(rest) = in_own.and_then(|rest| rest.strip_prefix(b"cwd/")) {
                return (!rest.starts_with(b"/")).then(|| (HERE, rest.to_vec()));
            }
            let numbered = in_own.and_then(|rest| rest.strip_prefix(b"fd/"));
            let numbered = numbered.or_else(|| path.strip_prefix(b"/dev/fd/"))?;
            let end = numbered.iter().position(|byte| *byte == b'/').unwrap_or(numbered.len());
            let number = std::str::from_utf8(&numbered[..end]).ok()?.parse().ok()?;
            let rest = numbered[end..].iter().position(|byte| *byte != b'/');
            (number, rest.map_or(&b""[..], |at| &numbered[end + at..]))
        }
    };
    // The link itself is in `/proc`, and nobody's to give away.
    (dir >= 0 && (follow || !rest.is_empty())).then(|| (dir, rest.to_vec()))
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
    let (user, group) = (ids("Uid"), ids("Gid"));
    Ok(Credentials { user, group, groups: Vec::new(), keeps: None, kept: None })
}

/// What a process executes.
///
/// # Errors
/// The kernel's.
pub fn program(pid: i32) -> Result<Program, Refusal> {
    let text = read(&format!("{pid}/stat"))?;
    // The name in parentheses may hold anything. Behind it comes the third field.
    let after = text.rsplit(')').next().unwrap_or("");
    let number = |field: usize| {
        after.split_whitespace().nth(field - 3).and_then(|word| word.parse().ok()).unwrap_or(0)
    };
    const START_CODE: usize = 26;
    const START_STACK: usize = 28;
    Ok((number(START_CODE), number(START_STACK)))
}

fn status(pid: i32) -> Result<String, Refusal> {
    read(&format!("{pid}/status"))
}

fn read(path: &str) -> Result<String, Refusal> {
    let mut bytes = Vec::new();
    let file = openat(CWD, path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    File::from(file).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn field<'a>(status: &'a str, name: &str) -> &'a str {
    status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).unwrap_or("")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_through_own() {
        let cases: [(&str, Option<(i32, &str)>); 12] = [
            ("/dev/stdout", Some((1, ""))),
            ("/proc/self/fd/12", Some((12, ""))),
            ("/proc/thread-self/fd/3/a/b", Some((3, "a/b"))),
            ("/dev/fd/3//a", Some((3, "a"))),
            ("/proc/self/cwd/x", Some((HERE, "x"))),
            ("/proc/self/root/etc", Some((HERE, "/etc"))),
            ("/dev/fd/", None),
            ("/dev/fd/-1", None),
            ("/dev/fd/1x", None),
            ("/etc/fd/1", None),
            ("/dev/null", None),
            ("/proc/self/status", None),
        ];
        for (path, expected) in cases {
            let expected = expected.map(|(dir, rest)| (dir, rest.as_bytes().to_vec()));
            assert_eq!(through_own(path.as_bytes(), true), expected, "{path}");
        }
        assert_eq!(through_own(b"/dev/stdin", false), None);
    }
}
