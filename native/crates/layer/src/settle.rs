//! Records made real: a layer that was written with one id, in a namespace that has more.

use std::{
    collections::HashMap,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
};

use rustix::{
    fs::{
        AtFlags, FileType, Gid, Uid, XattrFlags, chownat, futimens, linkat, lsetxattr, renameat,
        unlinkat,
    },
    io::Errno,
};
use tsbuild_owners::{Owners, Record};

use crate::{
    copy::{self, Leaf},
    disk::{self, Facts},
    error::{Error, Result},
    inside,
    watch::Watch,
    xattr::{self, Attributes, OverlayXattrs},
};

/// In a layer that nobody uses yet; what a killed process left is replaced.
const TEMPORARY: &[u8] = b".tsbuild-settle";

/// Gives the files of the layer `tree` the owners that its sidecar records, and devices their nodes. What cannot be had
/// here either stays recorded; without such a rest the sidecar goes. Killed in between, it is done again: an owner that is
/// on disk already counts, so that readers see the same all the time.
///
/// # Errors
/// `DAMAGED_OWNERS`, `IO`, `CANCELLED`.
pub fn settle_owners(
    tree: &Path,
    sidecar: &Path,
    overlay: OverlayXattrs,
    watch: Watch<'_>,
) -> Result<u64> {
    let owners = Owners::read(sidecar)?;
    let root = disk::open_root(tree.as_os_str().as_encoded_bytes())?;
    let mut settling = Settling { root: &root, overlay, links: HashMap::new(), watch };
    let mut rest = Owners::new();
    for (path, record) in owners.iter() {
        watch.poll()?;
        rest.set(path, settling.one(path, record)?);
    }
    rest.write(&PathBuf::from(sidecar))?;
    Ok((owners.len() - rest.len()) as u64)
}

/// Marks opaque directories of a layer for the other way to mount it: a user namespace's marks say nothing to root's mounts.
/// Gives how many there are.
///
/// # Errors
/// `IO`, `CANCELLED`.
pub fn mark_opaque_for(tree: &Path, overlay: OverlayXattrs, watch: Watch<'_>) -> Result<u64> {
    let root = disk::open_root(tree.as_os_str().as_encoded_bytes())?;
    let mut marked = 0;
    let mut waiting = vec![(root, Vec::new())];
    while let Some((directory, path)) = waiting.pop() {
        watch.poll()?;
        if xattr::read(&directory, b"", &path)?.opaque {
            xattr::set(&directory, b"", overlay.opaque(), b"y")
                .map_err(|errno| Error::io("cannot mark as opaque", &path, errno))?;
            marked += 1;
        }
        for name in disk::names(&directory)
            .map_err(|errno| Error::io("cannot list directory", &path, errno))?
        {
            let full = disk::join(&path, &name);
            let facts = disk::facts(&directory, &name)
                .map_err(|errno| Error::io("cannot examine", &full, errno))?;
            if facts.is_some_and(|facts| facts.is_directory()) {
                let inner = disk::open_directory(&directory, &name)
                    .map_err(|errno| Error::io("cannot open directory", &full, errno))?;
                waiting.push((inner, full));
            }
        }
    }
    Ok(marked)
}

struct Settling<'a> {
    root: &'a OwnedFd,
    overlay: OverlayXattrs,
    /// Files with several names that were made anew: by what they were, where they are now.
    links: HashMap<(u64, u64), Vec<u8>>,
    watch: Watch<'a>,
}

