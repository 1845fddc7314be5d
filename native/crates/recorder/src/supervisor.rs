//! Answers the calls of a step, one after the other.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use rustix::{
    fs::{AtFlags, FileType, Gid, Mode, OFlags, Uid, chownat, openat},
    io::Errno,
};
use tsbuild_owners::{Device, DeviceKind, Record};
use tsbuild_sys::{
    seccomp::{Answer, Listener, Notification},
    tracee::{self, Pretended},
};

use crate::{
    acl,
    calls::{Asked, At, Decoder, Form, MAKES_A_FILE, Request},
    credentials::{Change, Credentials, KEEP, MAX_GROUPS, Refused, Sets},
    table::{Facts, Table},
    view::{self, Place, Refusal, View},
};

/// Everything that is known of a running step.
pub struct Supervisor {
    pub listener: Listener,
    pub table: Table,
    /// `None` where ids are real.
    pub sets: Option<Sets>,
    pub view: View,
    pub decoder: Decoder,
    /// Calls that were heard of.
    pub calls: u64,
}

/// What is to be said, if the call is still there.
enum Reply {
    Say(Answer),
    /// A descriptor, closed on exec or not.
    Give(OwnedFd, bool),
}

const CONTINUE: Result<Reply, Refusal> = Ok(Reply::Say(Answer::Continue));
const DONE: Result<Reply, Refusal> = Ok(Reply::Say(Answer::Value(0)));

impl From<Refused> for Refusal {
    fn from(refused: Refused) -> Self {
        Self::Errno(match refused {
            Refused::NotPermitted => Errno::PERM,
            Refused::Invalid => Errno::INVAL,
        })
    }
}

const XATTR_NAME_MAX: usize = 255;
const XATTR_SIZE_MAX: usize = 65_536;
/// `O_CREAT | O_EXCL`, `O_DIRECTORY`, `O_PATH` as this machine has them.
const O_DIRECTORY: u32 = OFlags::DIRECTORY.bits();
const O_PATH: u32 = OFlags::PATH.bits();
const O_EXCL: u32 = OFlags::EXCL.bits();

impl Supervisor {
    /// Until nobody is left who could call.
    ///
    /// # Errors
    /// The kernel's. The listener is closed then, and every call that would be heard of fails.
    pub fn run(&mut self) -> std::io::Result<()> {
        View::begin()?;
        while self.listener.wait()? {
            let Some(call) = self.listener.receive()? else { continue };
            self.calls += 1;
            self.answer(&call)?;
        }
        // What is held open would keep the tree mounted.
        self.table.unpin();
        Ok(())
    }

    fn answer(&mut self, call: &Notification) -> std::io::Result<()> {
        let request = self.decoder.decode(call);
        let reply = match request {
            None => CONTINUE,
            Some(request) => self.reply(call, request),
        };
        match reply {
            Ok(Reply::Say(answer)) => self.listener.answer(call.id, answer),
            Ok(Reply::Give(fd, close_on_exec)) => {
                match self.listener.answer_with(call.id, fd.as_fd(), close_on_exec) {
                    Ok(()) => Ok(()),
                    Err(error) => {
                        let errno = error.raw_os_error().unwrap_or(Errno::MFILE.raw_os_error());
                        self.listener.answer(call.id, Answer::Errno(errno))
                    }
                }
            }
            Err(Refusal::Unknown) => self.listener.answer(call.id, Answer::Continue),
            Err(Refusal::Errno(errno)) => {
                self.listener.answer(call.id, Answer::Errno(errno.raw_os_error()))
            }
        }
    }

