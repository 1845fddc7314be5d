//! The records of one tree.

use std::{
    collections::BTreeMap,
    fs,
    ops::Bound,
    path::{Path, PathBuf},
};

use crate::{Error, Record, Result, file, stack::Tree};

/// Where the owners of the tree in `directory` lie: its sibling `owners`.
pub fn sidecar_of(directory: &Path) -> PathBuf {
    directory.with_file_name("owners")
}

/// Paths of a tree with their records. What is not in it is what the disk says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Owners {
    records: BTreeMap<Vec<u8>, Record>,
}

impl Owners {
    /// Of a tree that needs none.
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads a sidecar. A file that is not there says nothing.
    ///
    /// # Errors
    /// `Io`, `Damaged`.
    pub fn read(path: &Path) -> Result<Self> {
        let bytes = match fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Self::new()),
            Err(error) => return Err(Error::io("read", path, error)),
        };
        Self::from_bytes(&bytes).map_err(|reason| Error::Damaged { path: path.to_owned(), reason })
    }

    /// Reads the sidecar of the tree in `directory`.
    ///
    /// # Errors
    /// `Io`, `Damaged`.
    pub fn beside(directory: &Path) -> Result<Self> {
        Self::read(&sidecar_of(directory))
    }

    /// Of a directory in a list of layers: what lies beside one that is called `fs`, and nothing for any other.
    ///
    /// # Errors
    /// `Io`, `Damaged`.
    pub fn of_layer(directory: &Path) -> Result<Self> {
        if directory.file_name().is_some_and(|name| name == "fs") {
            Self::beside(directory)
        } else {
            Ok(Self::new())
        }
    }

    /// Replaces a sidecar in one step. Where there is nothing to say, there is no file afterwards.
    ///
    /// # Errors
    /// `Io`.
    pub fn write(&self, path: &Path) -> Result<()> {
        if self.is_empty() {
            return match fs::remove_file(path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    Err(Error::io("remove", path, error))
                }
                _ => Ok(()),
            };
        }
        let fresh = path.with_extension("new");
        fs::write(&fresh, self.to_bytes()).map_err(|error| Error::io("write", &fresh, error))?;
        fs::rename(&fresh, path).map_err(|error| Error::io("rename", &fresh, error))
    }

    /// The file's contents; equal owners have equal bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        file::encode(&self.records)
    }

    /// The inverse.
    ///
    /// # Errors
    /// What is wrong with the bytes. Anything but what [`Self::to_bytes`] makes is refused.
    pub fn from_bytes(bytes: &[u8]) -> std::result::Result<Self, &'static str> {
        Ok(Self { records: file::decode(bytes)? })
    }

    /// What is recorded of a path.
    pub fn get(&self, path: &[u8]) -> Option<&Record> {
        self.records.get(path)
    }

    /// Records a path anew. A record that says nothing is forgotten.
    pub fn set(&mut self, path: impl Into<Vec<u8>>, record: Record) {
        let path = path.into();
        if record.is_trivial() {
            self.records.remove(&path);
        } else {
            self.records.insert(path, record);
        }
    }

    /// Forgets a path, and nothing below it.
    pub fn remove(&mut self, path: &[u8]) -> Option<Record> {
        self.records.remove(path)
    }

    /// Forgets a path and all that is below it: it was removed, or is replaced.
    pub fn remove_tree(&mut self, path: &[u8]) {
        if self.is_empty() {
            return;
        }
        let below: Vec<Vec<u8>> = self.tree(path).map(|(path, _)| path.to_vec()).collect();
        for path in below {
            self.records.remove(&path);
        }
    }

    /// All of them, sorted by the bytes of the paths.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &Record)> {
        self.records.iter().map(|(path, record)| (path.as_slice(), record))
    }

    /// How many records there are.
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Whether the disk says all.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// A path and all that is below it is called otherwise now.
    pub fn rename_tree(&mut self, from: &[u8], to: &[u8]) {
        let moved: Vec<(Vec<u8>, Record)> = self
            .tree(from)
            .map(|(path, record)| ([to, &path[from.len()..]].concat(), record.clone()))
            .collect();
        self.remove_tree(from);
        self.remove_tree(to);
        self.records.extend(moved);
    }

    /// A path and all that is below it.
    pub fn tree<'a>(&'a self, path: &'a [u8]) -> impl Iterator<Item = (&'a [u8], &'a Record)> {
        let (start, end) = ([path, b"/"].concat(), [path, b"0"].concat());
        let range = match path {
            b"" => (Bound::Unbounded, Bound::Unbounded),
            _ => (Bound::Included(start.as_slice()), Bound::Excluded(end.as_slice())),
        };
        let itself = if path.is_empty() { None } else { self.records.get_key_value(path) };
        itself
            .into_iter()
            .chain(self.records.range::<[u8], _>(range))
            .map(|(path, record)| (path.as_slice(), record))
    }

    /// Those of the paths that are in the tree of `directory`: of a merged tree's owners those that belong to its upper
    /// directory. Whiteouts there are no paths of it.
    ///
    /// # Errors
    /// `Io`.
    pub fn of_tree(&self, directory: &Path) -> Result<Self> {
        if self.is_empty() {
            return Ok(Self::new());
        }
        let mut tree = Tree::open(directory)?;
        let mut kept = Self::new();
        for (path, record) in &self.records {
            if tree
                .has(path)
                .map_err(|errno| Error::io("examine", directory.join(display(path)), errno))?
            {
                kept.records.insert(path.clone(), record.clone());
            }
        }
        Ok(kept)
    }
}

