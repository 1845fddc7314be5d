//! What is recorded of files while a step changes them: by inode, because names move.
//!
//! An inode that has gone leaves its number to the next one, so that the time of birth belongs to the key. Overlayfs shows a file of
//! a lower layer under that file's number even after it was copied up, with another time of birth: for those the number alone
//! is enough, since the lower file still holds it.

use std::{
    collections::{HashMap, VecDeque},
    os::fd::{AsFd, OwnedFd},
    time::{Duration, Instant},
};

use rustix::{
    fs::{AtFlags, Statx, StatxFlags},
    io::Errno,
};
use tsbuild_owners::Record;

/// Which inode, and what the disk says of it.
#[derive(Debug, Clone, Copy)]
pub struct Facts {
    key: (u32, u32, u64),
    birth: Option<(i64, u32)>,
    /// Type and permissions.
    pub mode: u32,
    /// On disk.
    pub uid: u32,
    /// On disk.
    pub gid: u32,
}

impl Facts {
    /// Of a path that the kernel resolves as it is, or of `dir` itself with `EMPTY_PATH`.
    ///
    /// # Errors
    /// The kernel's.
    pub fn of(dir: impl AsFd, path: &[u8], flags: AtFlags) -> Result<Self, Errno> {
        let wanted = StatxFlags::TYPE
            | StatxFlags::MODE
            | StatxFlags::INO
            | StatxFlags::UID
            | StatxFlags::GID
            | StatxFlags::BTIME;
        let found: Statx = rustix::fs::statx(dir, path, flags | AtFlags::NO_AUTOMOUNT, wanted)?;
        let born = found.stx_mask & StatxFlags::BTIME.bits() != 0;
        Ok(Self {
            key: (found.stx_dev_major, found.stx_dev_minor, found.stx_ino),
            birth: born.then_some((found.stx_btime.tv_sec, found.stx_btime.tv_nsec)),
            mode: u32::from(found.stx_mode),
            uid: found.stx_uid,
            gid: found.stx_gid,
        })
    }

    /// Of what is open.
    ///
    /// # Errors
    /// The kernel's.
    pub fn of_open(fd: impl AsFd) -> Result<Self, Errno> {
        Self::of(fd, b"", AtFlags::EMPTY_PATH)
    }

    /// Whether it is a directory.
    pub fn is_directory(&self) -> bool {
        self.mode & 0o170_000 == 0o040_000
    }
}

struct Entry {
    record: Record,
    /// `None` where the number alone is enough.
    birth: Option<Option<(i64, u32)>>,
}

/// The records of all files that have one.
#[derive(Default)]
pub struct Table {
    entries: HashMap<(u32, u32, u64), Entry>,
    pinned: VecDeque<(Instant, OwnedFd)>,
    /// Some directory has a group of its own, or a list: what is made in it may inherit them.
    has_heirs: bool,
}

/// Times of birth are as exact as the kernel's tick, which is 10 ms at most. Of two files with one number in the same tick the
/// younger one would be taken for the older, so that the older one's number is held until the tick is over.
const PIN_FOR: Duration = Duration::from_millis(20);
/// Descriptors that are held at once.
const MAX_PINNED: usize = 256;

impl Table {
    /// Whether there is nothing to say of any file.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// What is recorded.
    pub fn get(&self, facts: &Facts) -> Option<&Record> {
        let entry = self.entries.get(&facts.key)?;
        let alive = entry.birth.is_none_or(|birth| birth == facts.birth);
        alive.then_some(&entry.record)
    }

    /// Owner and group, recorded or on disk.
    pub fn owner(&self, facts: &Facts) -> (u32, u32) {
        self.get(facts)
            .map_or((facts.uid, facts.gid), |record| record.owner_over(facts.uid, facts.gid))
    }

    /// Records what was known before the step of a file that lies in a lower layer, unless it was copied up already.
    pub fn prime(&mut self, facts: &Facts, record: Record, in_lower: bool) {
        let birth = if in_lower { None } else { Some(facts.birth) };
        self.insert(facts, Entry { record, birth });
    }

    /// Records it anew; a record that says nothing ends what was there. `file` is what the facts are of.
    pub fn set(&mut self, facts: &Facts, record: Record, file: OwnedFd) {
        if record.is_trivial() {
            self.entries.remove(&facts.key);
            return;
        }
        // What is in a lower layer stays so, whatever its copy's time of birth.
        let birth = match self.entries.get(&facts.key) {
            Some(entry) if entry.birth.is_none() => None,
            _ => Some(facts.birth),
        };
        self.insert(facts, Entry { record, birth });
        self.pin(facts, file);
    }

    /// Whether what is made in some directory may inherit from it what is recorded.
    pub fn has_heirs(&self) -> bool {
        self.has_heirs
    }

    fn insert(&mut self, facts: &Facts, entry: Entry) {
        self.has_heirs |=
            facts.is_directory() && (entry.record.gid != 0 || !entry.record.attributes.is_empty());
        self.entries.insert(facts.key, entry);
    }

    fn pin(&mut self, facts: &Facts, file: OwnedFd) {
        let now = Instant::now();
        while self.pinned.front().is_some_and(|(since, _)| now.duration_since(*since) > PIN_FOR)
            || self.pinned.len() >= MAX_PINNED
        {
            self.pinned.pop_front();
        }
        if facts.birth.is_some_and(|(seconds, nanoseconds)| is_old(seconds, nanoseconds)) {
            return;
        }
        self.pinned.push_back((now, file));
    }

    /// Lets go of what is held open.
    pub fn unpin(&mut self) {
        self.pinned.clear();
    }
}

fn is_old(seconds: i64, nanoseconds: u32) -> bool {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Realtime);
    let age = (now.tv_sec - seconds) * 1_000_000_000 + now.tv_nsec - i64::from(nanoseconds);
    age > PIN_FOR.as_nanos() as i64
}