    fn reply(&mut self, call: &Notification, request: Request) -> Result<Reply, Refusal> {
        let pid = call.pid;
        if self.view.enter(pid)? && !self.listener.is_waiting(call.id) {
            self.view.leave();
            return Err(Errno::SRCH.into());
        }
        match request {
            Request::Stat { file, buffer, form } => self.stat(call, &file, buffer, form),
            Request::GetId(asked) => Ok(Reply::Say(Answer::Value(self.id(pid, asked)?.into()))),
            Request::Open { dir, path, flags, mode } => self.open(call, dir, path, flags, mode),
            Request::OpenHow { dir, path, how, size } => {
                let mut bytes = [0_u8; 16];
                if size < 24 || tracee::read_memory(pid, how, &mut bytes)? < bytes.len() {
                    return CONTINUE;
                }
                let word = |at: usize| {
                    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes")) as u32
                };
                if word(0) & MAKES_A_FILE == 0 {
                    return CONTINUE;
                }
                self.open(call, dir, path, word(0), word(8))
            }
            Request::MakeDirectory { dir, path, mode } => {
                let Some(credentials) = self.maker(pid)? else { return CONTINUE };
                let place = View::place(pid, dir, path, true)?;
                let heir = self.heir(&place.dir, &credentials, Some(mode & 0o1777), true)?;
                self.make(call, &place, heir, |place, mode| {
                    rustix::fs::mkdirat(&place.dir, &*place.name, mode)
                })
            }
            Request::MakeLink { text, dir, path } => {
                let Some(credentials) = self.maker(pid)? else { return CONTINUE };
                let text = tracee::read_string(pid, text, 4095)?;
                let place = View::place(pid, dir, path, false)?;
                let heir = self.heir(&place.dir, &credentials, None, false)?;
                self.make(call, &place, heir, |place, _| {
                    rustix::fs::symlinkat(&*text, &place.dir, &*place.name)
                })
            }
            Request::MakeNode { dir, path, mode, device } => {
                self.make_node(call, (dir, path), mode, device)
            }
            Request::Chown { file, uid, gid } => self.chown(call, &file, uid, gid),
            Request::Become(change) => self.become_other(call, &change),
            Request::KeepCapabilities(keep) => {
                let program = if keep { Some(view::program(pid)?) } else { None };
                self.become_other(call, &Change::Keep(program))?;
                // The kernel's own flag too, for whoever asks for it.
                CONTINUE
            }
            Request::RealTimeLimit { place, narrow } => {
                if place != 0 {
                    self.write(call, place, &[0xff; 16][..if narrow { 8 } else { 16 }])?;
                }
                DONE
            }
            Request::SetGroups { count, list, narrow } => {
                let count = count as u32 as usize;
                if count > MAX_GROUPS {
                    return Err(Errno::INVAL.into());
                }
                let width = if narrow { 2 } else { 4 };
                let mut bytes = vec![0; count * width];
                let read = if bytes.is_empty() { 0 } else { read_all(pid, list, &mut bytes)? };
                debug_assert_eq!(read, bytes.len());
                let groups = bytes
                    .chunks(width)
                    .map(|id| id.iter().rev().fold(0, |all, byte| all << 8 | u32::from(*byte)));
                self.become_other(call, &Change::Groups(groups.collect()))
            }
            Request::GetIds { of_user, places, narrow } => {
                let credentials = self.credentials(pid)?;
                let ids = if of_user { credentials.user } else { credentials.group };
                for (place, id) in places.into_iter().zip([ids.real, ids.effective, ids.saved]) {
                    tracee::write_memory(
                        pid,
                        place,
                        &id.to_le_bytes()[..if narrow { 2 } else { 4 }],
                    )?;
                }
                DONE
            }
            Request::GetGroups { count, list, narrow } => {
                let groups = self.credentials(pid)?.groups;
                if count < 0 || count > 0 && (count as usize) < groups.len() {
                    return Err(Errno::INVAL.into());
                }
                if count > 0 {
                    let width = if narrow { 2 } else { 4 };
                    let bytes: Vec<u8> = groups
                        .iter()
                        .flat_map(|id| id.to_le_bytes().into_iter().take(width))
                        .collect();
                    if !bytes.is_empty() {
                        self.write(call, list, &bytes)?;
                    }
                }
                Ok(Reply::Say(Answer::Value(groups.len() as i64)))
            }
            Request::SetAttribute { file, name, value, size, flags } => {
                self.set_attribute(call, &file, name, (value, size), flags)
            }
            Request::GetAttribute { file, name, value, size } => {
                self.get_attribute(call, &file, name, value, size)
            }
            Request::ListAttributes { file, list, size } => {
                self.list_attributes(call, &file, list, size)
            }
            Request::RemoveAttribute { file, name } => self.remove_attribute(call, &file, name),
            Request::ChangeRoot => {
                self.view.roots_differ();
                CONTINUE
            }
        }
    }

    fn credentials(&self, pid: i32) -> Result<Credentials, Refusal> {
        match &self.sets {
            Some(sets) => {
                let found = sets.of_limit(tracee::real_time_limit(pid)?).clone();
                found.in_program(|| view::program(pid))
            }
            None => view::credentials(pid),
        }
    }

