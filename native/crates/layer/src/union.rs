//! The directories of a stack of layers seen as one, with overlayfs's rules: the topmost entry counts, directories
//! merge with directories, a whiteout, an opaque mark or anything that is not a directory ends the merge.

use std::{collections::BTreeSet, os::fd::OwnedFd, path::PathBuf, sync::Arc};

use rustix::fs::FileType;
use tsbuild_owners::{Owners, Record};

use crate::{
    disk::{self, Facts},
    error::{Error, Result},
    xattr,
};

/// One directory of the merged tree: what it is made of, topmost first. Empty where nothing is below.
#[derive(Clone, Default)]
pub(crate) struct Union {
    parts: Vec<Part>,
}

#[derive(Clone)]
struct Part {
    fd: Arc<OwnedFd>,
    holds_marked_whiteouts: bool,
    /// Of the layer, and where in it this is.
    owners: Arc<Owners>,
    path: Vec<u8>,
}

/// An entry of the merged tree.
pub(crate) struct Found {
    /// The directory that holds the entry that counts.
    pub directory: Arc<OwnedFd>,
    /// As the disk has it.
    pub facts: Facts,
    /// What the disk could not say.
    pub record: Option<Record>,
    /// Position in the union's list of parts.
    part: usize,
}

impl Found {
    /// What it really is.
    pub fn real(&self) -> Facts {
        self.facts.with(self.record.as_ref())
    }
}

impl Union {
    /// The roots of a stack of layer directories, topmost first.
    pub fn open(layers: &[PathBuf]) -> Result<Self> {
        let mut union = Self::default();
        for layer in layers {
            let path = layer.as_os_str().as_encoded_bytes();
            let owners = Arc::new(Owners::of_layer(layer)?);
            if union.push(disk::open_root(path)?, owners, Vec::new(), path)? {
                break;
            }
        }
        Ok(union)
    }

    /// Whether there is no such directory below.
    pub fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    /// The directory whose metadata counts.
    pub fn top(&self) -> Option<&Arc<OwnedFd>> {
        self.parts.first().map(|part| &part.fd)
    }

    /// What is recorded of that directory.
    pub fn top_record(&self) -> Option<&Record> {
        self.parts.first().and_then(|part| part.owners.get(&part.path))
    }

    /// Adds a part; true when it is opaque, so that nothing further shows through.
    fn push(
        &mut self,
        fd: OwnedFd,
        owners: Arc<Owners>,
        place: Vec<u8>,
        path: &[u8],
    ) -> Result<bool> {
        let attributes = xattr::read(&fd, b"", path)?;
        self.parts.push(Part {
            fd: Arc::new(fd),
            holds_marked_whiteouts: attributes.holds_marked_whiteouts,
            owners,
            path: place,
        });
        Ok(attributes.opaque)
    }

    /// What `name` is here. `path` is for messages.
    pub fn lookup(&self, name: &[u8], path: &[u8]) -> Result<Option<Found>> {
        for (index, part) in self.parts.iter().enumerate() {
            match part.facts(name, path)? {
                Seen::Nothing => {}
                Seen::Whiteout => return Ok(None),
                Seen::Entry(facts) => {
                    let directory = Arc::clone(&part.fd);
                    let record = part.record(name);
                    return Ok(Some(Found { directory, facts, record, part: index }));
                }
            }
        }
        Ok(None)
    }

    /// The merged directory of that name, when `found` is a directory.
    pub fn descend(&self, name: &[u8], found: &Found, path: &[u8]) -> Result<Self> {
        let mut merged = Self::default();
        if !found.facts.is_directory() {
            return Ok(merged);
        }
        for (index, part) in self.parts.iter().enumerate().skip(found.part) {
            // The first was seen already.
            if index > found.part {
                match part.facts(name, path)? {
                    Seen::Nothing => continue,
                    Seen::Entry(facts) if facts.is_directory() => {}
                    Seen::Whiteout | Seen::Entry(_) => break,
                }
            }
            let fd = disk::open_directory(&part.fd, name)
                .map_err(|errno| Error::io("cannot open directory", path, errno))?;
            let place = disk::join(&part.path, name);
            if merged.push(fd, Arc::clone(&part.owners), place, path)? {
                break;
            }
        }
        Ok(merged)
    }

    /// Every name that can be seen here, sorted, with what it is.
    pub fn entries(&self, path: &[u8]) -> Result<Vec<(Vec<u8>, Found)>> {
        let mut names = BTreeSet::new();
        for part in &self.parts {
            names.extend(
                disk::names(&part.fd)
                    .map_err(|errno| Error::io("cannot list directory", path, errno))?,
            );
        }
        let mut entries = Vec::with_capacity(names.len());
        for name in names {
            if let Some(found) = self.lookup(&name, path)? {
                entries.push((name, found));
            }
        }
        Ok(entries)
    }
}

enum Seen {
    Nothing,
    Whiteout,
    Entry(Facts),
}

impl Part {
    fn record(&self, name: &[u8]) -> Option<Record> {
        if self.owners.is_empty() {
            return None;
        }
        self.owners.get(&disk::join(&self.path, name)).cloned()
    }

    fn facts(&self, name: &[u8], path: &[u8]) -> Result<Seen> {
        let facts = disk::facts(&self.fd, name)
            .map_err(|errno| Error::io("cannot examine", path, errno))?;
        Ok(match facts {
            None => Seen::Nothing,
            Some(facts) if facts.is_whiteout() => Seen::Whiteout,
            Some(facts) if self.is_marked_whiteout(name, &facts, path)? => Seen::Whiteout,
            Some(facts) => Seen::Entry(facts),
        })
    }

    fn is_marked_whiteout(&self, name: &[u8], facts: &Facts, path: &[u8]) -> Result<bool> {
        Ok(self.holds_marked_whiteouts
            && facts.kind == FileType::RegularFile
            && facts.size == 0
            && xattr::read(&self.fd, name, path)?.whiteout)
    }
}
