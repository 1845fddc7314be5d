//! GNU tar reads what we write, and we read what GNU tar writes in each of its formats.

use std::{
    fs,
    io::Read,
    os::unix::{
        ffi::OsStrExt,
        fs::{FileExt, PermissionsExt},
    },
    path::{Path, PathBuf},
    process::Command,
};

use tsbuild_tar::{Entry, EntryKind, Reader, Timestamp, Writer};

struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("tsbuild-tar-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn tar(arguments: &[&str], directory: &Path) -> Vec<u8> {
    let output = Command::new("tar")
        .args(arguments)
        .current_dir(directory)
        .env("TZ", "UTC")
        .env("LC_ALL", "C")
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "tar {arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    output.stdout
}

fn read_all(archive: &[u8]) -> Vec<(Entry, Vec<u8>)> {
    let mut reader = Reader::new(archive);
    let mut entries = Vec::new();
    while let Some(entry) = reader.next_entry().unwrap() {
        let mut content = Vec::new();
        reader.read_to_end(&mut content).unwrap();
        assert_eq!(content.len() as u64, entry.size);
        entries.push((entry, content));
    }
    entries
}

fn pattern(size: usize) -> Vec<u8> {
    (0..size).map(|index| (index * 7 % 251) as u8 + 1).collect()
}

#[test]
fn gnu_tar_extracts_what_we_write() {
    let scratch = Scratch::new("write");
    let mut entries: Vec<(Entry, Vec<u8>)> = Vec::new();
    for size in [0, 1, 511, 512, 513, 1023, 1024, 1025, 100_000] {
        let mut entry =
            Entry::new(format!("size-{size}").as_bytes(), EntryKind::File).with_size(size as u64);
        entry.mtime = Timestamp { seconds: 1_000_000_000 + size as i64, nanoseconds: 0 };
        entry.mode = 0o640;
        entries.push((entry, pattern(size)));
    }
    // Around ustar's limits of 100 for a name and 155 for a prefix.
    for length in [99, 100, 101, 154, 155, 156, 157, 254, 255, 256, 257, 300] {
        let flat = vec![b'n'; length.min(250)];
        entries.push((Entry::new(&flat, EntryKind::File), Vec::new()));
        let mut deep = vec![b'd'; length];
        // No file is the directory of another.
        deep[..3].copy_from_slice(format!("{length:03}").as_bytes());
        for index in (length % 50..length - 1).step_by(50).skip(1) {
            deep[index] = b'/';
        }
        entries.push((Entry::new(&deep, EntryKind::File).with_size(3), b"abc".to_vec()));
    }
    entries
        .push((Entry::new("späte/Straße".as_bytes(), EntryKind::File).with_size(1), b"x".to_vec()));
    entries.push((Entry::new(b"raw\xff\xfebytes", EntryKind::File).with_size(1), b"y".to_vec()));
    entries.push((Entry::new(b"link", EntryKind::Symlink).with_link(&[b'l'; 150]), Vec::new()));
    entries.push((Entry::new(b"hard", EntryKind::HardLink).with_link(b"size-513"), Vec::new()));
    entries.push((Entry::new(b"fifo", EntryKind::Fifo), Vec::new()));
    let mut old = Entry::new(b"before-1970", EntryKind::File);
    old.mtime = Timestamp { seconds: -86_400, nanoseconds: 0 };
    entries.push((old, Vec::new()));
    let mut fraction = Entry::new(b"fraction", EntryKind::File);
    fraction.mtime = Timestamp { seconds: -2, nanoseconds: 250_000_000 };
    entries.push((fraction, Vec::new()));
    let mut directory = Entry::new(b"dir", EntryKind::Directory);
    directory.mode = 0o1777;
    entries.push((directory, Vec::new()));
    let mut owner = Entry::new(b"big-id", EntryKind::File);
    (owner.uid, owner.gid) = (2_097_152, 4_294_967_294);
    owner.xattrs = vec![(b"user.key".to_vec(), b"a\nb\0c=".to_vec())];
    entries.push((owner, Vec::new()));

    let mut writer = Writer::new(Vec::new());
    for (entry, content) in &entries {
        writer.entry(entry).unwrap();
        writer.data(content).unwrap();
    }
    let archive = writer.finish().unwrap();
    assert_eq!(archive.len() % 512, 0);

    // What we read is what we wrote.
    let read = read_all(&archive);
    assert_eq!(read.len(), entries.len());
    for ((read, content), (written, expected)) in read.iter().zip(&entries) {
        let mut written = written.clone();
        if written.kind == EntryKind::Directory {
            written.path.push(b'/');
        }
        assert_eq!((read, content), (&written, expected));
    }

    fs::write(scratch.0.join("a.tar"), &archive).unwrap();
    fs::create_dir(scratch.0.join("out")).unwrap();
    tar(&["-xf", "a.tar", "-C", "out", "--no-same-owner"], &scratch.0);
    let out = scratch.0.join("out");
    for (entry, expected) in &entries {
        let path = out.join(std::ffi::OsStr::from_bytes(&entry.path));
        let facts = fs::symlink_metadata(&path).unwrap();
        match entry.kind {
            EntryKind::File => {
                assert_eq!(&fs::read(&path).unwrap(), expected);
                assert_eq!(facts.permissions().mode() & 0o7777, entry.mode);
                let modified = std::os::unix::fs::MetadataExt::mtime(&facts);
                assert_eq!(modified, entry.mtime.seconds);
            }
            EntryKind::Symlink => {
                assert_eq!(fs::read_link(&path).unwrap().as_os_str().as_bytes(), entry.link)
            }
            EntryKind::Directory => assert!(facts.is_dir()),
            _ => {}
        }
    }
    let listing = String::from_utf8_lossy(&tar(&["-tvf", "a.tar", "--numeric-owner"], &scratch.0))
        .into_owned();
    assert!(listing.contains("2097152/4294967294"), "{listing}");
    assert!(listing.contains("hard link to size-513"), "{listing}");
}

