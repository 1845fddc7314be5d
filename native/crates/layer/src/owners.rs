//! Owners of prepared trees and of the layers that they become.

use std::path::{Path, PathBuf};

use tsbuild_owners::{Owners, Stack};

use crate::{
    disk,
    error::{Error, Result},
    inside,
};

/// Writes what a stack of layers, topmost first, records of its merged tree to `file`.
///
/// # Errors
/// `DAMAGED_OWNERS`, `IO`.
pub fn merge_owners(lowers: &[PathBuf], file: &Path) -> Result<()> {
    Ok(Stack::open(lowers)?.merged()?.write(file)?)
}

/// What is to become a layer.
#[derive(Clone, Debug)]
pub struct LayerOwnersOptions {
    /// The file of the merged tree's owners.
    pub merged: PathBuf,
    /// The layer's directory.
    pub tree: PathBuf,
    /// What is below it, topmost first.
    pub lowers: Vec<PathBuf>,
    /// The layer's sidecar.
    pub output: PathBuf,
}

/// Writes a layer's sidecar. Tells whether the root has another record than below.
///
/// # Errors
/// `DAMAGED_OWNERS`, `IO`.
pub fn write_layer_owners(options: &LayerOwnersOptions) -> Result<bool> {
    let merged = Owners::read(&options.merged)?;
    merged.of_tree(&options.tree)?.write(&options.output)?;
    let below = Stack::open(&options.lowers)?;
    Ok(below.owner_of(b"")? != merged.get(b"").cloned().unwrap_or_default())
}

/// Forgets what is recorded in `file` of paths that a merged tree has no more, or that are no placeholders of devices
/// any more: something ran in the tree that knows nothing of records.
///
/// # Errors
/// `DAMAGED_OWNERS`, `IO`.
pub fn prune_owners(tree: &Path, file: &Path) -> Result<()> {
    let owners = Owners::read(file)?;
    if owners.is_empty() {
        return Ok(());
    }
    let mut kept = owners.of_tree(tree)?;
    let root = disk::open_root(tree.as_os_str().as_encoded_bytes())?;
    for (path, record) in owners.iter().filter(|(_, record)| record.device.is_some()) {
        let (above, name) = disk::split(path);
        let facts = match inside::open(&root, above, None) {
            Ok(place) => disk::facts(&place.fd, name)
                .map_err(|errno| Error::io("cannot examine", path, errno))?,
            Err(_) => None,
        };
        let stands_for_it = facts.is_some_and(|facts| facts.is_file() && facts.size == 0);
        if !stands_for_it && kept.get(path).is_some() {
            kept.set(path, tsbuild_owners::Record { device: None, ..record.clone() });
        }
    }
    if kept == owners { Ok(()) } else { Ok(kept.write(file)?) }
}
