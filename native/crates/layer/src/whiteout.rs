//! Deletions as layers spell them.

use crate::error::{Code, Error, Result, show};

/// In front of the name that is hidden.
pub(crate) const PREFIX: &[u8] = b".wh.";
/// Names with this prefix are AUFS's own.
pub(crate) const META_PREFIX: &[u8] = b".wh..wh.";
/// Hides everything in its directory.
pub(crate) const OPAQUE: &[u8] = b".wh..wh..opq";

/// What a name in an archive stands for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Whiteout<'a> {
    /// Nothing below its directory shows through.
    Opaque,
    /// The name is hidden.
    Plain(&'a [u8]),
    /// AUFS's bookkeeping: no file, no meaning.
    Ignored,
}

/// Classifies `base_name`; `Ok(None)` means an ordinary entry.
///
/// Source: OCI image-spec v1.1, `layer.md`, section "Whiteouts".
///
/// # Errors
/// For a bare `.wh.`. The spec gives it no meaning and tools disagree about it, so guessing could delete the wrong tree.
pub(crate) fn classify<'a>(base_name: &'a [u8], path: &[u8]) -> Result<Option<Whiteout<'a>>> {
    // Opaque shares the prefixes, so it must be tested first.
    if base_name == OPAQUE {
        return Ok(Some(Whiteout::Opaque));
    }
    if base_name.starts_with(META_PREFIX) {
        return Ok(Some(Whiteout::Ignored));
    }
    match base_name.strip_prefix(PREFIX) {
        None => Ok(None),
        // `.wh...` would hide a directory from itself.
        Some(b"" | b"." | b"..") => Err(Error::new(
            Code::BadArchive,
            path,
            format!("'{}' is a whiteout of nothing", show(path)),
        )),
        Some(hidden) => Ok(Some(Whiteout::Plain(hidden))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        assert_eq!(classify(b"plain", b"").unwrap(), None);
        assert_eq!(classify(b".wha", b"").unwrap(), None);
        assert_eq!(classify(b".wh.a", b"").unwrap(), Some(Whiteout::Plain(b"a")));
        assert_eq!(classify(b".wh..hidden", b"").unwrap(), Some(Whiteout::Plain(b".hidden")));
        assert_eq!(classify(b".wh..wh..opq", b"").unwrap(), Some(Whiteout::Opaque));
        assert_eq!(classify(b".wh..wh.plnk", b"").unwrap(), Some(Whiteout::Ignored));
        for bad in [&b".wh."[..], b".wh..", b".wh..."] {
            assert_eq!(classify(bad, b"").unwrap_err().code, Code::BadArchive);
        }
    }
}
