//! Archives of users, unpacked into a directory of an image: those that GNU tar and four compressors write, and hostile ones.
#![allow(missing_docs)]

mod support;

use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt, symlink as link},
    path::Path,
    sync::atomic::AtomicBool,
};

use support::*;
use tsbuild_layer::{
    ArchiveOptions, ArchiveSource, Code, Error, ExpandLimits, UnpackedArchive, Watch, is_archive,
    unpack_archive,
};
use tsbuild_sys::copy::Expectation;
use tsbuild_tar::{Entry, EntryKind};

type Entries = Vec<(Entry, &'static [u8])>;

const LIMITS: ExpandLimits = ExpandLimits { bytes: 1 << 40, ratio: 1000 };
const MADE_AT_NS: i128 = 1_234_567_890_123_456_789;

fn source(path: &Path) -> ArchiveSource {
    ArchiveSource { path: path.to_owned(), expect: None, limits: LIMITS }
}

fn options(archive: &Path, root: &Path) -> ArchiveOptions {
    ArchiveOptions {
        source: source(archive),
        root: root.to_owned(),
        directory: b"/in".to_vec(),
        owner: None,
        made_at_ns: MADE_AT_NS,
        max_entries: 1000,
        create_devices: false,
        owners: None,
    }
}

fn run(options: &ArchiveOptions) -> Result<UnpackedArchive, Error> {
    unpack_archive(options, Watch::new(&AtomicBool::new(false), &|_| {}))
}

fn sniff(path: &Path) -> bool {
    is_archive(&source(path), Watch::new(&AtomicBool::new(false), &|_| {})).unwrap()
}

/// Makes `root/in` and an archive of these entries, and unpacks it there.
fn unpack_into(scratch: &Scratch, entries: &[(Entry, &[u8])]) -> Result<UnpackedArchive, Error> {
    fs::create_dir_all(scratch.path("root/in")).unwrap();
    fs::write(scratch.path("a.tar"), archive(entries)).unwrap();
    run(&options(&scratch.path("a.tar"), &scratch.path("root")))
}

#[test]
fn what_other_programs_write() {
    if !is_root() {
        return;
    }
    let scratch = Scratch::new();
    let tree = scratch.directory("tree");
    shell(
        "mkdir -p a/b; echo hello > a/b/f; ln a/b/f a/hard; ln -s ../x a/l; mkfifo a/p; chmod 4750 a/b/f; \
         truncate -s 3M a/sparse; echo x | dd of=a/sparse bs=1 seek=1500000 conv=notrunc status=none; \
         chown 12:34 a/b; : > \"$(printf 'a/\\377')\"; touch -hd @2000 a/* a; touch -hd @1000.5 a/b/f a/sparse a/l a/p; \
         touch -d @2000 a/b a",
        &tree,
    );
    let formats = ["pax", "gnu"];
    let compressors = ["cat", "gzip", "bzip2", "xz", "zstd -q", "xz --check=sha256"];
    for format in formats {
        for (index, compressor) in compressors.iter().enumerate() {
            let name = format!("{format}{index}");
            let path = scratch.path(&name);
            let script =
                format!("tar --format={format} -S -cf - . | {compressor} > {}", path.display());
            shell(&script, &tree);
            assert!(sniff(&path), "{script}");
            let root = scratch.directory(&format!("root-{name}"));
            fs::create_dir(root.join("in")).unwrap();
            fs::set_permissions(root.join("in"), PermissionsExt::from_mode(0o711)).unwrap();
            run(&options(&path, &root)).unwrap();
            // `.` of the archive has not changed the directory.
            assert_eq!(fs::metadata(root.join("in")).unwrap().mode() & 0o7777, 0o711);
            let facts =
                "find . -mindepth 1 -printf '%P %y %m %U:%G %s %l %T@ %n\\n' | LC_ALL=C sort";
            let (mut expected, actual) = (shell(facts, &tree), shell(facts, &root.join("in")));
            if format == "gnu" {
                // Whole seconds only.
                expected = expected.replace("1000.5000000000", "1000.0000000000");
            }
            assert_eq!(actual, expected, "{script}");
            assert!(fs::metadata(root.join("in/a/sparse")).unwrap().blocks() < 1000);
            shell(&format!("diff -r --no-dereference a/b {}/in/a/b", root.display()), &tree);
        }
    }
}

#[test]
fn what_is_none() {
    let scratch = Scratch::new();
    let good = archive(&[(file("f"), b"x")]);
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("nothing", Vec::new()),
        ("text", b"hello".to_vec()),
        ("zeros", vec![0; 10240]),
        ("an end and nothing before it", archive(&[])),
        ("a bad checksum", {
            let mut bad = good.clone();
            bad[0] ^= 1;
            bad
        }),
        ("a name of gzip", b"\x1f\x8b\x08 is how gzip begins".to_vec()),
        ("a name of bzip2", b"BZh is how bzip2 begins".to_vec()),
        ("a name of xz", b"\xfd7zXZ\0 is how xz begins".to_vec()),
        ("a name of zstd", b"\x28\xb5\x2f\xfd is how zstd begins".to_vec()),
        ("a short tar", good[..300].to_vec()),
    ];
    for (name, content) in cases {
        let path = scratch.path("file");
        fs::write(&path, content).unwrap();
        assert!(!sniff(&path), "{name}");
    }
    fs::write(scratch.path("file"), "text").unwrap();
    shell("gzip -k file", &scratch.0);
    assert!(!sniff(&scratch.path("file.gz")));
    // The first header decides.
    fs::write(scratch.path("file"), &good[..600]).unwrap();
    assert!(sniff(&scratch.path("file")));
    link(scratch.path("file"), scratch.path("link")).unwrap();
    assert!(
        is_archive(&source(&scratch.path("link")), Watch::new(&AtomicBool::new(false), &|_| {}))
            .is_err()
    );
}

