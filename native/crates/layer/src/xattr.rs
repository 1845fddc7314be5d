//! Which extended attributes belong in a layer, and which are overlayfs's own (spec/layers.md, 4.4; kernel
//! documentation, `filesystems/overlayfs.rst`, "Nested overlayfs mounts").

use std::os::fd::{AsRawFd, OwnedFd};

use rustix::{
    fs::{XattrFlags, lgetxattr, llistxattr, lsetxattr},
    io::Errno,
};

use tsbuild_sys::copy::is_carried;

use crate::error::{Error, Result};

/// Names and values, sorted by name.
pub(crate) type Xattrs = Vec<(Vec<u8>, Vec<u8>)>;

/// Where overlayfs keeps its marks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OverlayXattrs {
    /// `user.overlay.`: mounted with `userxattr`, in a user namespace.
    User,
    /// `trusted.overlay.`: mounted by root.
    Trusted,
}

impl OverlayXattrs {
    pub(crate) fn opaque(self) -> &'static [u8] {
        match self {
            Self::User => b"user.overlay.opaque",
            Self::Trusted => b"trusted.overlay.opaque",
        }
    }
}

/// The attributes of one file, taken apart.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Attributes {
    /// What belongs in a layer.
    pub kept: Xattrs,
    /// Nothing below a directory shows through it.
    pub opaque: bool,
    /// Empty files in this directory may be whiteouts, marked by an attribute (Linux 6.7).
    pub holds_marked_whiteouts: bool,
    /// This empty file is such a whiteout.
    pub whiteout: bool,
    /// The name of an attribute which says that data or children are elsewhere.
    pub elsewhere: Option<Vec<u8>>,
}

/// Both namespaces are looked at wherever we read, since a tree may have been written under either.
const OVERLAY_PREFIXES: [&[u8]; 2] = [b"user.overlay.", b"trusted.overlay."];

/// Reads the attributes of `name` in `directory`; an empty name means the directory itself. `path` is for messages.
pub(crate) fn read(directory: &OwnedFd, name: &[u8], path: &[u8]) -> Result<Attributes> {
    let mut attributes = Attributes::default();
    // There is no lgetxattrat before Linux 6.13; the descriptor's own directory entry serves as well.
    let location = proc_path(directory, name);
    let names = match list(&location) {
        Ok(names) => names,
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => return Ok(attributes),
        Err(errno) => return Err(Error::io("cannot list the extended attributes of", path, errno)),
    };
    for key in names.split(|byte| *byte == 0).filter(|key| !key.is_empty()) {
        let wanted = classify(key);
        if wanted == Class::Dropped {
            continue;
        }
        let value = match get(&location, key) {
            Ok(value) => value,
            // Gone meanwhile, or not to be seen from this namespace.
            Err(Errno::NODATA) => continue,
            Err(errno) => {
                return Err(Error::io("cannot read an extended attribute of", path, errno));
            }
        };
        match wanted {
            Class::Kept => push_kept(&mut attributes.kept, key.to_vec(), value),
            Class::Escaped(unescaped) => push_kept(&mut attributes.kept, unescaped, value),
            Class::Opaque => match value.as_slice() {
                b"y" => attributes.opaque = true,
                b"x" => attributes.holds_marked_whiteouts = true,
                _ => {}
            },
            Class::Whiteout => attributes.whiteout = true,
            Class::Elsewhere => attributes.elsewhere = Some(key.to_vec()),
            Class::Dropped => {}
        }
    }
    attributes.kept.sort();
    Ok(attributes)
}

fn push_kept(kept: &mut Xattrs, key: Vec<u8>, value: Vec<u8>) {
    // An empty value means "delete" in PAX and cannot be said; most readers would not set it either.
    if value.is_empty() {
        return;
    }
    let value = if key == b"security.capability" { without_root_id(value) } else { value };
    kept.push((key, value));
}

/// A version 3 capability names the namespace's root by the host's id; version 2 says the same without it. The kernel
/// converts by itself inside the namespace, but not outside (linux/capability.h, `vfs_ns_cap_data`).
fn without_root_id(mut value: Vec<u8>) -> Vec<u8> {
    const REVISION_2: u8 = 2;
    const REVISION_3: u8 = 3;
    if value.len() == 24 && value[3] == REVISION_3 {
        value.truncate(20);
        value[3] = REVISION_2;
    }
    value
}

#[derive(Debug, PartialEq, Eq)]
enum Class {
    Kept,
    /// Belongs to an overlay inside the image; the name is one level less escaped there.
    Escaped(Vec<u8>),
    Opaque,
    Whiteout,
    Elsewhere,
    Dropped,
}

