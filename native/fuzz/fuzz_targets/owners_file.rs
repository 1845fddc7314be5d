//! Any bytes as a sidecar: no panic, and what is read is written as the same bytes.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tsbuild_owners::Owners;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(owners) = Owners::from_bytes(bytes) {
        assert_eq!(owners.to_bytes(), bytes);
    }
});