#[test]
fn refused() {
    let zero_device = Entry::new(b"x", EntryKind::CharDevice);
    let cases: Vec<(&str, Code, Entries)> = vec![
        ("..", Code::BadArchive, vec![(file("../x"), b"x")]),
        (".. inside", Code::BadArchive, vec![(directory("a"), b""), (file("a/../../x"), b"x")]),
        ("a file for the directory", Code::BadArchive, vec![(file("./"), b"x")]),
        ("hard link with ..", Code::BadArchive, vec![(hard_link("x", "../outside"), b"")]),
        ("hard link to the host", Code::BadArchive, vec![(hard_link("x", "/etc/passwd"), b"")]),
        (
            "hard link beside the directory",
            Code::BadArchive,
            vec![(hard_link("x", "/outside"), b"")],
        ),
        ("loop", Code::BadArchive, vec![(symlink("a", "a"), b""), (file("a/x"), b"x")]),
        ("below a file", Code::BadArchive, vec![(file("a"), b"x"), (file("a/x"), b"x")]),
        ("whiteout", Code::LayerUnrepresentable, vec![(file("a/.wh.b"), b"")]),
        ("opaque", Code::LayerUnrepresentable, vec![(file("a/.wh..wh..opq"), b"")]),
        ("below a whiteout", Code::LayerUnrepresentable, vec![(file(".wh.a/b"), b"")]),
        ("a device that deletes", Code::BadArchive, vec![(zero_device, b"")]),
    ];
    for (name, code, entries) in cases {
        let scratch = Scratch::new();
        fs::create_dir_all(scratch.path("root")).unwrap();
        fs::write(scratch.path("root/outside"), "outside").unwrap();
        fs::write(scratch.path("x"), "host").unwrap();
        let error = unpack_into(&scratch, &entries).expect_err(name);
        assert_eq!(error.code, code, "{name}: {error}");
        assert!(!scratch.path("root/x").exists(), "{name}");
        assert_eq!(fs::read(scratch.path("root/outside")).unwrap(), b"outside", "{name}");
        assert_eq!(fs::read(scratch.path("x")).unwrap(), b"host", "{name}");
    }
}

