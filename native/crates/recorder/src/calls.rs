//! Which system calls the recorder hears of, by which name on which architecture, and what their arguments say: one
//! [`Request`] for all spellings of one wish.

use std::collections::HashMap;

use tsbuild_seccomp::Arch;
use tsbuild_sys::seccomp::Notification;

use crate::credentials::{Change, KEEP};

/// A file as a call names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct At {
    /// Where a relative path begins; the file itself, if there is none.
    pub dir: i32,
    /// Address of the path, 0 for none.
    pub path: u64,
    /// Whether a link at the path's end is followed.
    pub follow: bool,
    /// Whether an empty path means `dir`.
    pub empty: bool,
}

/// What is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// Another owner.
    Chown { file: At, uid: u32, gid: u32 },
    /// A node: device, FIFO, socket or file.
    MakeNode { dir: i32, path: u64, mode: u32, device: u32 },
    /// A file, to be opened.
    Open { dir: i32, path: u64, flags: u32, mode: u32 },
    /// The same, said in memory.
    OpenHow { dir: i32, path: u64, how: u64, size: u64 },
    /// A directory.
    MakeDirectory { dir: i32, path: u64, mode: u32 },
    /// A symbolic link.
    MakeLink { text: u64, dir: i32, path: u64 },
    /// What a file is.
    Stat { file: At, buffer: u64, form: Form },
    /// Another user or group.
    Become(Change),
    /// Other supplementary groups, at this address.
    SetGroups { count: u64, list: u64, narrow: bool },
    /// Whether capabilities outlast the next change of user.
    KeepCapabilities(bool),
    /// The limit that carries who it is (`Sets`) is none to the step: a session that sets all limits anew keeps its user. What it
    /// was goes to this place, in numbers of 32 bits or 64.
    RealTimeLimit { place: u64, narrow: bool },
    /// Who it is.
    GetId(Asked),
    /// The same, in full.
    GetIds { of_user: bool, places: [u64; 3], narrow: bool },
    /// Its supplementary groups.
    GetGroups { count: i32, list: u64, narrow: bool },
    /// An extended attribute is set.
    SetAttribute { file: At, name: u64, value: u64, size: u64, flags: u32 },
    /// One is read.
    GetAttribute { file: At, name: u64, value: u64, size: u64 },
    /// Their names are.
    ListAttributes { file: At, list: u64, size: u64 },
    /// One is removed.
    RemoveAttribute { file: At, name: u64 },
    /// Afterwards paths may mean something else to this process than to others.
    ChangeRoot,
}

/// How the answer to a stat looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// `struct stat` of the machine.
    Native,
    /// `struct stat64` of i386.
    I386,
    /// `struct statx`.
    Extended { flags: i32, mask: u32 },
}

/// One of a process's ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    User,
    EffectiveUser,
    Group,
    EffectiveGroup,
}

/// `AT_FDCWD`.
pub const HERE: i32 = -100;
const AT_SYMLINK_NOFOLLOW: u64 = 0x100;
const AT_EMPTY_PATH: u64 = 0x1000;
const O_CREAT: u32 = 0o100;
/// The bit that `O_TMPFILE` has of its own.
const O_TMPFILE: u32 = 0o20_000_000;
const O_CREATE_FLAGS: u32 = 0o100 | 0o1 | 0o1000;

/// `RLIMIT_RTTIME`.
pub const REAL_TIME: u32 = 15;
/// `PR_SET_KEEPCAPS`.
pub const SET_KEEP_CAPABILITIES: u32 = 8;

/// Opening these makes a file.
pub const MAKES_A_FILE: u32 = O_CREAT | O_TMPFILE;

type Arguments = [u64; 6];
type Decode = fn(&Arguments) -> Request;

/// Where a call of this name is what it says here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scope {
    All,
    /// 64-bit.
    Wide,
    /// 32-bit: ids of 16 bits, or a name that says that they have 32.
    Compat,
    I386,
}

