//! Any bytes as an archive: no panic, and what was read can be written and read again.
#![no_main]

use std::io::Read;

use libfuzzer_sys::fuzz_target;
use tsbuild_tar::{Reader, encode_header};

fuzz_target!(|bytes: &[u8]| {
    let mut reader = Reader::new(bytes);
    while let Ok(Some(entry)) = reader.next_entry() {
        let mut header = Vec::new();
        if encode_header(&entry, &mut header).is_ok() {
            let again = Reader::new(header.as_slice()).next_entry().ok().flatten();
            assert!(
                again.is_some_and(|again| again.kind == entry.kind && again.mode == entry.mode)
            );
        }
        let _ = std::io::copy(&mut reader.by_ref().take(1 << 20), &mut std::io::sink());
    }
});