#[test]
fn links_lead_inside_the_root_only() {
    if !is_root() {
        return;
    }
    let scratch = Scratch::new();
    let outside = scratch.directory("outside");
    let root = scratch.directory("root");
    fs::create_dir_all(root.join("real")).unwrap();
    fs::create_dir_all(root.join("in")).unwrap();
    // Of the target, and of the archive.
    link(&outside, root.join("in/escape")).unwrap();
    link("/real", root.join("in/inner")).unwrap();
    let entries = [
        (file("inner/f"), &b"inner"[..]),
        (symlink("up", "../../../../../../.."), b""),
        (file("up/real/g"), b"up"),
        (file("escape/x"), b"made anew"),
    ];
    unpack_into(&scratch, &entries).unwrap();
    assert_eq!(fs::read(root.join("real/f")).unwrap(), b"inner");
    assert_eq!(fs::read(root.join("real/g")).unwrap(), b"up");
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
    // Where the absolute link leads inside the root there was nothing: it was made there.
    let inside = root.join(outside.strip_prefix("/").unwrap()).join("x");
    assert_eq!(fs::read(inside).unwrap(), b"made anew");
}

#[test]
fn entries_replace_what_is_there() {
    if !is_root() {
        return;
    }
    let scratch = Scratch::new();
    let root = scratch.directory("root");
    fs::create_dir_all(root.join("in/was-directory/deep")).unwrap();
    fs::create_dir_all(root.join("in/stays")).unwrap();
    fs::write(root.join("in/stays/old"), "old").unwrap();
    fs::write(root.join("in/was-file"), "old").unwrap();
    fs::create_dir_all(root.join("linked")).unwrap();
    link("/linked", root.join("in/was-link")).unwrap();
    let entries = [
        (file("was-directory"), &b"new"[..]),
        (directory("was-file"), b""),
        (directory("was-link"), b""),
        (directory("stays"), b""),
        (file("implied/f"), b"new"),
    ];
    let mut with_owner = {
        unpack_into(&scratch, &entries).unwrap();
        options(&scratch.path("a.tar"), &root)
    };
    let facts = |name: &str| fs::symlink_metadata(root.join("in").join(name)).unwrap();
    assert!(facts("was-directory").is_file());
    assert!(facts("was-file").is_dir() && facts("was-link").is_dir());
    assert_eq!(fs::read(root.join("in/stays/old")).unwrap(), b"old");
    let implied = facts("implied");
    assert_eq!(
        (implied.mtime(), implied.mtime_nsec(), implied.mode() & 0o7777),
        (1_234_567_890, 123_456_789, 0o755)
    );
    with_owner.owner = Some((5, 6));
    run(&with_owner).unwrap();
    assert_eq!((facts("was-directory").uid(), facts("was-directory").gid()), (5, 6));
    assert_eq!((facts("stays").uid(), facts("implied").uid()), (5, 0));
}

#[test]
fn limits_and_changes() {
    let scratch = Scratch::new();
    let root = scratch.directory("root");
    fs::create_dir_all(root.join("in")).unwrap();
    let bomb = scratch.path("bomb.tar.gz");
    shell(
        "head -c 100M /dev/zero > zeros; tar -c zeros | gzip -9 > bomb.tar.gz; truncate -s 1M zeros; tar -cf cut.tar zeros",
        &scratch.0,
    );
    let error = run(&options(&bomb, &root)).unwrap_err();
    assert_eq!(error.code, Code::ArchiveLimit, "{error}");
    let many: Vec<(Entry, &[u8])> =
        (0..2000).map(|number| (file(&format!("f{number}")), &b""[..])).collect();
    let error = unpack_into(&scratch, &many).unwrap_err();
    assert_eq!(error.code, Code::ArchiveLimit, "{error}");
    let path = scratch.path("cut.tar");
    fs::File::options().write(true).open(&path).unwrap().set_len(100_000).unwrap();
    let error = run(&options(&path, &root)).unwrap_err();
    assert_eq!(error.code, Code::BadArchive, "{error}");
    assert!(error.message.contains("in/zeros"), "{error}");
    let cancelled =
        unpack_archive(&options(&path, &root), Watch::new(&AtomicBool::new(true), &|_| {}));
    assert_eq!(cancelled.unwrap_err().code, Code::Cancelled);
    let facts = fs::metadata(&path).unwrap();
    let mut changed = options(&path, &root);
    changed.source.expect = Some(Expectation {
        size: facts.len(),
        mtime_ns: i128::from(facts.mtime()) * 1_000_000_000 + i128::from(facts.mtime_nsec()) + 1,
        ctime_ns: i128::from(facts.ctime()) * 1_000_000_000 + i128::from(facts.ctime_nsec()),
    });
    assert_eq!(run(&changed).unwrap_err().code, Code::SourceChanged);
}
