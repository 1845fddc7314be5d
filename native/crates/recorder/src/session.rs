//! One program that is recorded: from the owners before it to those after it.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
    path::{Path, PathBuf},
};

use rustix::{
    fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, openat},
    io::Errno,
};
use tsbuild_owners::{Owners, Record};
use tsbuild_sys::{Error, Result, seccomp::Listener, socket};

use crate::{
    acl,
    calls::Decoder,
    credentials::{Credentials, Sets},
    supervisor::Supervisor,
    table::{Facts, Table},
    view::View,
};

/// What is to be recorded.
pub struct Session {
    /// The merged tree, where it is mounted for us.
    pub root: PathBuf,
    /// The changes to it; the same as `root` where the tree is no stack.
    pub changes: PathBuf,
    /// The file with the owners of the merged tree.
    pub owners: PathBuf,
    /// What is mounted in the tree and seems to belong to these.
    pub mounted: Vec<(PathBuf, u32, u32)>,
    /// Trees that something is mounted from, each with the file of its owners.
    pub trees: Vec<(PathBuf, PathBuf)>,
    /// Whom the program runs as; `None` where its ids are real, and only devices are recorded.
    pub user: Option<Credentials>,
}

/// What came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Recorded {
    /// The step sent its listener. Otherwise it has none, and owners were only pretended, or it did not start.
    pub listened: bool,
    /// Calls that were heard of.
    pub calls: u64,
}

/// What the launcher says over the socket: here is the listener.
pub const LISTENER: u8 = 1;

impl Session {
    /// Waits for the listener on `socket`, answers until nobody is left who calls, and writes the owners anew.
    ///
    /// # Errors
    /// What cannot be read or written. The step's calls fail from then on.
    pub fn run(&self, socket: &OwnedFd) -> Result<Recorded> {
        let failed =
            |doing: &'static str| move |error: io::Error| Error::io(doing, "the step", error);
        let root = open_directory(&self.root)?;
        let changes = open_directory(&self.changes)?;
        let before =
            Owners::read(&self.owners).map_err(|error| owners_error(&self.owners, &error))?;
        let table = self.primed(&root, &before)?;
        let listener = loop {
            match socket::receive(socket.as_fd()).map_err(failed("receive the listener of"))? {
                Some((LISTENER, Some(fd))) => break fd,
                Some(_) => {}
                None => return Ok(Recorded { listened: false, calls: 0 }),
            }
        };
        let mut supervisor = Supervisor {
            listener: Listener::new(listener).map_err(failed("listen to"))?,
            table,
            sets: self.user.clone().map(Sets::new),
            view: View::default(),
            decoder: Decoder::new(),
            calls: 0,
        };
        // A thread of its own, which ends with the step's root for its own: it would keep the tree mounted.
        let supervise = || supervisor.run().map_err(failed("answer"));
        std::thread::scope(|scope| {
            let thread = std::thread::Builder::new().name("tsbuild-recorder".into());
            let running = thread.spawn_scoped(scope, supervise).map_err(failed("watch"))?;
            running.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })?;
        let after = owners_after(&supervisor.table, &root, &changes, &before)?;
        if after != before {
            after.write(&self.owners).map_err(|error| owners_error(&self.owners, &error))?;
        }
        Ok(Recorded { listened: true, calls: supervisor.calls })
    }

    fn primed(&self, root: &OwnedFd, before: &Owners) -> Result<Table> {
        let mut table = Table::default();
        let own = if self.changes == self.root {
            before.clone()
        } else {
            before.of_tree(&self.changes).map_err(|error| owners_error(&self.changes, &error))?
        };
        for (path, record) in before.iter() {
            if let Some(facts) = facts_of(root, path)? {
                table.prime(&facts, record.clone(), own.get(path).is_none());
            }
        }
        for (root, owners) in &self.trees {
            let known = Owners::read(owners).map_err(|error| owners_error(owners, &error))?;
            let root = open_directory(root)?;
            for (path, record) in known.iter() {
                if let Some(facts) = facts_of(&root, path)? {
                    table.prime(&facts, record.clone(), true);
                }
            }
        }
        for (path, uid, gid) in &self.mounted {
            let facts =
                Facts::of(CWD, path.as_os_str().as_encoded_bytes(), AtFlags::SYMLINK_NOFOLLOW)
                    .map_err(|errno| Error::io("examine", path, errno))?;
            table.prime(&facts, Record::owner(*uid, *gid), false);
        }
        Ok(table)
    }
}

fn owners_error(path: &Path, error: &tsbuild_owners::Error) -> Error {
    Error::of("IO", path, error.to_string())
}

fn open_directory(path: &Path) -> Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    openat(CWD, path, flags, Mode::empty()).map_err(|errno| Error::io("open", path, errno))
}

/// `None` where there is no such path.
fn facts_of(root: &OwnedFd, path: &[u8]) -> Result<Option<Facts>> {
    let found = if path.is_empty() {
        Facts::of_open(root)
    } else {
        Facts::of(root, path, AtFlags::SYMLINK_NOFOLLOW)
    };
    match found {
        Ok(facts) => Ok(Some(facts)),
        Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
        Err(errno) => Err(Error::io("examine", String::from_utf8_lossy(path).into_owned(), errno)),
    }
}

/// Paths that had a record and paths that changed: no other can have one now. Nothing runs in the tree any more.
fn owners_after(
    table: &Table,
    root: &OwnedFd,
    changes: &OwnedFd,
    before: &Owners,
) -> Result<Owners> {
    let mut after = Owners::new();
    if table.is_empty() {
        return Ok(after);
    }
    let mut look = |path: &[u8]| -> Result<()> {
        if let Some(facts) = facts_of(root, path)?
            && let Some(record) = table.get(&facts)
        {
            let record = acl::with_current(record.clone(), facts.mode);
            after.set(path, record);
        }
        Ok(())
    };
    for (path, _) in before.iter() {
        look(path)?;
    }
    look(b"")?;
    walk(changes, &mut Vec::new(), &mut look)?;
    Ok(after)
}

fn walk(
    directory: &OwnedFd,
    path: &mut Vec<u8>,
    look: &mut impl FnMut(&[u8]) -> Result<()>,
) -> Result<()> {
    let failed = |path: &[u8]| {
        let path = String::from_utf8_lossy(path).into_owned();
        move |errno: Errno| Error::io("read the directory", path, errno)
    };
    let entries = Dir::read_from(directory).map_err(failed(path))?;
    for entry in entries {
        let entry = entry.map_err(failed(path))?;
        let name = entry.file_name().to_bytes();
        if name == b"." || name == b".." {
            continue;
        }
        let length = path.len();
        if length > 0 {
            path.push(b'/');
        }
        path.extend_from_slice(name);
        look(path)?;
        if entry.file_type() == FileType::Directory {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let below = openat(directory, name, flags, Mode::empty()).map_err(failed(path))?;
            walk(&below, path, look)?;
        }
        path.truncate(length);
    }
    Ok(())
}
