//! A layer written from what is copied into it is, to the byte, the layer of the tree that copying makes.
#![allow(missing_docs)]

mod support;

use std::{
    fs,
    os::unix::fs::{MetadataExt, symlink},
    path::{Path, PathBuf},
    sync::atomic::AtomicBool,
};

use support::{Scratch, write, write_options};
use tsbuild_layer::{
    Code, Compression, CopiedOptions, Previous, Watch, WrittenLayer, write_copied_layer,
};
use tsbuild_sys::{
    copy::{CopyEntry, CopyOptions, EntryKind, Expectation, KnownFile, copy_into},
    mount::{Overlay, mount_overlay, unmount},
};

/// Later than all that the tests write, and earlier than now: times that are not said become this.
const CLAMP: i64 = 1_500_000_000;

fn entry(source: &Path, destination: &str, kind: EntryKind) -> CopyEntry {
    CopyEntry {
        source: source.to_owned(),
        destination: destination.into(),
        kind,
        link: None,
        mode: Some(0o644),
        owner: Some((7, 8)),
        mtime_ns: Some(1_000_000_000_000_000_123),
        follow: false,
        xattrs: false,
        expect: None,
        known: None,
        tree: Some(0),
        keeps_existing: false,
    }
}

fn direct(
    entries: Vec<CopyEntry>,
    lowers: &[PathBuf],
    output: &Path,
) -> Result<Option<WrittenLayer>, tsbuild_layer::Error> {
    let options = CopiedOptions {
        entries,
        lowers: lowers.to_vec(),
        now_seconds: i64::MAX / 2,
        output: output.to_owned(),
        compression: Compression::None,
        threads: 2,
        previous: None,
        clamp_mtime_seconds: Some(CLAMP),
    };
    write_copied_layer(&options, Watch::new(&AtomicBool::new(false), &|_| {}))
}

/// The long way: an overlay is mounted, the entries are copied into it, what changed is written.
fn by_tree(entries: Vec<CopyEntry>, lowers: &[PathBuf], scratch: &Scratch) -> WrittenLayer {
    let [upper, work, root, empty] =
        ["upper", "work", "root", "empty"].map(|name| scratch.directory(name));
    let mut below = lowers.to_vec();
    below.push(empty);
    if let Some(top) = lowers.first() {
        tsbuild_sys::copy::copy_attributes(top, &upper).unwrap();
    }
    mount_overlay(&Overlay {
        lowers: below,
        upper: Some(upper.clone()),
        work: Some(work.clone()),
        target: root.clone(),
        user_xattr: false,
        volatile: true,
    })
    .unwrap();
    let options = CopyOptions {
        root: root.clone(),
        upper: Some(upper.clone()),
        source_root: None,
        entries,
        strict: true,
        owners: None,
        source_owners: None,
    };
    let quiet = support::no_starts();
    let copied = copy_into(&options, &AtomicBool::new(false), &mut |_| {});
    unmount(&root, false).unwrap();
    drop(quiet);
    copied.unwrap();
    let mut options = write_options(&upper, &scratch.path("by-tree.tar"));
    options.lowers = lowers.to_vec();
    options.clamp_mtime_seconds = Some(CLAMP);
    let written = write(&options).unwrap();
    for used in [upper, work, root] {
        fs::remove_dir_all(used).unwrap();
    }
    written
}

struct Random(u32);

impl Random {
    fn below(&mut self, limit: u32) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 17;
        self.0 ^= self.0 << 5;
        self.0 % limit
    }

    fn name(&mut self) -> &'static str {
        ["a", "b", "c", "d.txt"][self.below(4) as usize]
    }
}