fn classify(key: &[u8]) -> Class {
    for prefix in OVERLAY_PREFIXES {
        let Some(rest) = key.strip_prefix(prefix) else { continue };
        return match rest {
            b"opaque" => Class::Opaque,
            b"whiteout" => Class::Whiteout,
            b"metacopy" | b"redirect" => Class::Elsewhere,
            _ => match rest.strip_prefix(b"overlay.") {
                Some(inner) => Class::Escaped([prefix, inner].concat()),
                None => Class::Dropped,
            },
        };
    }
    if is_carried(key) { Class::Kept } else { Class::Dropped }
}

/// The name under which an attribute from an archive is set, or `None` where it is not. The inverse of what
/// [`read`] does to names: overlayfs's own names from an archive must never act on our mounts.
pub(crate) fn name_on_disk(key: &[u8], overlay: OverlayXattrs) -> Option<Vec<u8>> {
    for prefix in OVERLAY_PREFIXES {
        if let Some(rest) = key.strip_prefix(prefix) {
            // trusted.* cannot be set in a user namespace.
            if prefix.starts_with(b"trusted.") && overlay == OverlayXattrs::User {
                return None;
            }
            return Some([prefix, b"overlay.", rest].concat());
        }
    }
    (classify(key) == Class::Kept).then(|| key.to_vec())
}

/// Sets `key` on `name` in `directory` without following a link.
pub(crate) fn set(
    directory: &OwnedFd,
    name: &[u8],
    key: &[u8],
    value: &[u8],
) -> std::result::Result<(), Errno> {
    lsetxattr(proc_path(directory, name), key, value, XattrFlags::empty())
}

pub(crate) fn proc_path(directory: &OwnedFd, name: &[u8]) -> Vec<u8> {
    // `/.` follows the magic link to the directory itself.
    let name = if name.is_empty() { b"." } else { name };
    [format!("/proc/self/fd/{}/", directory.as_raw_fd()).as_bytes(), name].concat()
}

fn list(location: &[u8]) -> std::result::Result<Vec<u8>, Errno> {
    let mut small = [0_u8; 512];
    match llistxattr(location, &mut small) {
        Ok(length) => return Ok(small[..length].to_vec()),
        Err(Errno::RANGE) => {}
        Err(errno) => return Err(errno),
    }
    // XATTR_LIST_MAX
    let mut large = vec![0_u8; 65_536];
    let length = llistxattr(location, large.as_mut_slice())?;
    large.truncate(length);
    Ok(large)
}

fn get(location: &[u8], key: &[u8]) -> std::result::Result<Vec<u8>, Errno> {
    // XATTR_SIZE_MAX
    let mut value = vec![0_u8; 65_536];
    let length = lgetxattr(location, key, value.as_mut_slice())?;
    value.truncate(length);
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes() {
        assert_eq!(classify(b"user.note"), Class::Kept);
        assert_eq!(classify(b"security.capability"), Class::Kept);
        for dropped in [
            &b"security.selinux"[..],
            b"security.ima",
            b"security.evm",
            b"system.nfs4_acl",
            b"system.posix_acl_access",
            b"user.containers.override_stat",
            b"user.overlay.origin",
            b"trusted.overlay.impure",
            b"trusted.other",
        ] {
            assert_eq!(classify(dropped), Class::Dropped, "{dropped:?}");
        }
        assert_eq!(classify(b"user.overlay.opaque"), Class::Opaque);
        assert_eq!(classify(b"trusted.overlay.redirect"), Class::Elsewhere);
        assert_eq!(classify(b"user.overlay.metacopy"), Class::Elsewhere);
        assert_eq!(
            classify(b"user.overlay.overlay.opaque"),
            Class::Escaped(b"user.overlay.opaque".to_vec())
        );
    }

    #[test]
    fn names_from_archives_cannot_act_on_our_overlay() {
        for hostile in
            [&b"user.overlay.opaque"[..], b"user.overlay.redirect", b"user.overlay.whiteout"]
        {
            let name = name_on_disk(hostile, OverlayXattrs::User).unwrap();
            assert!(matches!(classify(&name), Class::Escaped(inner) if inner == hostile));
        }
        assert_eq!(name_on_disk(b"trusted.overlay.redirect", OverlayXattrs::User), None);
        assert_eq!(name_on_disk(b"security.selinux", OverlayXattrs::Trusted), None);
    }

    #[test]
    fn capabilities_lose_their_root_id() {
        let mut version_3 = vec![1, 0, 0, 3];
        version_3.extend_from_slice(&[0xaa; 16]);
        version_3.extend_from_slice(&1000_u32.to_le_bytes());
        let version_2 = without_root_id(version_3);
        assert_eq!((version_2.len(), version_2[0], version_2[3]), (20, 1, 2));
        assert_eq!(without_root_id(version_2.clone()), version_2);
    }
}