impl Scope {
    fn has(self, arch: Arch) -> bool {
        let wide = matches!(arch, Arch::X86_64 | Arch::Aarch64);
        match self {
            Self::All => true,
            Self::Wide => wide,
            Self::Compat => !wide,
            Self::I386 => arch == Arch::I386,
        }
    }
}

const fn path(path: u64, follow: bool) -> At {
    At { dir: HERE, path, follow, empty: false }
}

fn open(fd: u64) -> At {
    At { dir: fd as i32, path: 0, follow: true, empty: true }
}

fn at(dir: u64, path: u64, flags: u64) -> At {
    At {
        dir: dir as i32,
        path,
        follow: flags & AT_SYMLINK_NOFOLLOW == 0,
        empty: flags & AT_EMPTY_PATH != 0,
    }
}

fn chown(file: At, uid: u64, gid: u64) -> Request {
    Request::Chown { file, uid: uid as u32, gid: gid as u32 }
}

fn chown16(file: At, uid: u64, gid: u64) -> Request {
    Request::Chown { file, uid: widen(uid), gid: widen(gid) }
}

/// An id of 16 bits, as `low2highuid`.
fn widen(id: u64) -> u32 {
    if id as u16 == u16::MAX { KEEP } else { u32::from(id as u16) }
}

fn native_stat(file: At, buffer: u64) -> Request {
    Request::Stat { file, buffer, form: Form::Native }
}

fn i386_stat(file: At, buffer: u64) -> Request {
    Request::Stat { file, buffer, form: Form::I386 }
}

