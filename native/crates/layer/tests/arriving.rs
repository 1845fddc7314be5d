//! Blobs that are unpacked while somebody else writes them.
#![allow(missing_docs)]

mod support;

use std::{
    fs::{self, File},
    io::Write,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
};

use support::{Scratch, archive, directory, file, unpack, unpack_options};
use tsbuild_layer::{ArrivingBlob, Compression, UnpackOptions, Watch, unpack_layer};

/// A blob with something in it, and the same unpacked from the complete file.
fn complete(scratch: &Scratch) -> (Vec<u8>, String) {
    let tree = scratch.directory("tree");
    for number in 0..40_u32 {
        let content: Vec<u8> =
            (0..100_000_u32).map(|at| (at.wrapping_mul(number + 7) >> 9) as u8).collect();
        fs::write(tree.join(number.to_string()), content).unwrap();
    }
    let blob = scratch.path("complete");
    let mut writing = support::write_options(&tree, &blob);
    writing.compression = Compression::Zstd(3);
    support::write(&writing).unwrap();
    let unpacked = unpack(&unpack_options(&blob, &scratch.directory("whole"))).unwrap();
    assert!(unpacked.digest.is_some());
    (fs::read(&blob).unwrap(), unpacked.diff_id)
}

fn arriving(scratch: &Scratch, size: usize) -> UnpackOptions {
    let mut options = unpack_options(&scratch.path("final"), &scratch.directory("root"));
    options.arriving = Some(ArrivingBlob { path: scratch.path("growing"), size: size as u64 });
    options
}

#[test]
fn a_blob_that_grows_is_unpacked_as_one_that_is_there() {
    let scratch = Scratch::new();
    let (bytes, diff_id) = complete(&scratch);
    let mut options = arriving(&scratch, bytes.len());
    options.expected_diff_id = Some(diff_id.clone());
    let mut growing = File::create(scratch.path("growing")).unwrap();
    let read = AtomicU64::new(0);
    let never = AtomicBool::new(false);
    thread::scope(|scope| {
        let unpacking = scope.spawn(|| {
            let done = |bytes| read.store(bytes, Ordering::Relaxed);
            unpack_layer(&options, Watch::new(&never, &done))
        });
        for piece in bytes.chunks(bytes.len() / 5 + 1) {
            let before = read.load(Ordering::Relaxed);
            growing.write_all(piece).unwrap();
            // Each piece is taken before the next one is there.
            while read.load(Ordering::Relaxed) < before + piece.len() as u64 {
                thread::yield_now();
            }
        }
        fs::rename(scratch.path("growing"), scratch.path("final")).unwrap();
        let unpacked = unpacking.join().unwrap().unwrap();
        assert_eq!((unpacked.digest, unpacked.diff_id), (None, diff_id));
    });
    assert_eq!(support::shell("diff -r whole root && echo same", &scratch.0).trim(), "same");
}

#[test]
fn a_blob_that_was_complete_before_it_was_opened() {
    let scratch = Scratch::new();
    let (bytes, diff_id) = complete(&scratch);
    fs::write(scratch.path("final"), &bytes).unwrap();
    let unpacked = unpack(&arriving(&scratch, bytes.len())).unwrap();
    assert_eq!(unpacked.diff_id, diff_id);
}

#[test]
fn a_blob_that_never_comes_is_waited_for_until_cancelled() {
    let scratch = Scratch::new();
    let (bytes, _) = complete(&scratch);
    fs::write(scratch.path("growing"), &bytes[..bytes.len() / 2]).unwrap();
    let options = arriving(&scratch, bytes.len());
    let cancel = AtomicBool::new(false);
    let read = AtomicU64::new(0);
    let error = thread::scope(|scope| {
        let unpacking = scope.spawn(|| {
            let done = |bytes| read.store(bytes, Ordering::Relaxed);
            unpack_layer(&options, Watch::new(&cancel, &done))
        });
        while read.load(Ordering::Relaxed) < (bytes.len() / 2) as u64 {
            thread::yield_now();
        }
        assert!(!unpacking.is_finished());
        cancel.store(true, Ordering::Relaxed);
        unpacking.join().unwrap().unwrap_err()
    });
    assert_eq!(error.code.as_str(), "CANCELLED");
    assert_eq!(fs::read_dir(scratch.path("root")).unwrap().count(), 0);
}

#[test]
fn what_it_expands_to_is_bounded_by_what_it_will_be() {
    let scratch = Scratch::new();
    let zeros = vec![0; 80 << 20];
    let tar = archive(&[(directory("d"), b""), (file("d/zeros"), &zeros)]);
    let blob = zstd::bulk::compress(&tar, 3).unwrap();
    fs::write(scratch.path("growing"), &blob).unwrap();
    let mut options = arriving(&scratch, blob.len());
    options.limits.ratio = 10;
    let error = unpack(&options).unwrap_err();
    assert_eq!(error.code.as_str(), "ARCHIVE_LIMIT");
}

#[test]
fn a_size_that_is_only_promised_bounds_nothing() {
    let scratch = Scratch::new();
    let zeros = vec![0; 80 << 20];
    let tar = archive(&[(directory("d"), b""), (file("d/zeros"), &zeros)]);
    let blob = zstd::bulk::compress(&tar, 3).unwrap();
    fs::write(scratch.path("growing"), &blob).unwrap();
    let mut options = arriving(&scratch, blob.len() * 1_000_000);
    options.limits.ratio = 10;
    let error = unpack(&options).unwrap_err();
    assert_eq!(error.code.as_str(), "ARCHIVE_LIMIT");
    assert_eq!(fs::read_dir(scratch.path("root")).unwrap().count(), 0);
}
