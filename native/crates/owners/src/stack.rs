//! Owners in a stack of layers, by overlayfs's rules: the topmost entry counts; a whiteout, an opaque directory or
//! anything that is not a directory hides what is below.

use std::{
    cell::{OnceCell, RefCell},
    collections::HashMap,
    os::fd::{AsRawFd, OwnedFd},
    path::{Path, PathBuf},
    rc::Rc,
};

use rustix::{
    fs::{AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags, lgetxattr, openat, openat2, statat},
    io::Errno,
};

use crate::{Error, Owners, Record, Result};

/// Layer directories, topmost first, each with its owners.
pub struct Stack {
    layers: Vec<Layer>,
    /// Which layers make up a merged directory. Asked for siblings in turn, and seldom for many directories.
    directories: RefCell<HashMap<Vec<u8>, Rc<Vec<Part>>>>,
}

struct Layer {
    path: PathBuf,
    owners: Owners,
}

/// One layer's share of a merged directory.
struct Part {
    layer: usize,
    directory: Directory,
}

/// An open directory of a layer.
struct Directory {
    fd: OwnedFd,
    /// Empty files in it may be whiteouts, marked by an attribute (Linux 6.7). Asked for at the first empty file.
    holds_marked_whiteouts: OnceCell<bool>,
}

impl From<OwnedFd> for Directory {
    fn from(fd: OwnedFd) -> Self {
        Self { fd, holds_marked_whiteouts: OnceCell::new() }
    }
}

/// What one layer says about a name.
enum Seen {
    Nothing,
    Hidden,
    Entry { directory: bool },
}

/// Descriptors of directories that are kept open at once are at most about this many times the number of layers.
const MAX_DIRECTORIES: usize = 32;

impl Stack {
    /// Of layer directories, topmost first; each one's sidecar is read.
    ///
    /// # Errors
    /// `Io`, `Damaged`.
    pub fn open<P: AsRef<Path>>(layers: &[P]) -> Result<Self> {
        let layers = layers.iter().map(|path| {
            let path = path.as_ref().to_owned();
            Ok(Layer { owners: Owners::of_layer(&path)?, path })
        });
        Ok(Self { layers: layers.collect::<Result<_>>()?, directories: RefCell::default() })
    }

    /// The same below a tree whose owners are not written yet. `owners` are of the paths in that tree, not merged.
    ///
    /// # Errors
    /// `Io`, `Damaged`.
    pub fn with_changes<P: AsRef<Path>>(
        changed: &Path,
        owners: Owners,
        lowers: &[P],
    ) -> Result<Self> {
        let mut stack = Self::open(lowers)?;
        stack.layers.insert(0, Layer { path: changed.to_owned(), owners });
        Ok(stack)
    }

    /// Whether no layer records anything.
    pub fn is_empty(&self) -> bool {
        self.layers.iter().all(|layer| layer.owners.is_empty())
    }

    /// The record in the topmost layer whose tree has the path. One that says nothing where nothing is recorded, and
    /// where there is no such path.
    ///
    /// # Errors
    /// `Io`.
    pub fn owner_of(&self, path: &[u8]) -> Result<Record> {
        let layer = if self.is_empty() { None } else { self.layer_of(path)? };
        Ok(layer.and_then(|layer| self.layers[layer].owners.get(path)).cloned().unwrap_or_default())
    }

    /// Whether the merged tree has the path.
    ///
    /// # Errors
    /// `Io`.
    pub fn has(&self, path: &[u8]) -> Result<bool> {
        Ok(self.layer_of(path)?.is_some())
    }

    /// The owners of the merged tree: every record that can be seen in it.
    ///
    /// # Errors
    /// `Io`.
    pub fn merged(&self) -> Result<Owners> {
        let mut merged = Owners::new();
        for (index, layer) in self.layers.iter().enumerate() {
            for (path, record) in layer.owners.iter() {
                // Topmost first: what is in already hides this one, and costs no look.
                if merged.get(path).is_none() && self.layer_of(path)? == Some(index) {
                    merged.set(path, record.clone());
                }
            }
        }
        Ok(merged)
    }

    /// The topmost layer whose tree has the path; `None` where the merged tree has no such path.
    fn layer_of(&self, path: &[u8]) -> Result<Option<usize>> {
        let (above, name) = match path.iter().rposition(|byte| *byte == b'/') {
            Some(slash) => (&path[..slash], &path[slash + 1..]),
            None => (&b""[..], path),
        };
        let parts = self.parts(above)?;
        if name.is_empty() {
            return Ok(parts.first().map(|part| part.layer));
        }
        for part in parts.iter() {
            match self.seen(part, name, path)? {
                Seen::Nothing => {}
                Seen::Hidden => return Ok(None),
                Seen::Entry { .. } => return Ok(Some(part.layer)),
            }
        }
        Ok(None)
    }