#[rustfmt::skip]
const CALLS: &[(&str, Scope, Decode)] = &[
    ("chown", Scope::Wide, |a| chown(path(a[0], true), a[1], a[2])),
    ("lchown", Scope::Wide, |a| chown(path(a[0], false), a[1], a[2])),
    ("fchown", Scope::Wide, |a| chown(open(a[0]), a[1], a[2])),
    ("fchownat", Scope::All, |a| chown(at(a[0], a[1], a[4]), a[2], a[3])),
    ("chown32", Scope::Compat, |a| chown(path(a[0], true), a[1], a[2])),
    ("lchown32", Scope::Compat, |a| chown(path(a[0], false), a[1], a[2])),
    ("fchown32", Scope::Compat, |a| chown(open(a[0]), a[1], a[2])),
    ("chown", Scope::Compat, |a| chown16(path(a[0], true), a[1], a[2])),
    ("lchown", Scope::Compat, |a| chown16(path(a[0], false), a[1], a[2])),
    ("fchown", Scope::Compat, |a| chown16(open(a[0]), a[1], a[2])),

    ("mknod", Scope::All, |a| Request::MakeNode { dir: HERE, path: a[0], mode: a[1] as u32, device: a[2] as u32 }),
    ("mknodat", Scope::All, |a| Request::MakeNode { dir: a[0] as i32, path: a[1], mode: a[2] as u32, device: a[3] as u32 }),
    ("open", Scope::All, |a| Request::Open { dir: HERE, path: a[0], flags: a[1] as u32, mode: a[2] as u32 }),
    ("openat", Scope::All, |a| Request::Open { dir: a[0] as i32, path: a[1], flags: a[2] as u32, mode: a[3] as u32 }),
    ("creat", Scope::All, |a| Request::Open { dir: HERE, path: a[0], flags: O_CREATE_FLAGS, mode: a[1] as u32 }),
    ("openat2", Scope::All, |a| Request::OpenHow { dir: a[0] as i32, path: a[1], how: a[2], size: a[3] }),
    ("mkdir", Scope::All, |a| Request::MakeDirectory { dir: HERE, path: a[0], mode: a[1] as u32 }),
    ("mkdirat", Scope::All, |a| Request::MakeDirectory { dir: a[0] as i32, path: a[1], mode: a[2] as u32 }),
    ("symlink", Scope::All, |a| Request::MakeLink { text: a[0], dir: HERE, path: a[1] }),
    ("symlinkat", Scope::All, |a| Request::MakeLink { text: a[0], dir: a[1] as i32, path: a[2] }),

    ("stat", Scope::Wide, |a| native_stat(path(a[0], true), a[1])),
    ("lstat", Scope::Wide, |a| native_stat(path(a[0], false), a[1])),
    ("fstat", Scope::Wide, |a| native_stat(open(a[0]), a[1])),
    ("newfstatat", Scope::Wide, |a| native_stat(at(a[0], a[1], a[3]), a[2])),
    ("stat64", Scope::I386, |a| i386_stat(path(a[0], true), a[1])),
    ("lstat64", Scope::I386, |a| i386_stat(path(a[0], false), a[1])),
    ("fstat64", Scope::I386, |a| i386_stat(open(a[0]), a[1])),
    ("fstatat64", Scope::I386, |a| i386_stat(at(a[0], a[1], a[3]), a[2])),
    ("statx", Scope::All, |a| Request::Stat {
        file: at(a[0], a[1], a[2]), buffer: a[4], form: Form::Extended { flags: a[2] as i32, mask: a[3] as u32 },
    }),

    ("setuid", Scope::Wide, |a| Request::Become(Change::User(a[0] as u32))),
    ("setgid", Scope::Wide, |a| Request::Become(Change::Group(a[0] as u32))),
    ("setreuid", Scope::Wide, |a| Request::Become(Change::TwoUsers(a[0] as u32, a[1] as u32))),
    ("setregid", Scope::Wide, |a| Request::Become(Change::TwoGroups(a[0] as u32, a[1] as u32))),
    ("setresuid", Scope::Wide, |a| Request::Become(Change::ThreeUsers([a[0] as u32, a[1] as u32, a[2] as u32]))),
    ("setresgid", Scope::Wide, |a| Request::Become(Change::ThreeGroups([a[0] as u32, a[1] as u32, a[2] as u32]))),
    ("setfsuid", Scope::Wide, |a| Request::Become(Change::FilesystemUser(a[0] as u32))),
    ("setfsgid", Scope::Wide, |a| Request::Become(Change::FilesystemGroup(a[0] as u32))),
    ("setgroups", Scope::Wide, |a| Request::SetGroups { count: a[0], list: a[1], narrow: false }),
    ("setuid32", Scope::Compat, |a| Request::Become(Change::User(a[0] as u32))),
    ("setgid32", Scope::Compat, |a| Request::Become(Change::Group(a[0] as u32))),
    ("setreuid32", Scope::Compat, |a| Request::Become(Change::TwoUsers(a[0] as u32, a[1] as u32))),
    ("setregid32", Scope::Compat, |a| Request::Become(Change::TwoGroups(a[0] as u32, a[1] as u32))),
    ("setresuid32", Scope::Compat, |a| Request::Become(Change::ThreeUsers([a[0] as u32, a[1] as u32, a[2] as u32]))),
    ("setresgid32", Scope::Compat, |a| Request::Become(Change::ThreeGroups([a[0] as u32, a[1] as u32, a[2] as u32]))),
    ("setfsuid32", Scope::Compat, |a| Request::Become(Change::FilesystemUser(a[0] as u32))),
    ("setfsgid32", Scope::Compat, |a| Request::Become(Change::FilesystemGroup(a[0] as u32))),
    ("setgroups32", Scope::Compat, |a| Request::SetGroups { count: a[0], list: a[1], narrow: false }),
    ("setuid", Scope::Compat, |a| Request::Become(Change::User(widen(a[0])))),
    ("setgid", Scope::Compat, |a| Request::Become(Change::Group(widen(a[0])))),
    ("setreuid", Scope::Compat, |a| Request::Become(Change::TwoUsers(widen(a[0]), widen(a[1])))),
    ("setregid", Scope::Compat, |a| Request::Become(Change::TwoGroups(widen(a[0]), widen(a[1])))),
    ("setresuid", Scope::Compat, |a| Request::Become(Change::ThreeUsers([widen(a[0]), widen(a[1]), widen(a[2])]))),
    ("setresgid", Scope::Compat, |a| Request::Become(Change::ThreeGroups([widen(a[0]), widen(a[1]), widen(a[2])]))),
    ("setfsuid", Scope::Compat, |a| Request::Become(Change::FilesystemUser(widen(a[0])))),
    ("setfsgid", Scope::Compat, |a| Request::Become(Change::FilesystemGroup(widen(a[0])))),
    ("setgroups", Scope::Compat, |a| Request::SetGroups { count: a[0], list: a[1], narrow: true }),

    ("prctl", Scope::All, |a| Request::KeepCapabilities(a[1] != 0)),

    ("setrlimit", Scope::All, |_| Request::RealTimeLimit { place: 0, narrow: false }),
    ("getrlimit", Scope::Wide, |a| Request::RealTimeLimit { place: a[1], narrow: false }),
    ("ugetrlimit", Scope::Compat, |a| Request::RealTimeLimit { place: a[1], narrow: true }),
    ("prlimit64", Scope::All, |a| Request::RealTimeLimit { place: a[3], narrow: false }),

    ("getuid", Scope::All, |_| Request::GetId(Asked::User)),
    ("geteuid", Scope::All, |_| Request::GetId(Asked::EffectiveUser)),
    ("getgid", Scope::All, |_| Request::GetId(Asked::Group)),
    ("getegid", Scope::All, |_| Request::GetId(Asked::EffectiveGroup)),
    ("getresuid", Scope::Wide, |a| Request::GetIds { of_user: true, places: [a[0], a[1], a[2]], narrow: false }),
    ("getresgid", Scope::Wide, |a| Request::GetIds { of_user: false, places: [a[0], a[1], a[2]], narrow: false }),
    ("getgroups", Scope::Wide, |a| Request::GetGroups { count: a[0] as i32, list: a[1], narrow: false }),
    ("getuid32", Scope::Compat, |_| Request::GetId(Asked::User)),
    ("geteuid32", Scope::Compat, |_| Request::GetId(Asked::EffectiveUser)),
    ("getgid32", Scope::Compat, |_| Request::GetId(Asked::Group)),
    ("getegid32", Scope::Compat, |_| Request::GetId(Asked::EffectiveGroup)),
    ("getresuid32", Scope::Compat, |a| Request::GetIds { of_user: true, places: [a[0], a[1], a[2]], narrow: false }),
    ("getresgid32", Scope::Compat, |a| Request::GetIds { of_user: false, places: [a[0], a[1], a[2]], narrow: false }),
    ("getgroups32", Scope::Compat, |a| Request::GetGroups { count: a[0] as i32, list: a[1], narrow: false }),
    ("getresuid", Scope::Compat, |a| Request::GetIds { of_user: true, places: [a[0], a[1], a[2]], narrow: true }),
    ("getresgid", Scope::Compat, |a| Request::GetIds { of_user: false, places: [a[0], a[1], a[2]], narrow: true }),
    ("getgroups", Scope::Compat, |a| Request::GetGroups { count: a[0] as i32, list: a[1], narrow: true }),

    ("setxattr", Scope::All, |a| Request::SetAttribute { file: path(a[0], true), name: a[1], value: a[2], size: a[3], flags: a[4] as u32 }),
    ("lsetxattr", Scope::All, |a| Request::SetAttribute { file: path(a[0], false), name: a[1], value: a[2], size: a[3], flags: a[4] as u32 }),
    ("fsetxattr", Scope::All, |a| Request::SetAttribute { file: open(a[0]), name: a[1], value: a[2], size: a[3], flags: a[4] as u32 }),
    ("getxattr", Scope::All, |a| Request::GetAttribute { file: path(a[0], true), name: a[1], value: a[2], size: a[3] }),
    ("lgetxattr", Scope::All, |a| Request::GetAttribute { file: path(a[0], false), name: a[1], value: a[2], size: a[3] }),
    ("fgetxattr", Scope::All, |a| Request::GetAttribute { file: open(a[0]), name: a[1], value: a[2], size: a[3] }),
    ("listxattr", Scope::All, |a| Request::ListAttributes { file: path(a[0], true), list: a[1], size: a[2] }),
    ("llistxattr", Scope::All, |a| Request::ListAttributes { file: path(a[0], false), list: a[1], size: a[2] }),
    ("flistxattr", Scope::All, |a| Request::ListAttributes { file: open(a[0]), list: a[1], size: a[2] }),
    ("removexattr", Scope::All, |a| Request::RemoveAttribute { file: path(a[0], true), name: a[1] }),
    ("lremovexattr", Scope::All, |a| Request::RemoveAttribute { file: path(a[0], false), name: a[1] }),
    ("fremovexattr", Scope::All, |a| Request::RemoveAttribute { file: open(a[0]), name: a[1] }),

    ("chroot", Scope::All, |_| Request::ChangeRoot),
    ("pivot_root", Scope::All, |_| Request::ChangeRoot),
    ("setns", Scope::All, |_| Request::ChangeRoot),
    ("mount", Scope::All, |_| Request::ChangeRoot),
    ("move_mount", Scope::All, |_| Request::ChangeRoot),
];

