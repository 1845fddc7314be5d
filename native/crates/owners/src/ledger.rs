//! The owners of a merged tree while something changes it.

use std::path::PathBuf;

use crate::{Device, Owners, Record, Result};

/// Where owners of a tree are recorded, and which.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recording {
    /// The tree's sidecar.
    pub file: PathBuf,
    /// All of them, since the namespace has a single id; otherwise only devices that cannot be made.
    pub single: bool,
}

/// Owners that are read from a file, changed along with the tree, and written back.
pub struct Ledger {
    file: PathBuf,
    owners: Owners,
    single: bool,
    changed: bool,
}

impl Ledger {
    /// Reads what is recorded so far.
    ///
    /// # Errors
    /// `Io`, `Damaged`.
    pub fn open(recording: &Recording) -> Result<Self> {
        let Recording { file, single } = recording.clone();
        Ok(Self { owners: Owners::read(&file)?, file, single, changed: false })
    }

    /// Writes the file, if there is something new.
    ///
    /// # Errors
    /// `Io`.
    pub fn close(self) -> Result<()> {
        if self.changed { self.owners.write(&self.file) } else { Ok(()) }
    }

    /// What is recorded now.
    pub fn owners(&self) -> &Owners {
        &self.owners
    }

    /// The owner to give a file on disk that is to belong to these.
    pub fn on_disk(&self, uid: u32, gid: u32) -> (u32, u32) {
        if self.single { (0, 0) } else { (uid, gid) }
    }

    /// A path has this owner now, and is an empty file in the place of `device`. What it was before is forgotten; what
    /// is below it is not.
    pub fn made(&mut self, path: &[u8], uid: u32, gid: u32, device: Option<Device>) {
        let (uid, gid) = if self.single { (uid, gid) } else { (0, 0) };
        self.set(path, Record { uid, gid, device, attributes: Vec::new() });
    }

    /// `path` is one more name of the file at `first`.
    pub fn linked(&mut self, first: &[u8], path: &[u8]) {
        let record = self.owners.get(first).cloned().unwrap_or_default();
        self.set(path, record);
    }

    /// A path has gone with all that was below it.
    pub fn removed(&mut self, path: &[u8]) {
        if self.owners.tree(path).next().is_some() {
            self.owners.remove_tree(path);
            self.changed = true;
        }
    }

    fn set(&mut self, path: &[u8], record: Record) {
        let known = self.owners.get(path);
        if known.map_or_else(|| record.is_trivial(), |known| *known == record) {
            return;
        }
        self.owners.set(path, record);
        self.changed = true;
    }
}