fn fill(directory: &Path, depth: u32, random: &mut Random) {
    for _ in 0..random.below(4) {
        let path = directory.join(random.name());
        if path.symlink_metadata().is_ok() {
            continue;
        }
        match random.below(if depth == 0 { 3 } else { 5 }) {
            0 => fs::write(&path, "same").unwrap(),
            1 => fs::write(&path, vec![b'x'; random.below(3000) as usize]).unwrap(),
            2 if random.below(3) == 0 => symlink("target", &path).unwrap(),
            2 => fs::write(&path, "").unwrap(),
            _ => {
                fs::create_dir(&path).unwrap();
                fill(&path, depth - 1, random);
            }
        }
    }
    if random.below(3) == 0 && directory.join("a").is_file() {
        let _ = fs::hard_link(directory.join("a"), directory.join("linked"));
    }
}

fn entries_of(directory: &Path, destination: &str, random: &mut Random, into: &mut Vec<CopyEntry>) {
    let mut names: Vec<_> =
        fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    for name in names {
        let source = directory.join(&name);
        let to = format!("{destination}/{}", name.to_str().unwrap());
        let found = source.symlink_metadata().unwrap();
        let kind = if found.is_dir() {
            EntryKind::Directory
        } else if found.is_symlink() {
            EntryKind::Symlink
        } else if found.len() == 0 && random.below(2) == 0 {
            EntryKind::Empty
        } else {
            EntryKind::File
        };
        let is_known = kind == EntryKind::File && random.below(2) == 0;
        let (expect, known) = facts_of(&source);
        into.push(CopyEntry {
            expect: is_known.then_some(expect),
            known: is_known.then_some(known),
            mode: (random.below(8) > 0 || kind == EntryKind::Empty)
                .then_some([0o644, 0o755, 0o4755][random.below(3) as usize]),
            mtime_ns: (random.below(8) > 0).then_some(1_000_000_000_000_000_123),
            link: (kind == EntryKind::Symlink && random.below(2) == 0).then(|| "target".into()),
            keeps_existing: kind == EntryKind::Directory && random.below(3) == 0,
            ..entry(&source, &to, kind)
        });
        if found.is_dir() {
            entries_of(&source, &to, random, into);
        }
    }
}

/// As an index of the user's files has them; the content is not looked at here.
fn facts_of(source: &Path) -> (Expectation, KnownFile) {
    let found = source.symlink_metadata().unwrap();
    let ns = |seconds: i64, ns: i64| i128::from(seconds) * 1_000_000_000 + i128::from(ns);
    let expect = Expectation {
        size: found.len(),
        mtime_ns: ns(found.mtime(), found.mtime_nsec()),
        ctime_ns: ns(found.ctime(), found.ctime_nsec()),
    };
    let sha256 = format!("{} {}", source.display(), found.len());
    (expect, KnownFile { sha256, dev: found.dev(), ino: found.ino(), links: found.nlink() })
}

