//! All that is known of the user's files below a directory: what a walk saw, and what their contents are. Many thousand rows stay here
//! while JavaScript asks for few of them, and go on to another process as a file (`file.rs`).

mod copies;
mod file;
#[cfg(test)]
mod tests;
mod text;

use std::{
    cmp::Ordering,
    collections::HashSet,
    ffi::OsStr,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    sync::atomic::AtomicBool,
};

pub use copies::Placement;
pub use file::Contents;

use crate::{
    Error, Result, fingerprint,
    hash::{self, FileFacts},
    scan::ScanEntry,
    walk::{self, Listed},
};

/// What one walk saw.
pub struct Walked {
    root: PathBuf,
    listed: Vec<Listed>,
    /// Of all that was seen; described in docs/reference/store.md.
    pub fingerprint: String,
    /// The same of names and kinds alone.
    pub names: String,
    /// The latest time of a file's, of both kinds; nanoseconds since the epoch.
    pub newest_ns: i128,
}

impl Walked {
    /// Walks a directory. Of paths in `skip`, which are relative to it, nothing is kept.
    ///
    /// # Errors
    /// `IO`, `CANCELLED`.
    pub fn of(root: &Path, skip: &HashSet<Vec<u8>>, cancel: &AtomicBool) -> Result<Self> {
        let found = walk::walk(root, skip, cancel, |listed| {
            let newest = listed
                .rows
                .iter()
                .filter(|row| row.entry.kind == "file" && !row.is_skipped)
                .map(|row| row.entry.mtime_ns.max(row.entry.ctime_ns))
                .max();
            (fingerprint::of_directory(&listed), fingerprint::of_names(&listed), newest, listed)
        })?;
        let (mut all, mut names) =
            (Vec::with_capacity(found.len()), Vec::with_capacity(found.len()));
        let (mut newest_ns, mut kept) = (i128::MIN, Vec::with_capacity(found.len()));
        for (digest, of_names, newest, listed) in found {
            all.push(digest);
            names.push(of_names);
            newest_ns = newest_ns.max(newest.unwrap_or(i128::MIN));
            kept.push(listed);
        }
        Ok(Self {
            root: root.to_owned(),
            listed: kept,
            fingerprint: fingerprint::of_digests(all),
            names: fingerprint::of_digests(names),
            newest_ns,
        })
    }

    /// What was seen, less the paths in `hidden`.
    pub fn index(self, hidden: &HashSet<Vec<u8>>) -> TreeIndex {
        let mut denied = Vec::new();
        let mut entries = Vec::new();
        for listed in self.listed {
            if listed.is_denied {
                denied.push(listed.path);
            } else {
                let kept = listed.into_entries().filter(|entry| !hidden.contains(&entry.path));
                entries.extend(kept.map(|entry| IndexEntry { entry, content: None }));
            }
        }
        entries.sort_unstable_by(|left, right| order(&left.entry.path, &right.entry.path));
        TreeIndex { root: self.root, denied, entries }
    }
}

/// The entries of a directory, sorted as JavaScript sorts their paths.
#[derive(Debug)]
pub struct TreeIndex {
    root: PathBuf,
    /// Directories that this process may not look into.
    denied: Vec<Vec<u8>>,
    entries: Vec<IndexEntry>,
}

/// An entry, and its content where that is known.
#[derive(Debug, Clone)]
pub struct IndexEntry {
    /// Of a file whose content is known: as it was when it was read.
    pub entry: ScanEntry,
    /// Of a file.
    pub content: Option<Content>,
}

/// The content of a file.
#[derive(Debug, Clone)]
pub struct Content {
    /// Lower-case hex.
    pub sha256: String,
    /// Whether the file was old enough when it was read that any later change shows in its times.
    pub is_settled: bool,
}

/// Some of the entries, by number, in their order.
pub type Chosen = Vec<usize>;

/// Whether all is as the walk saw it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hashed {
    /// What was read is what the walk saw.
    AsSeen,
    /// A file changed between the walk and its reading.
    Changed,
}

impl TreeIndex {
    /// Takes over what is known of contents of files that are the same by their facts.
    pub fn adopt(&mut self, known: &Self) {
        let mut earlier = known.entries.iter().peekable();
        for IndexEntry { entry, content } in &mut self.entries {
            if content.is_some() || entry.kind != "file" {
                continue;
            }
            while earlier.next_if(|other| order(&other.entry.path, &entry.path).is_lt()).is_some() {
            }
            let same = earlier.peek().filter(|other| {
                let (one, other) = (&*entry, &other.entry);
                one.path == other.path
                    && (one.kind, one.size, one.dev, one.ino, one.mtime_ns, one.ctime_ns)
                        == (
                            other.kind,
                            other.size,
                            other.dev,
                            other.ino,
                            other.mtime_ns,
                            other.ctime_ns,
                        )
            });
            *content = same.and_then(|same| same.content.clone());
        }
    }

    /// The directory.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Directories that this process may not look into, relative to the root.
    pub fn denied(&self) -> &[Vec<u8>] {
        &self.denied
    }