    fn id(&self, pid: i32, asked: Asked) -> Result<u32, Refusal> {
        let credentials = self.credentials(pid)?;
        Ok(match asked {
            Asked::User => credentials.user.real,
            Asked::EffectiveUser => credentials.user.effective,
            Asked::Group => credentials.group.real,
            Asked::EffectiveGroup => credentials.group.effective,
        })
    }

    fn become_other(&mut self, call: &Notification, change: &Change) -> Result<Reply, Refusal> {
        let present = self.credentials(call.pid)?;
        let Some(sets) = &mut self.sets else { return CONTINUE };
        let next = present.after(change)?;
        // These two say who it was, and nothing of success.
        let value = match change {
            Change::FilesystemUser(_) => i64::from(present.user.filesystem),
            Change::FilesystemGroup(_) => i64::from(present.group.filesystem),
            _ => 0,
        };
        if next != present {
            let limit = sets.limit_of(next).ok_or(Errno::AGAIN)?;
            self.still_there(call)?;
            tracee::set_real_time_limit(call.pid, limit)?;
        }
        Ok(Reply::Say(Answer::Value(value)))
    }

    /// Before anything is done in the name of a process: its pid may be somebody else's by now.
    fn still_there(&self, call: &Notification) -> Result<(), Refusal> {
        if self.listener.is_waiting(call.id) { Ok(()) } else { Err(Errno::SRCH.into()) }
    }

    fn write(&self, call: &Notification, place: u64, bytes: &[u8]) -> Result<(), Refusal> {
        self.still_there(call)?;
        Ok(tracee::write_memory(call.pid, place, bytes)?)
    }

    /// As getxattr(2): the length alone where there is no room for anything.
    fn give(
        &self,
        call: &Notification,
        place: u64,
        size: u64,
        bytes: &[u8],
    ) -> Result<Reply, Refusal> {
        if size > 0 {
            if (size as usize) < bytes.len() {
                return Err(Errno::RANGE.into());
            }
            self.write(call, place, bytes)?;
        }
        Ok(Reply::Say(Answer::Value(bytes.len() as i64)))
    }

    fn chown(
        &mut self,
        call: &Notification,
        file: &At,
        uid: u32,
        gid: u32,
    ) -> Result<Reply, Refusal> {
        if (uid, gid) == (KEEP, KEEP) {
            return CONTINUE;
        }
        let file = View::open(call.pid, file)?;
        let facts = Facts::of_open(&file)?;
        let owner = self.table.owner(&facts);
        let next = self.credentials(call.pid)?.chown(owner, uid, gid)?;
        self.still_there(call)?;
        touch(&file, &facts)?;
        // Copied up, it has another time of birth, and maybe another number.
        let after = Facts::of_open(&file)?;
        let known = self.table.get(&facts).cloned().unwrap_or_default();
        let record = Record { uid: next.0, gid: next.1, ..known };
        self.table.set(&after, record, file);
        DONE
    }

    fn stat(
        &mut self,
        call: &Notification,
        file: &At,
        buffer: u64,
        form: Form,
    ) -> Result<Reply, Refusal> {
        if self.table.is_empty() {
            return CONTINUE;
        }
        // What is wrong with the path the kernel says as well.
        let Ok(facts) = View::facts(call.pid, file) else { return CONTINUE };
        if self.table.get(&facts).is_none() {
            return CONTINUE;
        }
        let Ok(file) = View::open(call.pid, file) else { return CONTINUE };
        let facts = Facts::of_open(&file)?;
        let Some(record) = self.table.get(&facts) else { return CONTINUE };
        let (uid, gid) = record.owner_over(facts.uid, facts.gid);
        let device =
            record.device.map(|Device { kind, major, minor }| (type_bits(kind), major, minor));
        let pretended = Pretended { uid, gid, device };
        let bytes = match form {
            Form::Native => tracee::stat_bytes(&file, &pretended)?,
            Form::I386 => tracee::i386_stat64_bytes(&file, &pretended)?,
            Form::Extended { flags, mask } => tracee::statx_bytes(&file, flags, mask, &pretended)?,
        };
        self.write(call, buffer, &bytes)?;
        DONE
    }

