//! `sha256:` and 64 hexadecimal digits.

use sha2::{Digest, Sha256};
use tsbuild_sys::hash::hex;

/// The finished hash as OCI writes it.
pub(crate) fn digest_text(hash: Sha256) -> String {
    digest_of(&hash.finalize())
}

/// The same of its bytes.
pub(crate) fn digest_of(sha256: &[u8]) -> String {
    format!("sha256:{}", hex(sha256))
}
