//! Random bytes of the kernel's.

use crate::hash::hex;

/// `count` of them, at most 256, as hex.
///
/// # Panics
/// When the kernel has none, which Linux since 3.17 does not do for so few.
pub fn random_hex(count: usize) -> String {
    let mut bytes = vec![0u8; count.min(256)];
    // SAFETY: the kernel writes at most as many bytes as the buffer has. Up to 256 it gives all of them and is not interrupted.
    let given = unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), bytes.len(), 0) };
    assert_eq!(usize::try_from(given), Ok(bytes.len()), "getrandom");
    hex(&bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_as_asked_for_and_others_each_time() {
        assert_eq!(random_hex(16).len(), 32);
        assert_eq!(random_hex(0), "");
        assert_ne!(random_hex(16), random_hex(16));
    }
}