/// For messages.
fn display(path: &[u8]) -> PathBuf {
    String::from_utf8_lossy(path).into_owned().into()
}

impl FromIterator<(Vec<u8>, Record)> for Owners {
    fn from_iter<T: IntoIterator<Item = (Vec<u8>, Record)>>(records: T) -> Self {
        let mut owners = Self::new();
        for (path, record) in records {
            owners.set(path, record);
        }
        owners
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_removed_tree_takes_what_is_below_and_nothing_beside() {
        let mut owners: Owners = ["a", "a/b", "a/b/c", "a-b", "a0", "ab"]
            .iter()
            .map(|path| (path.as_bytes().to_vec(), Record::owner(1, 2)))
            .collect();
        owners.remove_tree(b"a");
        let left: Vec<&[u8]> = owners.iter().map(|(path, _)| path).collect();
        assert_eq!(left, [&b"a-b"[..], b"a0", b"ab"]);
        owners.remove_tree(b"");
        assert!(owners.is_empty());
    }

    #[test]
    fn a_renamed_tree_takes_the_place_of_another() {
        let mut owners: Owners = [("a", 1), ("a/b", 2), ("a/b/c", 3), ("x/y", 4), ("x/y/z", 5)]
            .iter()
            .map(|(path, id)| (path.as_bytes().to_vec(), Record::owner(*id, *id)))
            .collect();
        owners.rename_tree(b"a/b", b"x/y");
        let left: Vec<(&[u8], u32)> =
            owners.iter().map(|(path, record)| (path, record.uid)).collect();
        assert_eq!(left, [(&b"a"[..], 1), (b"x/y", 2), (b"x/y/c", 3)]);
    }

    #[test]
    fn what_says_nothing_is_not_kept() {
        let mut owners = Owners::new();
        owners.set("a", Record::owner(1, 0));
        owners.set("a", Record::owner(0, 0));
        assert!(owners.is_empty());
    }

    #[test]
    fn a_sidecar_is_written_read_and_taken_away() {
        let directory = std::env::temp_dir().join(format!("tsbuild-owners-{}", std::process::id()));
        fs::create_dir_all(directory.join("fs")).unwrap();
        let tree = directory.join("fs");
        let mut owners = Owners::new();
        owners.set("a", Record::owner(1000, 1000));
        owners.write(&sidecar_of(&tree)).unwrap();
        assert_eq!(Owners::beside(&tree).unwrap(), owners);
        assert_eq!(fs::read_dir(&directory).unwrap().count(), 2);
        Owners::new().write(&sidecar_of(&tree)).unwrap();
        assert_eq!(fs::read_dir(&directory).unwrap().count(), 1);
        assert!(Owners::beside(&tree).unwrap().is_empty());
        fs::write(sidecar_of(&tree), b"tsbuild owners 1\n").unwrap();
        assert!(matches!(Owners::beside(&tree), Err(Error::Damaged { .. })));
        fs::remove_dir_all(&directory).unwrap();
    }
}