#[test]
fn reads_every_format_of_gnu_tar() {
    let scratch = Scratch::new("read");
    let tree = scratch.0.join("tree");
    fs::create_dir_all(tree.join("sub")).unwrap();
    for size in [0_usize, 1, 511, 512, 513, 70_000] {
        fs::write(tree.join(format!("sub/f{size}")), pattern(size)).unwrap();
    }
    std::os::unix::fs::symlink("sub/f1", tree.join("s")).unwrap();
    fs::hard_link(tree.join("sub/f513"), tree.join("zhard")).unwrap();
    for format in ["v7", "oldgnu", "gnu", "ustar", "posix"] {
        let long = matches!(format, "oldgnu" | "gnu" | "posix");
        let long_name = "n".repeat(200);
        let _ = fs::remove_file(tree.join(&long_name));
        let _ = fs::remove_file(tree.join("longlink"));
        if long {
            fs::write(tree.join(&long_name), b"long").unwrap();
            std::os::unix::fs::symlink("t".repeat(180), tree.join("longlink")).unwrap();
        }
        let archive = tar(
            &[
                "-c",
                &format!("--format={format}"),
                "--sort=name",
                "--mtime=@1234567890",
                "-C",
                "tree",
                ".",
            ],
            &scratch.0,
        );
        let read = read_all(&archive);
        let find = |name: &str| {
            let path = format!("./{name}");
            read.iter()
                .find(|(entry, _)| entry.path == path.as_bytes())
                .unwrap_or_else(|| panic!("{format}: {name}"))
        };
        for size in [0_usize, 1, 511, 512, 70_000] {
            let (entry, content) = find(&format!("sub/f{size}"));
            assert_eq!(content, &pattern(size), "{format}");
            assert_eq!(entry.mtime, Timestamp { seconds: 1_234_567_890, nanoseconds: 0 });
        }
        assert_eq!(find("s").0.link, b"sub/f1");
        assert_eq!(find("sub/").0.kind, EntryKind::Directory, "{format}");
        let (hard, _) = find("zhard");
        assert_eq!((hard.kind, hard.link.as_slice()), (EntryKind::HardLink, &b"./sub/f513"[..]));
        if long {
            assert_eq!(find(&long_name).1, b"long");
            assert_eq!(find("longlink").0.link, "t".repeat(180).into_bytes());
        }
    }
    // Base-256 numbers.
    let archive = tar(
        &["-c", "--format=gnu", "--owner=:4000000000", "--group=:3000000", "-C", "tree", "s"],
        &scratch.0,
    );
    let (entry, _) = &read_all(&archive)[0];
    assert_eq!((entry.uid, entry.gid), (4_000_000_000, 3_000_000));
}

#[test]
fn reads_sparse_files_of_each_version() {
    let scratch = Scratch::new("sparse");
    // A hole first, more than four segments (the old header holds four), and a hole last.
    let file = fs::File::create(scratch.0.join("holes")).unwrap();
    for index in 1..40_u64 {
        file.write_all_at(&pattern(5000), index * 200_000).unwrap();
    }
    file.set_len(10_000_000).unwrap();
    let expected = fs::read(scratch.0.join("holes")).unwrap();
    fs::File::create(scratch.0.join("only-hole")).unwrap().set_len(1_000_000).unwrap();
    for arguments in [
        &["--format=gnu"][..],
        &["--format=posix", "--sparse-version=0.0"],
        &["--format=posix", "--sparse-version=0.1"],
        &["--format=posix", "--sparse-version=1.0"],
    ] {
        let all = [arguments, &["-c", "--sparse", "--hole-detection=seek", "holes", "only-hole"]]
            .concat();
        let archive = tar(&all, &scratch.0);
        assert!(archive.len() < 2_000_000, "tar stored the holes");
        let read = read_all(&archive);
        assert_eq!(read[0].0.path, b"holes", "{arguments:?}");
        assert!(read[0].1 == expected, "{arguments:?}");
        assert_eq!(read[1].1, vec![0; 1_000_000], "{arguments:?}");

        let mut reader = Reader::new(archive.as_slice());
        reader.next_entry().unwrap().unwrap();
        let mut rebuilt = vec![0_u8; expected.len()];
        let mut buffer = [0_u8; 3000];
        let mut data = 0;
        while let Some((offset, count)) = reader.read_segment(&mut buffer).unwrap() {
            rebuilt[offset as usize..offset as usize + count].copy_from_slice(&buffer[..count]);
            data += count;
        }
        assert!(rebuilt == expected && data < 1_000_000);
        assert_eq!(reader.next_entry().unwrap().unwrap().path, b"only-hole");
    }
}
