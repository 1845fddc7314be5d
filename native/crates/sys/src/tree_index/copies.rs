//! An index as entries of a copy.

use std::{ffi::OsStr, os::unix::ffi::OsStrExt, path::PathBuf};

use super::{IndexEntry, TreeIndex};
use crate::{
    copy::{CopyEntry, EntryKind, Expectation, KnownFile},
    scan::ScanEntry,
};

/// Where all that is below a directory of an index goes, and what becomes of it.
#[derive(Debug, Clone)]
pub struct Placement {
    /// The directory of the index.
    pub below: Vec<u8>,
    /// The directory of the root.
    pub destination: Vec<u8>,
    /// The mode that each kind and mode becomes.
    pub modes: Vec<(String, u32, u32)>,
    /// Of everything.
    pub owner: (u32, u32),
    /// Absent keeps the sources' times.
    pub mtime_ns: Option<i128>,
    /// As that of a [`CopyEntry`].
    pub tree: Option<u32>,
}

impl TreeIndex {
    /// Directories before what is in them. Pipes and devices are left out, and sockets become empty files.
    pub fn copies<'a>(&'a self, placement: &'a Placement) -> impl Iterator<Item = CopyEntry> + 'a {
        let prefix = if placement.below.is_empty() { 0 } else { placement.below.len() + 1 };
        self.below(&placement.below).iter().filter_map(move |IndexEntry { entry, content }| {
            let ScanEntry { path, kind, mode, size, dev, ino, links, mtime_ns, ctime_ns, link } =
                entry;
            let source = self.host_path(entry);
            let kind_of_copy = match *kind {
                "file" => EntryKind::File,
                "directory" => EntryKind::Directory,
                "symlink" => EntryKind::Symlink,
                "socket" => EntryKind::Empty,
                _ => return None,
            };
            let known = placement.modes.iter().find(|(of, from, _)| of == kind && from == mode);
            let destination = [&placement.destination, b"/".as_slice(), &path[prefix..]].concat();
            Some(CopyEntry {
                source,
                destination: PathBuf::from(OsStr::from_bytes(&destination)),
                kind: kind_of_copy,
                link: link.as_deref().map(|link| OsStr::from_bytes(link).into()),
                mode: Some(known.map_or(*mode, |(_, _, to)| *to)),
                owner: Some(placement.owner),
                mtime_ns: Some(placement.mtime_ns.unwrap_or(*mtime_ns)),
                follow: false,
                xattrs: false,
                expect: content.is_some().then_some(Expectation {
                    size: *size,
                    mtime_ns: *mtime_ns,
                    ctime_ns: *ctime_ns,
                }),
                known: content.as_ref().map(|content| KnownFile {
                    sha256: content.sha256.clone(),
                    dev: *dev,
                    ino: *ino,
                    links: *links,
                }),
                tree: placement.tree,
                keeps_existing: false,
            })
        })
    }
}
