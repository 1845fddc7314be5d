//! Valid blobs with seeded damage: an error or a tree, never a panic, never anything outside the root.
#![allow(missing_docs)]

mod support;

use std::fs;

use support::*;
use tsbuild_tar::Entry;

const ROUNDS: usize = 400;

#[test]
fn damaged_blobs_do_no_damage() {
    let scratch = Scratch::new();
    let work = scratch.directory("work");
    let (blob, root) = (work.join("blob"), work.join("root"));
    let entries: Vec<(Entry, &[u8])> = vec![
        (directory("d"), b""),
        (file("d/file"), b"some content of a file"),
        (hard_link("d/link"), b""),
        (symlink("up", "../../.."), b""),
        (file("up/x"), b"through the link"),
        (file("d/.wh.gone"), b""),
        (file(".wh..wh..opq"), b""),
        (file("a/rather/long/path/that/goes/on"), b"y"),
    ];
    fn hard_link(path: &str) -> Entry {
        support::hard_link(path, "d/file")
    }
    let tar = archive(&entries);
    fs::write(scratch.path("plain"), &tar).unwrap();
    shell("zstd -q plain -o zstd; gzip -c plain > gzip", &scratch.0);
    let seeds: Vec<Vec<u8>> = ["plain", "zstd", "gzip"]
        .iter()
        .map(|name| fs::read(scratch.path(name)).unwrap())
        .collect();

    // xorshift64*: seeded, so that a failure can be repeated.
    let mut state = 0x1234_5678_9abc_def1_u64;
    let mut random = move |below: usize| {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        (state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % below
    };
    for round in 0..ROUNDS {
        let mut bytes = seeds[if round % 4 < 2 { 0 } else { round % 4 - 1 }].clone();
        for _ in 0..=random(3) {
            let at = random(bytes.len());
            match random(3) {
                0 => bytes[at] ^= 1 << random(8),
                1 => bytes[at] = b"./\0aw"[random(5)],
                _ => bytes.truncate(at.max(1)),
            }
        }
        for block in bytes.chunks_exact_mut(512) {
            if &block[257..262] == b"ustar" {
                block[148..156].fill(b' ');
                let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
                block[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
            }
        }
        let _ = fs::remove_dir_all(&root);
        fs::create_dir_all(&root).unwrap();
        fs::write(&blob, &bytes).unwrap();
        if unpack(&unpack_options(&blob, &root)).is_err() {
            assert_eq!(
                fs::read_dir(&root).unwrap().count(),
                0,
                "round {round} left something behind"
            );
        }
        assert_eq!(fs::read_dir(&work).unwrap().count(), 2, "round {round} left its root");
    }
}
