//! Any bytes as a blob: no panic, nothing outside the root, nothing left after an error.
#![no_main]

use std::{fs, sync::atomic::AtomicBool};

use libfuzzer_sys::fuzz_target;
use tsbuild_layer::{Encoding, ExpandLimits, OverlayXattrs, UnpackOptions, Watch, unpack_layer};

fuzz_target!(|bytes: &[u8]| {
    let scratch = std::env::temp_dir().join(format!("tsbuild-fuzz-{}", std::process::id()));
    let (blob, root) = (scratch.join("blob"), scratch.join("root"));
    let _ = fs::remove_dir_all(&scratch);
    fs::create_dir_all(&root).unwrap();
    fs::write(&blob, bytes).unwrap();
    let options = UnpackOptions {
        arriving: None,
        blob,
        encoding: Encoding::Auto,
        root: root.clone(),
        expected_digest: None,
        expected_diff_id: None,
        limits: ExpandLimits { bytes: 1 << 24, ratio: 1000 },
        max_entries: 1000,
        overlay_xattrs: OverlayXattrs::User,
        create_devices: false,
        owners: None,
    };
    if unpack_layer(&options, Watch::new(&AtomicBool::new(false), &|_| {})).is_err() {
        assert_eq!(fs::read_dir(&root).unwrap().count(), 0);
    }
    assert_eq!(fs::read_dir(&scratch).unwrap().count(), 2);
});