/// Names of the calls that the filter tells of on this architecture.
pub(crate) fn heard(arch: Arch) -> impl Iterator<Item = &'static str> {
    CALLS.iter().filter(move |(_, scope, _)| scope.has(arch)).map(|(name, _, _)| *name)
}

/// From a call's number to what it asks for.
pub(crate) struct Decoder {
    by_number: HashMap<(u32, u32), Decode>,
}

impl Decoder {
    pub fn new() -> Self {
        let mut by_number = HashMap::new();
        for arch in [Arch::X86_64, Arch::I386, Arch::Aarch64, Arch::Arm] {
            for (name, scope, decode) in CALLS {
                if let Some(number) = arch.number(name).filter(|_| scope.has(arch)) {
                    by_number.insert((arch.audit_value(), number), *decode);
                }
            }
        }
        Self { by_number }
    }

    pub fn decode(&self, call: &Notification) -> Option<Request> {
        let decode = self.by_number.get(&(call.arch, call.number))?;
        Some(decode(&call.arguments))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_call_has_one_meaning_on_each_architecture() {
        for arch in [Arch::X86_64, Arch::I386, Arch::Aarch64, Arch::Arm] {
            let mut names: Vec<_> = heard(arch).collect();
            let count = names.len();
            names.sort_unstable();
            names.dedup();
            assert_eq!(names.len(), count, "{arch:?}");
            assert!(names.iter().all(|name| tsbuild_seccomp::is_known(name)));
        }
    }

    #[test]
    fn narrow_ids_are_widened() {
        let decoder = Decoder::new();
        let call = |arch: Arch, name: &str, arguments| Notification {
            id: 1,
            pid: 1,
            arch: arch.audit_value(),
            number: arch.number(name).unwrap(),
            arguments,
        };
        let file = At { dir: HERE, path: 9, follow: true, empty: false };
        let narrow = call(Arch::I386, "chown", [9, 0xffff, 7, 0, 0, 0]);
        assert_eq!(decoder.decode(&narrow), Some(Request::Chown { file, uid: KEEP, gid: 7 }));
        let wide = call(Arch::X86_64, "chown", [9, 0xffff, 0x1_0000_0007, 0, 0, 0]);
        assert_eq!(decoder.decode(&wide), Some(Request::Chown { file, uid: 0xffff, gid: 7 }));
        assert_eq!(decoder.decode(&call(Arch::X86_64, "read", [0; 6])), None);
        let old = call(Arch::I386, "stat", [9, 8, 0, 0, 0, 0]);
        assert_eq!(decoder.decode(&old), None);
    }
}