    /// The process's credentials, where what it makes may have another owner than root.
    fn maker(&self, pid: i32) -> Result<Option<Credentials>, Refusal> {
        let credentials = self.credentials(pid)?;
        let plain = credentials.makes_files_of_root() && !self.table.has_heirs();
        Ok((!plain).then_some(credentials))
    }

    /// What becomes of something that is made in this directory, with this mode if it has one.
    fn heir(
        &self,
        dir: &OwnedFd,
        credentials: &Credentials,
        mode: Option<u32>,
        is_directory: bool,
    ) -> Result<Heir, Refusal> {
        const S_ISGID: u32 = 0o2000;
        let facts = Facts::of_open(dir)?;
        let gid = if facts.mode & S_ISGID != 0 {
            self.table.owner(&facts).1
        } else {
            credentials.group.filesystem
        };
        let mut heir = Heir {
            record: Record::owner(credentials.user.filesystem, gid),
            mode: mode.unwrap_or(0),
            heeds_umask: mode.is_some(),
        };
        let default = self.table.get(&facts).and_then(|record| acl::stored(record, acl::DEFAULT));
        if let (Some(mode), Some(list)) = (mode, default.and_then(acl::parse)) {
            let default = list.to_bytes();
            let (mode, list) = list.inherited(mode);
            (heir.mode, heir.heeds_umask) = (mode, false);
            let mut attributes = vec![(acl::ACCESS.as_bytes().to_vec(), list.to_bytes())];
            if is_directory {
                attributes.push((acl::DEFAULT.as_bytes().to_vec(), default));
            }
            heir.record.attributes = attributes;
        }
        Ok(heir)
    }

    fn open(
        &mut self,
        call: &Notification,
        dir: i32,
        path: u64,
        flags: u32,
        mode: u32,
    ) -> Result<Reply, Refusal> {
        const O_TMPFILE: u32 = OFlags::TMPFILE.bits();
        let Some(credentials) = self.maker(call.pid)? else { return CONTINUE };
        let nameless = flags & O_TMPFILE == O_TMPFILE;
        if flags & O_PATH != 0 || !nameless && flags & O_DIRECTORY != 0 {
            return CONTINUE;
        }
        let close_on_exec = flags & OFlags::CLOEXEC.bits() != 0;
        let mode = mode & 0o7777;
        let own = OFlags::from_bits_retain(flags) | OFlags::CLOEXEC;
        let (heir, made) = if nameless {
            let at = At { dir, path, follow: flags & OFlags::NOFOLLOW.bits() == 0, empty: false };
            let parent = View::open(call.pid, &at)?;
            let heir = self.heir(&parent, &credentials, Some(mode), false)?;
            self.still_there(call)?;
            let made = heir.with_umask(call.pid, |mode| openat(&parent, c".", own, mode))?;
            (heir, made)
        } else {
            let place = View::place(call.pid, dir, path, false)?;
            // What is there already is opened by the kernel: opening may do things, and last.
            if Facts::of(&place.dir, &place.name, AtFlags::SYMLINK_NOFOLLOW).is_ok() {
                return CONTINUE;
            }
            let heir = self.heir(&place.dir, &credentials, Some(mode), false)?;
            if heir.record.is_trivial() {
                return CONTINUE;
            }
            self.still_there(call)?;
            let own = own | OFlags::from_bits_retain(O_EXCL);
            match heir.with_umask(call.pid, |mode| openat(&place.dir, &*place.name, own, mode))? {
                // Somebody was faster.
                Err(Errno::EXIST) => return CONTINUE,
                made => (heir, made),
            }
        };
        let made = made?;
        let facts = Facts::of_open(&made)?;
        self.table.set(&facts, heir.record, made.try_clone()?);
        Ok(Reply::Give(made, close_on_exec))
    }

    /// Makes a name by `make` and records what it is.
    fn make(
        &mut self,
        call: &Notification,
        place: &Place,
        heir: Heir,
        make: impl FnOnce(&Place, Mode) -> Result<(), Errno>,
    ) -> Result<Reply, Refusal> {
        if heir.record.is_trivial() {
            return CONTINUE;
        }
        self.still_there(call)?;
        heir.with_umask(call.pid, |mode| make(place, mode))??;
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let made = openat(&place.dir, &*place.name, flags, Mode::empty())?;
        let facts = Facts::of_open(&made)?;
        self.table.set(&facts, heir.record, made);
        DONE
    }