#[test]
fn frames_of_known_files_are_taken_without_a_look_at_the_files() {
    let scratch = Scratch::new();
    let source = scratch.directory("source");
    let entries = || -> Vec<CopyEntry> {
        (0..400)
            .map(|index| {
                let source = source.join(format!("{index:03}"));
                let (expect, known) = facts_of(&source);
                let (expect, known) = (Some(expect), Some(known));
                let to = format!("/srv/{index:03}");
                CopyEntry { expect, known, ..entry(&source, &to, EntryKind::File) }
            })
            .collect()
    };
    for index in 0..400 {
        // One that is large, one that is as large as a frame of small ones, and one that is empty.
        let times = match index {
            1 => 2_000_000,
            2 => 200_000,
            3 => 0,
            _ => 20_000,
        };
        fs::write(source.join(format!("{index:03}")), format!("{index} ").repeat(times)).unwrap();
    }
    let write = |entries, name: &str, level, previous| {
        let options = CopiedOptions {
            entries,
            lowers: Vec::new(),
            now_seconds: CLAMP,
            output: scratch.path(name),
            compression: Compression::Zstd(level),
            threads: 2,
            previous,
            clamp_mtime_seconds: None,
        };
        write_copied_layer(&options, Watch::new(&AtomicBool::new(false), &|_| {}))
            .map(Option::unwrap)
    };
    let before = entries();
    let first = write(before.clone(), "first", 1, None).unwrap();
    let previous = |frames: Vec<u8>| Some(Previous { blob: scratch.path("first"), frames });
    let noted = previous(first.frames.clone());
    fs::remove_file(source.join("001")).unwrap();
    fs::remove_file(source.join("020")).unwrap();
    // Another level than before, so that it can be seen whose frames they are.
    assert_eq!(write(before.clone(), "again", 9, noted.clone()).unwrap(), first);
    for frames in [Vec::new(), first.frames[..300].to_vec(), vec![7; first.frames.len()]] {
        let failed = write(before.clone(), "failed", 9, previous(frames)).unwrap_err();
        assert_eq!(failed.code, Code::SourceChanged);
        assert!(!scratch.path("failed").exists());
    }
    // A damaged frame is made again, which needs its files.
    let mut blob = fs::read(scratch.path("first")).unwrap();
    let end = blob.len() - 100;
    blob[end] ^= 0x55;
    fs::write(scratch.path("first"), blob).unwrap();
    let mended = write(before.clone(), "mended", 1, noted.clone()).unwrap();
    assert_eq!(mended.digest, first.digest);
    // Nor do those behind it count on it.
    let whole = |name: &str, written: &WrittenLayer| {
        let sums = format!("sha256sum < {name}; zstd -dc {name} | sha256sum");
        let sums = support::shell(&sums, &scratch.0);
        let expected = [&written.digest, &written.diff_id].map(|digest| &digest["sha256:".len()..]);
        assert_eq!(sums.split_whitespace().step_by(2).collect::<Vec<_>>(), expected);
        assert_eq!(fs::metadata(scratch.path(name)).unwrap().len(), written.size);
    };
    for place in [100, 2_000, end / 2] {
        let mut blob = fs::read(scratch.path("mended")).unwrap();
        blob[place] ^= 0x55;
        fs::write(scratch.path("first"), blob).unwrap();
        fs::write(source.join("001"), "1 ".repeat(2_000_000)).unwrap();
        fs::write(source.join("020"), "20 ".repeat(20_000)).unwrap();
        let fresh = write(entries(), "fresh", 1, None).unwrap();
        let previous = Some(Previous { blob: scratch.path("first"), frames: fresh.frames });
        let mended = write(entries(), "mended-9", 9, previous).unwrap();
        assert_eq!(mended.diff_id, first.diff_id);
        assert_ne!(mended.digest, first.digest);
        whole("mended-9", &mended);
    }
    fs::copy(scratch.path("mended"), scratch.path("first")).unwrap();
    fs::remove_file(source.join("001")).unwrap();
    fs::remove_file(source.join("020")).unwrap();
    // What changed, and nothing else, is made again.
    let without: Vec<_> = before
        .iter()
        .filter(|entry| !["001", "020"].iter().any(|gone| entry.source.ends_with(gone)))
        .cloned()
        .collect();
    assert_eq!(write(without, "without", 1, noted.clone()).unwrap().entries, 399);
    fs::write(source.join("300"), "changed").unwrap();
    let mut after = before;
    let (expect, known) = facts_of(&source.join("300"));
    (after[300].expect, after[300].known) = (Some(expect), Some(known));
    let written = write(after.clone(), "changed", 1, noted).unwrap();
    assert_ne!(written.diff_id, first.diff_id);
    whole("changed", &written);
    let listed = support::shell("zstd -dc changed | tar -xO srv/300 srv/002 | md5sum", &scratch.0);
    let expected =
        support::shell("cat source/002 > x; { cat x; echo -n changed; } | md5sum", &scratch.0);
    assert_eq!(listed, expected);
    // And again, from that: one near the end, so that most of it is copied.
    fs::write(source.join("390"), "changed too").unwrap();
    let (expect, known) = facts_of(&source.join("390"));
    (after[390].expect, after[390].known) = (Some(expect), Some(known));
    let previous = Some(Previous { blob: scratch.path("changed"), frames: written.frames.clone() });
    let again = write(after, "changed-again", 1, previous).unwrap();
    whole("changed-again", &again);
    // What is known of the first frames is the same.
    assert_eq!(again.frames[..400], written.frames[..400]);
    assert_eq!(again.frames.len(), written.frames.len());
}

