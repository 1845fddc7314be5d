//! zstd blobs however their frames are: of which length, with and without saying so, and where pieces of the blob end.
#![allow(missing_docs)]

mod support;

use std::{fs, io::Write};

use support::{Scratch, archive, file, shell, unpack, unpack_options};
use tsbuild_layer::Code;

/// Half noise, half text, of the same seed the same.
fn content(length: usize) -> Vec<u8> {
    let mut state = 88_172_645_463_325_252_u64;
    (0..length)
        .map(|at| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            if at / 4096 % 2 == 0 { state as u8 } else { (at / 7 % 61) as u8 }
        })
        .collect()
}

fn stated(bytes: &[u8]) -> Vec<u8> {
    let mut frame = zstd::bulk::Compressor::new(3).unwrap();
    frame.include_checksum(true).unwrap();
    frame.compress(bytes).unwrap()
}

fn unstated(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 3).unwrap();
    for piece in bytes.chunks(10_000) {
        encoder.write_all(piece).unwrap();
    }
    encoder.finish().unwrap()
}

fn skippable(length: usize) -> Vec<u8> {
    let mut frame = vec![0x5e, 0x2a, 0x4d, 0x18];
    frame.extend_from_slice(&u32::try_from(length).unwrap().to_le_bytes());
    frame.resize(8 + length, 7);
    frame
}

fn blobs(tar: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let (first, rest) = tar.split_at(700_000);
    let pieces = |length, frame: fn(&[u8]) -> Vec<u8>| -> Vec<u8> {
        tar.chunks(length).flat_map(frame).collect()
    };
    vec![
        ("one that says its length", stated(tar)),
        ("one that does not", unstated(tar)),
        ("of 4 MiB", pieces(4 << 20, stated)),
        ("tiny ones", pieces(3000, stated)),
        ("about as long as a chunk", pieces((1 << 20) - 17, stated)),
        ("a little longer", pieces((1 << 20) + 1, unstated)),
        ("small, then large", [stated(&first[..5]), stated(&first[5..]), stated(rest)].concat()),
        ("of both kinds", [unstated(first), stated(rest)].concat()),
        ("of both kinds, the other way", [stated(first), unstated(rest)].concat()),
        (
            "empty and skippable ones between",
            [
                skippable(0),
                stated(first),
                skippable(2 << 20),
                stated(b""),
                unstated(rest),
                skippable(9),
            ]
            .concat(),
        ),
    ]
}

#[test]
fn all_of_them_are_one_tar() {
    let scratch = Scratch::new();
    let content = content(9_000_000);
    let tar = archive(&[(file("a"), &content), (file("b"), &content[..300_000])]);
    fs::write(scratch.path("tar"), &tar).unwrap();
    let diff_id = format!("sha256:{}", &shell("sha256sum < tar", &scratch.0)[..64]);
    for (what, blob) in blobs(&tar) {
        fs::write(scratch.path("blob"), &blob).unwrap();
        // With a diffID, checksums of frames are not looked at.
        for expected in [None, Some(diff_id.clone())] {
            let root = scratch.directory("root");
            let mut options = unpack_options(&scratch.path("blob"), &root);
            options.expected_diff_id = expected;
            let unpacked = unpack(&options).unwrap_or_else(|error| panic!("{what}: {error}"));
            assert_eq!(unpacked.diff_id, diff_id, "{what}");
            assert!(fs::read(root.join("a")).unwrap() == content, "{what}");
            fs::remove_dir_all(root).unwrap();
        }
    }
}

#[test]
fn what_is_cut_or_wrong_is_refused() {
    let scratch = Scratch::new();
    let tar = archive(&[(file("a"), &content(3_000_000))]);
    fs::write(scratch.path("tar"), &tar).unwrap();
    let diff_id = format!("sha256:{}", &shell("sha256sum < tar", &scratch.0)[..64]);
    for (what, blob) in blobs(&tar) {
        let root = scratch.directory("root");
        let mut options = unpack_options(&scratch.path("blob"), &root);
        options.expected_diff_id = Some(diff_id.clone());
        for left in [blob.len() - 1, blob.len() / 2 + 1, 20] {
            fs::write(scratch.path("blob"), &blob[..left]).unwrap();
            let error = unpack(&options).unwrap_err();
            assert!(
                matches!(error.code, Code::BadArchive | Code::DigestMismatch),
                "{what}, {left}: {error}"
            );
        }
        let mut flipped = blob.clone();
        let at = blob.len() / 2;
        flipped[at..at + 64].iter_mut().for_each(|byte| *byte ^= 0x55);
        fs::write(scratch.path("blob"), &flipped).unwrap();
        if !what.contains("skippable") {
            assert!(unpack(&options).is_err(), "{what}");
        }
        assert_eq!(fs::read_dir(&root).unwrap().count(), 0, "{what}");
    }
}

#[test]
fn a_frame_that_holds_more_or_less_than_it_says() {
    let scratch = Scratch::new();
    let content = content(1_000_000);
    let tar = archive(&[(file("a"), &content)]);
    let good = stated(&tar);
    // Magic, a descriptor with a content size of 4 bytes and no window, the size.
    assert_eq!(good[4] >> 5, 0b101);
    for change in [-1000_i64, 1000] {
        let mut bad = good.clone();
        let size = u32::try_from(tar.len() as i64 + change).unwrap();
        bad[5..9].copy_from_slice(&size.to_le_bytes());
        fs::write(scratch.path("blob"), &bad).unwrap();
        let options = unpack_options(&scratch.path("blob"), &scratch.directory("root"));
        assert_eq!(unpack(&options).unwrap_err().code, Code::BadArchive);
    }
}