    fn make_node(
        &mut self,
        call: &Notification,
        (dir, path): (i32, u64),
        mode: u32,
        device: u32,
    ) -> Result<Reply, Refusal> {
        // The kernel's form for user space (`new_decode_dev`).
        let (major, minor) = ((device >> 8) & 0xfff, (device & 0xff) | ((device >> 12) & 0xfff00));
        let kind = match FileType::from_raw_mode(mode) {
            FileType::CharacterDevice if (major, minor) != (0, 0) => Some(DeviceKind::Char),
            FileType::BlockDevice => Some(DeviceKind::Block),
            FileType::Fifo | FileType::Socket | FileType::RegularFile | FileType::Unknown => None,
            _ => return CONTINUE,
        };
        let credentials = match (kind, self.maker(call.pid)?) {
            (Some(_), _) => self.credentials(call.pid)?,
            (None, Some(credentials)) => credentials,
            (None, None) => return CONTINUE,
        };
        if kind.is_some() && !credentials.is_root() {
            return Err(Errno::PERM.into());
        }
        let place = View::place(call.pid, dir, path, false)?;
        let real = if kind.is_some() || FileType::from_raw_mode(mode) == FileType::Unknown {
            FileType::RegularFile
        } else {
            FileType::from_raw_mode(mode)
        };
        let mut heir = self.heir(&place.dir, &credentials, Some(mode & 0o7777), false)?;
        heir.record.device = kind.map(|kind| Device { kind, major, minor });
        self.make(call, &place, heir, |place, mode| {
            rustix::fs::mknodat(&place.dir, &*place.name, real, mode, 0)
        })
    }

    /// The name of an access control list in a process's memory; `None` for any other attribute.
    fn list_name(pid: i32, name: u64) -> Result<Option<&'static str>, Refusal> {
        let name = tracee::read_string(pid, name, XATTR_NAME_MAX)?;
        Ok(acl::NAMES.into_iter().find(|known| known.as_bytes() == name))
    }

    fn set_attribute(
        &mut self,
        call: &Notification,
        file: &At,
        name: u64,
        (value, size): (u64, u64),
        flags: u32,
    ) -> Result<Reply, Refusal> {
        const XATTR_CREATE: u32 = 1;
        const XATTR_REPLACE: u32 = 2;
        let Some(name) = Self::list_name(call.pid, name)? else { return CONTINUE };
        let size = usize::try_from(size).unwrap_or(usize::MAX);
        if size > XATTR_SIZE_MAX {
            return CONTINUE;
        }
        let mut bytes = vec![0; size];
        read_all(call.pid, value, &mut bytes)?;
        let file = View::open(call.pid, file)?;
        let facts = Facts::of_open(&file)?;
        let known = self.table.get(&facts).cloned().unwrap_or_default();
        let has = known.attributes.iter().any(|(other, _)| other == name.as_bytes());
        let credentials = self.credentials(call.pid)?;
        let owner = self.table.owner(&facts);
        let names_others = match acl::parse(&bytes) {
            Some(list) if list.names_ids_other_than_root() => list,
            // The kernel can; but then it must not be shadowed by what was pretended before.
            _ => {
                if has {
                    let mut record = known;
                    record.attributes.retain(|(other, _)| other != name.as_bytes());
                    self.table.set(&facts, record, file);
                }
                return CONTINUE;
            }
        };
        if !credentials.is_root() && credentials.user.filesystem != owner.0 {
            return Err(Errno::PERM.into());
        }
        let is_default = name == acl::DEFAULT;
        if is_default && !facts.is_directory() {
            return Err(Errno::ACCESS.into());
        }
        if flags & XATTR_CREATE != 0 && has {
            return Err(Errno::EXIST.into());
        }
        if flags & XATTR_REPLACE != 0 && !has {
            return Err(Errno::NODATA.into());
        }
        self.still_there(call)?;
        let link = format!("self/fd/{}", file.as_raw_fd());
        let _ = rustix::fs::removexattr(&link, name);
        if is_default {
            touch(&file, &facts)?;
        } else {
            let mode = (facts.mode & 0o7000) | names_others.mode();
            rustix::fs::chmod(&link, Mode::from_raw_mode(mode))?;
        }
        let after = Facts::of_open(&file)?;
        let mut record = known;
        record.attributes.retain(|(other, _)| other != name.as_bytes());
        record.attributes.push((name.as_bytes().to_vec(), names_others.to_bytes()));
        record.attributes.sort();
        self.table.set(&after, record, file);
        DONE
    }

    fn get_attribute(
        &mut self,
        call: &Notification,
        file: &At,
        name: u64,
        value: u64,
        size: u64,
    ) -> Result<Reply, Refusal> {
        if self.table.is_empty() {
            return CONTINUE;
        }
        let Some(name) = Self::list_name(call.pid, name)? else { return CONTINUE };
        let Ok(facts) = View::facts(call.pid, file) else { return CONTINUE };
        let known =
            self.table.get(&facts).and_then(|record| acl::current(record, name, facts.mode));
        let Some(bytes) = known else { return CONTINUE };
        self.give(call, value, size, &bytes)
    }

    fn list_attributes(
        &mut self,
        call: &Notification,
        file: &At,
        list: u64,
        size: u64,
    ) -> Result<Reply, Refusal> {
        if self.table.is_empty() {
            return CONTINUE;
        }
        let Ok(facts) = View::facts(call.pid, file) else { return CONTINUE };
        let Some(record) = self.table.get(&facts).filter(|record| !record.attributes.is_empty())
        else {
            return CONTINUE;
        };
        let recorded: Vec<u8> =
            record.attributes.iter().flat_map(|(name, _)| [name, &b"\0"[..]].concat()).collect();
        let file = View::open(call.pid, file)?;
        let mut names = vec![0; XATTR_SIZE_MAX];
        let link = format!("self/fd/{}", file.as_raw_fd());
        let length = rustix::fs::listxattr(link, &mut names[..])?;
        names.truncate(length);
        names.extend(recorded);
        self.give(call, list, size, &names)
    }

    fn remove_attribute(
        &mut self,
        call: &Notification,
        file: &At,
        name: u64,
    ) -> Result<Reply, Refusal> {
        if self.table.is_empty() {
            return CONTINUE;
        }
        let Some(name) = Self::list_name(call.pid, name)? else { return CONTINUE };
        let file = View::open(call.pid, file)?;
        let facts = Facts::of_open(&file)?;
        let Some(record) = self.table.get(&facts) else { return CONTINUE };
        let mut record = record.clone();
        let count = record.attributes.len();
        record.attributes.retain(|(other, _)| other != name.as_bytes());
        if record.attributes.len() == count {
            return CONTINUE;
        }
        self.table.set(&facts, record, file);
        DONE
    }
}

