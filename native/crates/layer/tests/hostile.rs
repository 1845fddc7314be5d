//! Archives that try to leave their directory, to lie, or to grow without end. What is refused leaves nothing behind.
#![allow(missing_docs)]

mod support;

use std::{fs, os::unix::fs::MetadataExt};

use support::*;
use tsbuild_layer::{Code, ExpandLimits};
use tsbuild_tar::{Entry, EntryKind};

type Entries = Vec<(Entry, &'static [u8])>;

#[test]
fn refused() {
    let deep: &'static str = Box::leak("d/".repeat(3000).into_boxed_str());
    let long: &'static str = Box::leak("n".repeat(256).into_boxed_str());
    let owner = |uid: u64| {
        let mut entry = file("x");
        entry.uid = uid;
        entry
    };
    let mut zero_device = Entry::new(b"x", EntryKind::CharDevice);
    zero_device.mode = 0o600;
    let cases: Vec<(&str, Code, Entries)> = vec![
        ("..", Code::BadArchive, vec![(file("../x"), b"x")]),
        (".. inside", Code::BadArchive, vec![(directory("a"), b""), (file("a/../../x"), b"x")]),
        (".. at the end", Code::BadArchive, vec![(directory("a/.."), b"")]),
        ("root replaced by a file", Code::BadArchive, vec![(file("./"), b"x")]),
        ("root replaced by a link", Code::BadArchive, vec![(symlink("/", "/etc"), b"")]),
        ("hard link with ..", Code::BadArchive, vec![(hard_link("x", "../../etc/passwd"), b"")]),
        ("hard link to the host", Code::BadArchive, vec![(hard_link("x", "/etc/passwd"), b"")]),
        (
            "hard link through a link",
            Code::BadArchive,
            vec![(symlink("l", "/etc"), b""), (hard_link("x", "l/passwd"), b"")],
        ),
        (
            "hard link to itself",
            Code::BadArchive,
            vec![(file("x"), b"x"), (hard_link("x", "x"), b"")],
        ),
        (
            "hard link to a directory",
            Code::BadArchive,
            vec![(directory("d"), b""), (hard_link("x", "d"), b"")],
        ),
        (
            "hard link to a deletion",
            Code::BadArchive,
            vec![(file(".wh.d"), b""), (hard_link("x", "d"), b"")],
        ),
        (
            "loop of links",
            Code::BadArchive,
            vec![(symlink("a", "b"), b""), (symlink("b", "a"), b""), (file("a/x"), b"x")],
        ),
        ("below a file", Code::BadArchive, vec![(file("a"), b"x"), (file("a/x"), b"x")]),
        ("empty whiteout", Code::BadArchive, vec![(file("a/.wh."), b"")]),
        ("below a whiteout", Code::BadArchive, vec![(file("a/.wh.b/c"), b"")]),
        ("the device 0:0", Code::BadArchive, vec![(zero_device, b"")]),
        ("deep nesting", Code::ArchiveLimit, vec![(directory(deep), b"")]),
        ("long name", Code::ArchiveLimit, vec![(file(long), b"")]),
        ("owner -1", Code::BadArchive, vec![(owner(u64::from(u32::MAX)), b"")]),
        ("owner beyond 32 bits", Code::BadArchive, vec![(owner(1 << 40), b"")]),
    ];
    for (name, code, entries) in cases {
        let scratch = Scratch::new();
        let (blob, root) = (scratch.path("blob"), scratch.directory("root"));
        let mut all: Entries = vec![(file("before"), b"x")];
        all.extend(entries);
        fs::write(&blob, archive(&all)).unwrap();
        let error = unpack(&unpack_options(&blob, &root)).expect_err(name);
        assert_eq!(error.code, code, "{name}: {error}");
        assert!(error.path.is_some(), "{name}");
        assert_eq!(fs::read_dir(&root).unwrap().count(), 0, "{name} left something behind");
    }
}

#[test]
fn kept_inside() {
    let scratch = Scratch::new();
    let (blob, root) = (scratch.path("blob"), scratch.directory("root"));
    let outside = scratch.directory("outside");
    let up: String = "../".repeat(20) + outside.to_str().unwrap().trim_start_matches('/');
    let entries: Vec<(Entry, &[u8])> = vec![
        (file("/absolute"), b"1"),
        (symlink("abs", outside.to_str().unwrap()), b""),
        (file("abs/through-absolute"), b"2"),
        (symlink("rel", &up), b""),
        (file("rel/through-relative"), b"3"),
        // The last component is replaced, not followed.
        (symlink("last", "/etc/hostname"), b""),
        (file("last"), b"4"),
        (hard_link("linked", "/absolute"), b""),
        (directory("./"), b""),
    ];
    fs::write(&blob, archive(&entries)).unwrap();
    let unpacked = unpack(&unpack_options(&blob, &root)).unwrap();
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
    assert_eq!(fs::read(root.join("absolute")).unwrap(), b"1");
    let inside = root.join(outside.strip_prefix("/").unwrap());
    assert_eq!(fs::read(inside.join("through-absolute")).unwrap(), b"2");
    assert_eq!(fs::read(inside.join("through-relative")).unwrap(), b"3");
    assert_eq!(fs::read(root.join("last")).unwrap(), b"4");
    assert!(fs::symlink_metadata(root.join("last")).unwrap().is_file());
    assert_eq!(fs::metadata(root.join("linked")).unwrap().nlink(), 2);
    // Where the links lead was made, and is said to be.
    let expected = outside.strip_prefix("/").unwrap().as_os_str().as_encoded_bytes().to_vec();
    assert_eq!(unpacked.implicit_directories.last(), Some(&expected));
}

#[test]
fn bombs() {
    let scratch = Scratch::new();
    let root = scratch.directory("root");
    let zeros: &'static [u8] = Box::leak(vec![0_u8; 80 << 20].into_boxed_slice());
    let tar = archive(&[(file("zeros"), zeros)]);
    fs::write(scratch.path("plain"), &tar).unwrap();
    shell("zstd -q -f plain -o zstd; gzip -9 -c plain > gzip", &scratch.0);
    for name in ["zstd", "gzip"] {
        let error = unpack(&unpack_options(&scratch.path(name), &root)).unwrap_err();
        assert_eq!(error.code, Code::ArchiveLimit, "{name}: {error}");
        let mut allowed = unpack_options(&scratch.path(name), &root);
        allowed.limits.ratio = 1_000_000;
        unpack(&allowed).unwrap();
        fs::remove_file(root.join("zeros")).unwrap();
        allowed.limits.bytes = 79 << 20;
        assert_eq!(unpack(&allowed).unwrap_err().code, Code::ArchiveLimit);
    }
    // A sparse file is a bomb that the compressor does not see.
    shell("truncate -s 200M hole; tar --format=posix --sparse -cf sparse hole", &scratch.0);
    let mut options = unpack_options(&scratch.path("sparse"), &root);
    assert_eq!(unpack(&options).unwrap_err().code, Code::ArchiveLimit);
    options.limits = ExpandLimits { bytes: 1 << 40, ratio: 1_000_000 };
    unpack(&options).unwrap();
    assert_eq!(fs::metadata(root.join("hole")).unwrap().len(), 200 << 20);
    fs::remove_file(root.join("hole")).unwrap();

    let many: Vec<(Entry, &[u8])> =
        (0..20).map(|index| (file(&format!("f{index}")), &b""[..])).collect();
    fs::write(scratch.path("many"), archive(&many)).unwrap();
    let mut options = unpack_options(&scratch.path("many"), &root);
    options.max_entries = 19;
    assert_eq!(unpack(&options).unwrap_err().code, Code::ArchiveLimit);
    assert_eq!(fs::read_dir(&root).unwrap().count(), 0);
}

#[test]
fn damaged_blobs() {
    let scratch = Scratch::new();
    let root = scratch.directory("root");
    let content: Vec<u8> = (0..300_000_u32).map(|index| (index * 31 % 251) as u8).collect();
    let tar = archive(&[(file("a"), &content)]);
    fs::write(scratch.path("plain"), &tar).unwrap();
    shell("zstd -q plain -o zstd; gzip -c plain > gzip", &scratch.0);
    for name in ["plain", "zstd", "gzip"] {
        let good = fs::read(scratch.path(name)).unwrap();
        let digest = format!("sha256:{}", &shell(&format!("sha256sum < {name}"), &scratch.0)[..64]);
        for (what, bad) in [
            ("cut in half", good[..good.len() / 2].to_vec()),
            ("cut by one", good[..good.len() - 1].to_vec()),
            ("a flipped bit", {
                let mut bad = good.clone();
                let middle = bad.len() / 2;
                bad[middle] ^= 1;
                bad
            }),
            ("rubbish behind", [good.clone(), b"rubbish".to_vec()].concat()),
        ] {
            fs::write(scratch.path("bad"), &bad).unwrap();
            let mut options = unpack_options(&scratch.path("bad"), &root);
            // With a digest it is the digest that is wrong, however the decoder stumbles.
            options.expected_digest = Some(digest.clone());
            let error = unpack(&options).unwrap_err();
            assert_eq!(error.code, Code::DigestMismatch, "{name}, {what}: {error}");
            assert_eq!(fs::read_dir(&root).unwrap().count(), 0);
            if name != "plain" {
                options.expected_digest = None;
                assert_eq!(unpack(&options).unwrap_err().code, Code::BadArchive, "{name}, {what}");
            }
        }
    }
}
