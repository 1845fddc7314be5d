//! `sha256:` and 64 hexadecimal digits.

use std::fmt::Write;

use sha2::{Digest, Sha256};

/// The finished hash as OCI writes it.
pub(crate) fn digest_text(hash: Sha256) -> String {
    let mut text = String::from("sha256:");
    for byte in hash.finalize() {
        let _ = write!(text, "{byte:02x}");
    }
    text
}