    /// What is at a path, which is relative to the root.
    pub fn get(&self, path: &[u8]) -> Option<&IndexEntry> {
        self.number_of(path).map(|number| &self.entries[number])
    }

    fn number_of(&self, path: &[u8]) -> Option<usize> {
        self.entries.binary_search_by(|each| order(&each.entry.path, path)).ok()
    }

    /// What a directory holds, sorted by name.
    pub fn children<'a>(&'a self, directory: &'a [u8]) -> impl Iterator<Item = &'a ScanEntry> {
        let prefix = if directory.is_empty() { 0 } else { directory.len() + 1 };
        self.below(directory)
            .iter()
            .map(|each| &each.entry)
            .filter(move |entry| !entry.path[prefix..].contains(&b'/'))
    }

    fn below(&self, directory: &[u8]) -> &[IndexEntry] {
        &self.entries[self.range_below(directory)]
    }

    fn range_below(&self, directory: &[u8]) -> std::ops::Range<usize> {
        if directory.is_empty() {
            return 0..self.entries.len();
        }
        let prefix = [directory, b"/"].concat();
        let start = self.entries.partition_point(|each| order(&each.entry.path, &prefix).is_lt());
        let length =
            self.entries[start..].partition_point(|each| each.entry.path.starts_with(&prefix));
        start..start + length
    }

    /// The entries that a list of paths means, each of which begins with `=`, or with `*` where all that is below the path is meant and
    /// not itself, and ends with NUL.
    ///
    /// # Errors
    /// `INTERNAL` for a path that is not there.
    pub fn choose(&self, list: &[u8]) -> Result<Chosen> {
        let mut chosen = Vec::new();
        for item in list.split(|byte| *byte == 0).filter(|item| !item.is_empty()) {
            let path = &item[1..];
            match (item[0], self.number_of(path)) {
                (b'*', _) => chosen.extend(self.range_below(path)),
                (b'=', Some(number)) => chosen.push(number),
                _ => {
                    let path = OsStr::from_bytes(path);
                    return Err(Error::of("INTERNAL", path, "a path is not in the index"));
                }
            }
        }
        chosen.sort_unstable();
        chosen.dedup();
        Ok(chosen)
    }

    /// Files of the choice whose content is not known.
    pub fn unknown(&self, chosen: &[usize]) -> Unknown {
        let numbers: Vec<usize> = chosen
            .iter()
            .copied()
            .filter(|number| {
                let IndexEntry { entry, content } = &self.entries[*number];
                entry.kind == "file" && content.is_none()
            })
            .collect();
        let paths =
            numbers.iter().map(|number| self.host_path(&self.entries[*number].entry)).collect();
        Unknown { numbers, paths }
    }

    /// Notes what was read. `settled_ns`: younger files may change again without a change of their times.
    pub fn learn(&mut self, read: Vec<(usize, FileFacts)>, settled_ns: i128) -> Hashed {
        let mut outcome = Hashed::AsSeen;
        for (number, facts) in read {
            let IndexEntry { entry, content } = &mut self.entries[number];
            let FileFacts { sha256, size, dev, ino, mtime_ns, ctime_ns, .. } = facts;
            let seen = (entry.size, entry.dev, entry.ino, entry.mtime_ns, entry.ctime_ns);
            if seen != (size, dev, ino, mtime_ns, ctime_ns) {
                outcome = Hashed::Changed;
            }
            (entry.size, entry.dev, entry.ino) = (size, dev, ino);
            (entry.mtime_ns, entry.ctime_ns) = (mtime_ns, ctime_ns);
            let is_settled = mtime_ns < settled_ns && ctime_ns < settled_ns;
            *content = Some(Content { sha256, is_settled });
        }
        outcome
    }

    fn host_path(&self, entry: &ScanEntry) -> PathBuf {
        self.root.join(OsStr::from_bytes(&entry.path))
    }
}

/// Files that are to be read.
pub struct Unknown {
    numbers: Vec<usize>,
    paths: Vec<PathBuf>,
}

impl Unknown {
    /// Reads them on all cores, for [`TreeIndex::learn`].
    ///
    /// # Errors
    /// `IO`, `IS_A_DIRECTORY`, `CANCELLED`.
    pub fn hash(self, cancel: &AtomicBool) -> Result<Vec<(usize, FileFacts)>> {
        let facts = hash::hash_files(&self.paths, cancel)?;
        Ok(self.numbers.into_iter().zip(facts).collect())
    }
}

/// That of UTF-16, in which JavaScript sorts text: what is beyond the basic plane comes before its last blocks.
fn order(left: &[u8], right: &[u8]) -> Ordering {
    let rank = |byte: u8| if matches!(byte, 0xee | 0xef) { byte + 0x10 } else { byte };
    match left.iter().zip(right).position(|(left, right)| left != right) {
        Some(at) => rank(left[at]).cmp(&rank(right[at])),
        None => left.len().cmp(&right.len()),
    }
}