#[test]
fn both_ways_write_the_same() {
    let mut random = Random(0x2545_f491);
    let (mut same, mut left_to_the_tree) = (0, 0);
    for _ in 0..120 {
        let scratch = Scratch::new();
        let source = scratch.directory("source");
        fill(&source, 3, &mut random);
        let mut lowers = Vec::new();
        for index in 0..random.below(3) {
            let lower = scratch.directory(&format!("lower-{index}"));
            fs::create_dir(lower.join("srv")).unwrap();
            fill(&lower.join("srv"), 3, &mut random);
            if random.below(2) == 0 {
                let from = scratch.path("source");
                support::shell(
                    &format!("cp -a {}/. srv/ 2>/dev/null || true", from.display()),
                    &lower,
                );
                // As a copy of an earlier build would lie there.
                support::shell(
                    "find srv -type f -exec chmod 644 {} +; chown -R -h 7:8 srv; find srv -exec touch -h -d @1000000.000000123 {} +",
                    &lower,
                );
            }
            support::shell("find . -newermt 2020-01-01 -exec touch -h -d @1000000 {} +", &lower);
            lowers.push(lower);
        }
        let destination = ["/srv", "/srv/a", "/new/deep"][random.below(3) as usize];
        let mut entries = vec![CopyEntry {
            keeps_existing: true,
            mode: Some(0o755),
            ..entry(&source, destination, EntryKind::Directory)
        }];
        entries_of(&source, destination, &mut random, &mut entries);
        let output = scratch.path("direct.tar");
        match direct(entries.clone(), &lowers, &output).unwrap() {
            None => {
                left_to_the_tree += 1;
                assert!(!output.exists());
            }
            Some(written) => {
                same += 1;
                let long = by_tree(entries, &lowers, &scratch);
                if written.diff_id != long.diff_id {
                    let list = |name: &str| support::shell(&format!("tar -tvf {name}"), &scratch.0);
                    panic!("{destination}\n{}\n{}", list("direct.tar"), list("by-tree.tar"));
                }
                assert_eq!((written.entries, written.digest), (long.entries, long.digest));
            }
        }
    }
    assert!(same > 60 && left_to_the_tree > 5, "{same} {left_to_the_tree}");
}

#[test]
fn a_source_that_changed_is_noticed() {
    let scratch = Scratch::new();
    let source = scratch.path("file");
    fs::write(&source, "content").unwrap();
    let (expect, _) = facts_of(&source);
    let wanted =
        || vec![CopyEntry { expect: Some(expect), ..entry(&source, "/f", EntryKind::File) }];
    let output = scratch.path("out");
    assert_eq!(direct(wanted(), &[], &output).unwrap().unwrap().entries, 1);
    fs::write(&source, "CONTENT").unwrap();
    for gone in [false, true] {
        if gone {
            fs::remove_file(&source).unwrap();
        }
        assert_eq!(direct(wanted(), &[], &output).unwrap_err().code, Code::SourceChanged);
        assert!(!output.exists());
    }
}

#[test]
fn names_that_mean_deletions_are_refused() {
    let scratch = Scratch::new();
    let source = scratch.path("file");
    fs::write(&source, "content").unwrap();
    let refused =
        direct(vec![entry(&source, "/a/.wh.b", EntryKind::File)], &[], &scratch.path("out"));
    assert_eq!(refused.unwrap_err().code, Code::LayerUnrepresentable);
}