    /// What the merged directory `path` is made of, topmost first; nothing where there is none.
    fn parts(&self, path: &[u8]) -> Result<Rc<Vec<Part>>> {
        if let Some(known) = self.directories.borrow().get(path) {
            return Ok(Rc::clone(known));
        }
        let mut parts = Vec::new();
        if path.is_empty() {
            for (index, layer) in self.layers.iter().enumerate() {
                let fd = openat(CWD, &layer.path, DIRECTORY, Mode::empty())
                    .map_err(|errno| Error::io("open", &layer.path, errno))?;
                let opaque = is_opaque(&fd);
                parts.push(Part { layer: index, directory: fd.into() });
                if opaque {
                    break;
                }
            }
        } else {
            let (above, name) = match path.iter().rposition(|byte| *byte == b'/') {
                Some(slash) => (&path[..slash], &path[slash + 1..]),
                None => (&b""[..], path),
            };
            for part in self.parts(above)?.iter() {
                match self.seen(part, name, path)? {
                    Seen::Nothing => continue,
                    Seen::Hidden | Seen::Entry { directory: false } => break,
                    Seen::Entry { directory: true } => {}
                }
                let fd =
                    openat(&part.directory.fd, name, DIRECTORY | OFlags::NOFOLLOW, Mode::empty())
                        .map_err(|errno| self.failed("open", part, path, errno))?;
                let opaque = is_opaque(&fd);
                parts.push(Part { layer: part.layer, directory: fd.into() });
                if opaque {
                    break;
                }
            }
        }
        let parts = Rc::new(parts);
        let mut directories = self.directories.borrow_mut();
        if directories.len() >= MAX_DIRECTORIES {
            directories.clear();
        }
        directories.insert(path.to_vec(), Rc::clone(&parts));
        Ok(parts)
    }

    fn seen(&self, part: &Part, name: &[u8], path: &[u8]) -> Result<Seen> {
        look(&part.directory, name).map_err(|errno| self.failed("examine", part, path, errno))
    }

    fn failed(&self, doing: &'static str, part: &Part, path: &[u8], errno: Errno) -> Error {
        let place = self.layers[part.layer].path.join(&*String::from_utf8_lossy(path));
        Error::io(doing, place, errno)
    }
}

const DIRECTORY: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

fn look(directory: &Directory, name: &[u8]) -> std::result::Result<Seen, Errno> {
    let stat = match statat(&directory.fd, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => stat,
        Err(Errno::NOENT) => return Ok(Seen::Nothing),
        Err(errno) => return Err(errno),
    };
    let kind = FileType::from_raw_mode(stat.st_mode);
    let hidden = match kind {
        FileType::CharacterDevice => stat.st_rdev == 0,
        FileType::RegularFile if stat.st_size == 0 => {
            *directory
                .holds_marked_whiteouts
                .get_or_init(|| has_mark(&directory.fd, b".", "opaque", Some(b"x")))
                && has_mark(&directory.fd, name, "whiteout", None)
        }
        _ => false,
    };
    Ok(if hidden { Seen::Hidden } else { Seen::Entry { directory: kind == FileType::Directory } })
}

fn is_opaque(directory: &OwnedFd) -> bool {
    has_mark(directory, b".", "opaque", Some(b"y"))
}

/// Overlayfs's own attributes, in either namespace: a tree may have been written under either. One that cannot be read
/// is not there.
fn has_mark(directory: &OwnedFd, name: &[u8], mark: &str, expected: Option<&[u8]>) -> bool {
    // A descriptor of a path has no attributes; the kernel's name for it has.
    let place = [format!("/proc/self/fd/{}/", directory.as_raw_fd()).as_bytes(), name].concat();
    ["user.overlay.", "trusted.overlay."].iter().any(|prefix| {
        let mut value = [0_u8; 8];
        match lgetxattr(&*place, format!("{prefix}{mark}"), &mut value[..]) {
            Ok(length) => expected.is_none_or(|expected| value[..length] == *expected),
            Err(_) => false,
        }
    })
}

/// One tree that is asked for many paths in their order.
pub(crate) struct Tree {
    root: OwnedFd,
    /// The directory of the last path; `None` where there is none.
    last: Option<(Vec<u8>, Option<Directory>)>,
}

impl Tree {
    pub fn open(path: &Path) -> Result<Self> {
        let root = openat(CWD, path, DIRECTORY, Mode::empty())
            .map_err(|errno| Error::io("open", path, errno))?;
        Ok(Self { root, last: None })
    }

    /// Whether the tree has the path, and not as a whiteout. No link is followed on the way.
    pub fn has(&mut self, path: &[u8]) -> std::result::Result<bool, Errno> {
        let (above, name) = match path.iter().rposition(|byte| *byte == b'/') {
            Some(slash) => (&path[..slash], &path[slash + 1..]),
            None => (&b""[..], path),
        };
        if name.is_empty() {
            return Ok(true);
        }
        if self.last.as_ref().is_none_or(|(known, _)| known != above) {
            self.last = Some((above.to_vec(), self.directory(above)?));
        }
        match &self.last {
            Some((_, Some(directory))) => Ok(matches!(look(directory, name)?, Seen::Entry { .. })),
            _ => Ok(false),
        }
    }

