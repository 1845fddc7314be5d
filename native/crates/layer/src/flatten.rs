//! A stack of layers as one plain tree: what overlayfs would show, for hosts that do not let us mount it.

use std::{
    collections::HashMap,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
};

use rustix::fs::{AtFlags, futimens, linkat};
use tsbuild_owners::Stack;

use crate::{
    copy,
    disk::{self, Facts},
    error::{Error, Result},
    inside, remove,
    union::Union,
    watch::Watch,
    xattr,
};

/// Copies the merged tree of `lowers`, topmost first, into `target`, an existing empty directory. Files are cloned
/// where the filesystem can. What the layers record of owners goes to the file `owners`, or is left out without one.
///
/// # Errors
/// `DAMAGED_OWNERS`, `IO`, `CANCELLED`. The target is empty then; one that was not empty before is refused and left alone.
pub fn flatten_layers(
    lowers: &[PathBuf],
    target: &Path,
    owners: Option<&Path>,
    watch: Watch<'_>,
) -> Result<()> {
    let shown = target.as_os_str().as_encoded_bytes();
    let root = disk::open_root(shown)?;
    // What is there is somebody's: it must not be removed when something goes wrong.
    let names =
        disk::names(&root).map_err(|errno| Error::io("cannot list directory", shown, errno))?;
    if !names.is_empty() {
        return Err(Error::io("cannot copy into", shown, rustix::io::Errno::NOTEMPTY));
    }
    let record = |owners: &Path| Ok(Stack::open(lowers)?.merged()?.write(owners)?);
    let result = flatten(lowers, &root, watch).and_then(|()| owners.map_or(Ok(()), record));
    if result.is_err() {
        let _ = remove::remove_contents(&root);
    }
    result
}

fn flatten(lowers: &[PathBuf], root: &OwnedFd, watch: Watch<'_>) -> Result<()> {
    let merged = Union::open(lowers)?;
    let Some(top) = merged.top().cloned() else { return Ok(()) };
    let facts = disk::facts_of(&top).map_err(|errno| Error::io("cannot examine", b"/", errno))?;
    let mut flattening = Flattening { root, links: HashMap::new(), watch };
    flattening.directory(&merged, root, b"")?;
    copy::set_metadata(root, &facts, &xattr::read(&top, b"", b"/")?, b"/")?;
    futimens(root, &copy::times(&facts))
        .map_err(|errno| Error::io("cannot set the time of", b"/", errno))
}

struct Flattening<'a> {
    root: &'a OwnedFd,
    /// Names of one file in one layer stay names of one file.
    links: HashMap<(u64, u64), Vec<u8>>,
    watch: Watch<'a>,
}

impl Flattening<'_> {
    fn directory(&mut self, merged: &Union, target: &OwnedFd, path: &[u8]) -> Result<()> {
        for (name, found) in merged.entries(path)? {
            self.watch.poll()?;
            let full = disk::join(path, &name);
            let attributes = xattr::read(&found.directory, &name, &full)?;
            if found.facts.is_directory() {
                let inner = copy::make_directory(target, &name, &full)?;
                self.directory(&merged.descend(&name, &found, &full)?, &inner, &full)?;
                // After its children, which need to be made in it, and whose making changes its time.
                copy::set_metadata(&inner, &found.facts, &attributes, &full)?;
                futimens(&inner, &copy::times(&found.facts))
                    .map_err(|errno| Error::io("cannot set the time of", &full, errno))?;
            } else if !self.link(&found.facts, target, &name, &full)? {
                copy::copy_leaf(
                    &found.directory,
                    target,
                    &name,
                    &found.facts,
                    &attributes,
                    &full,
                    self.watch,
                )?;
            }
        }
        Ok(())
    }

    fn link(&mut self, facts: &Facts, target: &OwnedFd, name: &[u8], path: &[u8]) -> Result<bool> {
        if facts.links <= 1 {
            return Ok(false);
        }
        let Some(first) = self.links.get(&(facts.dev, facts.ino)) else {
            self.links.insert((facts.dev, facts.ino), path.to_vec());
            return Ok(false);
        };
        let (above, base) = disk::split(first);
        let place = inside::open(self.root, above, None)
            .map_err(|errno| Error::io("cannot open directory", above, errno))?;
        linkat(&place.fd, base, target, name, AtFlags::empty())
            .map_err(|errno| Error::io("cannot make hard link", path, errno))?;
        Ok(true)
    }
}