/// A change of owner to the one that it has: the file is copied up from a lower layer, and what a change of owner clears is
/// cleared, by the kernel's own rules.
fn touch(file: &OwnedFd, facts: &Facts) -> Result<(), Errno> {
    let (uid, gid) = (Uid::from_raw(facts.uid), Gid::from_raw(facts.gid));
    match chownat(file, c"", Some(uid), Some(gid), AtFlags::EMPTY_PATH) {
        // Somebody's whose id this namespace does not have.
        Err(Errno::INVAL) => Err(Errno::PERM),
        other => other,
    }
}

/// What something will be that is made in the name of a process.
struct Heir {
    record: Record,
    mode: u32,
    /// A default list stands for the umask.
    heeds_umask: bool,
}

impl Heir {
    /// The supervisor's own umask is the process's while `work` runs.
    fn with_umask<T>(&self, pid: i32, work: impl FnOnce(Mode) -> T) -> Result<T, Refusal> {
        if self.heeds_umask {
            rustix::process::umask(view::umask(pid)?);
        }
        let result = work(Mode::from_raw_mode(self.mode));
        rustix::process::umask(Mode::empty());
        Ok(result)
    }
}

fn read_all(pid: i32, address: u64, bytes: &mut [u8]) -> Result<usize, Refusal> {
    let mut read = 0;
    while read < bytes.len() {
        match tracee::read_memory(pid, address.wrapping_add(read as u64), &mut bytes[read..])? {
            0 => return Err(Errno::FAULT.into()),
            count => read += count,
        }
    }
    Ok(read)
}

fn type_bits(kind: DeviceKind) -> u32 {
    match kind {
        DeviceKind::Char => 0o020_000,
        DeviceKind::Block => 0o060_000,
    }
}