    fn directory(&self, path: &[u8]) -> std::result::Result<Option<Directory>, Errno> {
        let path = if path.is_empty() { b"." } else { path };
        let flags = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        match openat2(&self.root, path, DIRECTORY, Mode::empty(), flags) {
            Ok(fd) => Ok(Some(fd.into())),
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(None),
            Err(errno) => Err(errno),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use rustix::fs::{XattrFlags, setxattr};

    use super::*;
    use crate::sidecar_of;

    struct Layers(PathBuf);

    impl Drop for Layers {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    impl Layers {
        fn new(name: &str) -> Self {
            let path =
                std::env::temp_dir().join(format!("tsbuild-stack-{name}-{}", std::process::id()));
            let _ = fs::remove_dir_all(&path);
            Self(path)
        }

        /// `path/` is a directory, `path/!` an opaque one, `path=N` a record.
        fn layer(&self, name: &str, entries: &[&str]) -> PathBuf {
            let tree = self.0.join(name).join("fs");
            fs::create_dir_all(&tree).unwrap();
            let mut owners = Owners::new();
            for entry in entries {
                let (path, id) = entry.split_once('=').unwrap_or((entry, "0"));
                let id: u32 = id.parse().unwrap();
                let place = tree.join(path.trim_end_matches(['/', '!']));
                if path.ends_with(['/', '!']) || path.is_empty() {
                    fs::create_dir_all(&place).unwrap();
                } else {
                    fs::create_dir_all(place.parent().unwrap()).unwrap();
                    fs::write(&place, b"x").unwrap();
                }
                if path.ends_with('!') {
                    setxattr(&place, "user.overlay.opaque", b"y", XattrFlags::empty()).unwrap();
                }
                owners.set(path.trim_end_matches(['/', '!']), Record::owner(id, id));
            }
            owners.write(&sidecar_of(&tree)).unwrap();
            tree
        }
    }

    fn uids(owners: &Owners) -> Vec<(String, u32)> {
        owners
            .iter()
            .map(|(path, record)| (String::from_utf8_lossy(path).into_owned(), record.uid))
            .collect()
    }

    #[test]
    fn the_topmost_layer_that_has_the_path_decides() {
        let layers = Layers::new("topmost");
        let bottom = layers.layer("bottom", &["=9", "d/=1", "d/f=2", "d/g=3", "e/=4", "h=5"]);
        let top = layers.layer("top", &["d/", "d/f=7", "h"]);
        let stack = Stack::open(&[&top, &bottom]).unwrap();
        let uid = |path: &str| stack.owner_of(path.as_bytes()).unwrap().uid;
        // The directories of the top, its root too, have no record and are therefore 0:0.
        assert_eq!(
            [uid(""), uid("d"), uid("d/f"), uid("d/g"), uid("e"), uid("h"), uid("none")],
            [0, 0, 7, 3, 4, 0, 0]
        );
        let expected = [("d/f", 7), ("d/g", 3), ("e", 4)];
        assert_eq!(uids(&stack.merged().unwrap()), expected.map(|(path, id)| (path.into(), id)));
    }

    #[test]
    fn what_is_hidden_has_no_owner() {
        let layers = Layers::new("hidden");
        let bottom = layers.layer("bottom", &["a/f=1", "b/f=2", "b/g=3", "c/f=4", "d/x/f=5"]);
        let top = layers.layer("top", &["a!", "b/g", "c=6"]);
        let link = top.join("d");
        std::os::unix::fs::symlink("a", &link).unwrap();
        let stack = Stack::open(&[&top, &bottom]).unwrap();
        let expected = [("b/f", 2), ("c", 6)];
        assert_eq!(uids(&stack.merged().unwrap()), expected.map(|(path, id)| (path.into(), id)));
        assert_eq!(stack.owner_of(b"d/x/f").unwrap(), Record::default());
    }

    #[test]
    fn a_stale_record_counts_for_nothing() {
        let layers = Layers::new("stale");
        let bottom = layers.layer("bottom", &["a/f=1"]);
        let mut owners = Owners::beside(&bottom).unwrap();
        owners.set("gone/f", Record::owner(3, 3));
        owners.write(&sidecar_of(&bottom)).unwrap();
        assert_eq!(uids(&Stack::open(&[&bottom]).unwrap().merged().unwrap()), [("a/f".into(), 1)]);
    }

    #[test]
    fn changes_on_top_make_the_merged_owners_new() {
        let layers = Layers::new("changes");
        let bottom = layers.layer("bottom", &["d/=1", "d/f=2", "d/g=3"]);
        let upper = layers.layer("upper", &["d/", "d/g"]);
        let owners = [(b"d".to_vec(), Record::owner(1, 1)), (b"d/g".to_vec(), Record::owner(8, 8))];
        let stack = Stack::with_changes(&upper, owners.into_iter().collect(), &[&bottom]).unwrap();
        let merged = stack.merged().unwrap();
        let expected = [("d", 1), ("d/f", 2), ("d/g", 8)];
        assert_eq!(uids(&merged), expected.map(|(path, id)| (path.into(), id)));
        let of_upper = merged.of_tree(&upper).unwrap();
        assert_eq!(uids(&of_upper), [("d".into(), 1), ("d/g".into(), 8)]);
    }
}