impl Settling<'_> {
    /// What remains of the record.
    fn one(&mut self, path: &[u8], record: &Record) -> Result<Record> {
        let (above, name) = disk::split(path);
        let place = match inside::open(self.root, above, None) {
            Ok(place) if place.path == above => place,
            // Nothing of this layer: it says nothing.
            Ok(_) | Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(Record::default()),
            Err(errno) => return Err(Error::io("cannot open directory", above, errno)),
        };
        let name = if name.is_empty() { b"." } else { name };
        let facts = disk::facts(&place.fd, name)
            .map_err(|errno| Error::io("cannot examine", path, errno))?;
        let Some(facts) = facts.filter(|facts| !facts.is_whiteout()) else {
            return Ok(Record::default());
        };
        let real = facts.with(Some(record));
        let attributes = xattr::read(&place.fd, name, path)?;
        let mut rest = record.clone();
        let made = if real.kind != facts.kind || is_fragile(&facts, &attributes) {
            self.anew(&place.fd, name, path, &facts, &real, &attributes)
        } else if (real.uid, real.gid) != (facts.uid, facts.gid) {
            chown(&place.fd, name, &real)
        } else {
            Ok(())
        };
        match made {
            Ok(()) => (rest.uid, rest.gid, rest.device) = (0, 0, None),
            Err(error) if is_refusal(&error) => {
                // A device cannot be had here, but perhaps its owner.
                if real.kind != facts.kind && chown(&place.fd, name, &real).is_ok() {
                    (rest.uid, rest.gid) = (0, 0);
                }
            }
            Err(error) => return Err(error),
        }
        rest.attributes.retain(|(key, value)| {
            let location = xattr::proc_path(&place.fd, name);
            lsetxattr(location, key.as_slice(), value, XattrFlags::empty()).is_err()
        });
        Ok(rest)
    }

    /// Another file in the place of this one, as it should be. A change of owner takes set-id bits and capabilities
    /// away, and who was killed before they are back would have lost them.
    fn anew(
        &mut self,
        directory: &OwnedFd,
        name: &[u8],
        path: &[u8],
        facts: &Facts,
        real: &Facts,
        attributes: &Attributes,
    ) -> Result<()> {
        if (real.uid, real.gid, real.kind) == (facts.uid, facts.gid, facts.kind) {
            return Ok(());
        }
        // Under the names that they have on disk: what belongs to an overlay inside of the image must not act on ours.
        let kept = attributes.kept.iter().filter_map(|(key, value)| {
            xattr::name_on_disk(key, self.overlay).map(|key| (key, value.clone()))
        });
        let attributes = &Attributes { kept: kept.collect(), ..Attributes::default() };
        let before =
            disk::facts_of(directory).map_err(|errno| Error::io("cannot examine", path, errno))?;
        let _ = unlinkat(directory, TEMPORARY, AtFlags::empty());
        let identity = (facts.dev, facts.ino);
        let made = match self.links.get(&identity) {
            Some(first) => {
                let (above, base) = disk::split(first);
                inside::open(self.root, above, None)
                    .and_then(|place| {
                        linkat(&place.fd, base, directory, TEMPORARY, AtFlags::empty())
                    })
                    .map_err(|errno| Error::io("cannot make hard link", path, errno))
            }
            None => Leaf { from: directory, name, facts: real, attributes, path }
                .copy_to(directory, TEMPORARY, self.watch),
        };
        let done = made.and_then(|()| {
            renameat(directory, TEMPORARY, directory, name)
                .map_err(|errno| Error::io("cannot replace", path, errno))
        });
        if done.is_err() {
            let _ = unlinkat(directory, TEMPORARY, AtFlags::empty());
        } else if facts.links > 1 {
            self.links.entry(identity).or_insert_with(|| path.to_vec());
        }
        futimens(directory, &copy::times(&before))
            .map_err(|errno| Error::io("cannot set the time of", path, errno))?;
        done
    }
}

fn is_fragile(facts: &Facts, attributes: &Attributes) -> bool {
    facts.kind == FileType::RegularFile
        && (facts.mode & 0o6000 != 0
            || attributes.kept.iter().any(|(key, _)| key == b"security.capability"))
}

fn chown(directory: &OwnedFd, name: &[u8], real: &Facts) -> Result<()> {
    let (uid, gid) = (Uid::from_raw(real.uid), Gid::from_raw(real.gid));
    chownat(directory, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)
        .map_err(|errno| Error::io("cannot set the owner of", name, errno))
}

/// An id or a node that this namespace does not have.
fn is_refusal(error: &Error) -> bool {
    matches!(error.errno.map(Errno::from_raw_os_error), Some(Errno::INVAL | Errno::PERM))
}
