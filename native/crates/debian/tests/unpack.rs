//! Packages made by `dpkg-deb`, unpacked by us, and what dpkg says of the result.

use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt, symlink},
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::{AtomicBool, Ordering},
};

use tsbuild_debian::{Error, Hashing, Options, Package, Unpacked, unpack};
use tsbuild_owners::{Owners, Record, Recording};

/// A directory of this test, removed at its end.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let path =
            std::env::temp_dir().join(format!("tsbuild-debian-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(path.join("root")).unwrap();
        Self(path)
    }

    fn root(&self) -> PathBuf {
        self.0.join("root")
    }

    /// A package with these files (`path` → content; a content of `-> x` makes a link) and control files.
    fn package(
        &self,
        stanza: &str,
        files: &[(&str, &str)],
        control: &[(&str, &str)],
        compression: &str,
    ) -> Package {
        let name = stanza.lines().find_map(|line| line.strip_prefix("Package: ")).unwrap();
        let tree = self.0.join(format!("{name}.tree"));
        fs::create_dir_all(tree.join("DEBIAN")).unwrap();
        fs::write(
            tree.join("DEBIAN/control"),
            format!("{stanza}\nMaintainer: a <a@b.c>\nDescription: test\n"),
        )
        .unwrap();
        for (file, content) in control {
            let path = tree.join("DEBIAN").join(file);
            fs::write(&path, content).unwrap();
            let script = ["preinst", "postinst", "prerm", "postrm"].contains(file);
            fs::set_permissions(
                &path,
                fs::Permissions::from_mode(if script { 0o755 } else { 0o644 }),
            )
            .unwrap();
        }
        for (path, content) in files {
            let path = tree.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            match content.strip_prefix("-> ") {
                Some(target) => symlink(target, &path).unwrap(),
                None => fs::write(&path, content).unwrap(),
            }
        }
        let path = self.0.join(format!("{name}.deb"));
        let output = Command::new("dpkg-deb")
            .args(["--root-owner-group", "-Z", compression, "--build"])
            .args([&tree, &path])
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        package(&path)
    }

    /// Whoever runs the tests is root or has one id.
    fn recording(&self) -> Option<Recording> {
        Some(Recording { file: self.0.join("owners"), single: true })
    }

    fn unpack(&self, packages: &[Package], threads: usize) -> Result<Unpacked, Error> {
        let options = Options {
            root: self.root(),
            packages: packages.to_vec(),
            threads,
            owners: self.recording(),
        };
        unpack(&options, &AtomicBool::new(false), &|_| {})
    }

    fn read(&self, path: &str) -> String {
        fs::read_to_string(self.root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn package(path: &Path) -> Package {
    let sha256 = Hashing::new(fs::File::open(path).unwrap()).finish().unwrap();
    Package { path: path.to_owned(), sha256, may_defer: false }
}

const ONE: &str = "Package: one\nVersion: 1.0\nArchitecture: amd64\nMulti-Arch: same";
const TWO: &str = "Package: two\nVersion: 2.0\nArchitecture: all";

#[test]
fn unpacks_every_compression_and_registers_with_dpkg() {
    for compression in ["none", "gzip", "xz", "zstd"] {
        let scratch = Scratch::new(&format!("register-{compression}"));
        let control = [
            ("conffiles", "/etc/one.conf\n"),
            ("postinst", "#!/bin/sh\n"),
            ("triggers", "interest one-made\n"),
        ];
        let files = [
            ("etc/one.conf", "setting\n"),
            ("usr/bin/one", "#!/bin/sh\n"),
            ("usr/bin/uno", "-> one"),
        ];
        let one = scratch.package(ONE, &files, &control, compression);
        let two = scratch.package(
            TWO,
            &[("usr/bin/two", "2")],
            &[("triggers", "interest-noawait /usr/share/x\n")],
            compression,
        );
        let unpacked = scratch.unpack(&[one, two], 2).unwrap();
        assert_eq!(unpacked, Unpacked { entry_count: 11, deferred: vec![] });

        assert_eq!(scratch.read("usr/bin/one"), "#!/bin/sh\n");
        assert_eq!(fs::read_link(scratch.root().join("usr/bin/uno")).unwrap(), Path::new("one"));
        assert_eq!(
            scratch.read("var/lib/dpkg/info/one:amd64.list"),
            "/.\n/etc\n/etc/one.conf\n/usr\n/usr/bin\n/usr/bin/one\n/usr/bin/uno\n"
        );
        assert_eq!(
            scratch.read("var/lib/dpkg/info/two.list"),
            "/.\n/usr\n/usr/bin\n/usr/bin/two\n"
        );
        assert_eq!(scratch.read("var/lib/dpkg/triggers/one-made"), "one:amd64\n");
        assert_eq!(scratch.read("var/lib/dpkg/triggers/File"), "/usr/share/x two/noawait\n");
        let script =
            fs::metadata(scratch.root().join("var/lib/dpkg/info/one:amd64.postinst")).unwrap();
        assert_eq!(script.permissions().mode() & 0o777, 0o755);

        let admin = format!("--admindir={}", scratch.root().join("var/lib/dpkg").display());
        let query = Command::new("dpkg-query")
            .args([&admin, "-W", "-f", "${Package} ${Version} ${Status} ${Conffiles}\n"])
            .output()
            .unwrap();
        assert_eq!(
            String::from_utf8_lossy(&query.stdout),
            // md5sum of "setting\n".
            "one 1.0 install ok unpacked  /etc/one.conf 2c1d4f59f062ce424618f4d25961fb76\ntwo 2.0 install ok unpacked \n"
        );
    }
}

#[test]
fn follows_merged_usr_and_lets_nothing_escape() {
    let scratch = Scratch::new("escape");
    let outside = scratch.0.join("outside");
    fs::create_dir_all(&outside).unwrap();
    fs::create_dir_all(scratch.root().join("usr/lib")).unwrap();
    symlink("usr/lib", scratch.root().join("lib")).unwrap();
    // As a hostile package might have left it: an absolute link, and one with more `..` than there are parents.
    symlink(&outside, scratch.root().join("absolute")).unwrap();
    symlink("../../../../../../../../../tmp", scratch.root().join("up")).unwrap();
    let files = [("lib/libone.so", "elf"), ("absolute/file", "x"), ("up/tsbuild-escaped", "x")];
    let one = scratch.package(ONE, &files, &[], "gzip");
    // The links dangle inside the root; what matters is that nothing is written outside.
    let _ = scratch.unpack(&[one], 1);
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
    assert!(!Path::new("/tmp/tsbuild-escaped").exists());

    let scratch = Scratch::new("merged");
    fs::create_dir_all(scratch.root().join("usr/lib")).unwrap();
    symlink("usr/lib", scratch.root().join("lib")).unwrap();
    let one = scratch.package(ONE, &[("lib/libone.so", "elf")], &[], "gzip");
    let two =
        scratch.package(TWO, &[("usr/lib/libtwo.so", "elf"), ("lib", "-> usr/lib")], &[], "gzip");
    scratch.unpack(&[one, two], 2).unwrap();
    assert_eq!(scratch.read("usr/lib/libone.so"), "elf");
    assert_eq!(fs::read_link(scratch.root().join("lib")).unwrap(), Path::new("usr/lib"));
}

#[test]
fn the_first_package_decides_about_directories_whatever_the_order() {
    for order in [[0, 1], [1, 0]] {
        let scratch = Scratch::new(&format!("directories-{}", order[0]));
        let mut packages = Vec::new();
        for (name, mode) in [("one", 0o1777), ("two", 0o700)] {
            let stanza = format!("Package: {name}\nVersion: 1\nArchitecture: all");
            let file = format!("shared/{name}");
            scratch.package(&stanza, &[(&file, "x")], &[], "gzip");
            let tree = scratch.0.join(format!("{name}.tree"));
            fs::set_permissions(tree.join("shared"), fs::Permissions::from_mode(mode)).unwrap();
            let path = scratch.0.join(format!("{name}.deb"));
            let built = Command::new("dpkg-deb")
                .args(["--root-owner-group", "-b"])
                .args([&tree, &path])
                .output()
                .unwrap();
            assert!(built.status.success());
            packages.push(package(&path));
        }
        let packages = order.map(|index| packages[index].clone());
        scratch.unpack(&packages, 2).unwrap();
        let mode = fs::metadata(scratch.root().join("shared")).unwrap().mode() & 0o7777;
        assert_eq!(mode, [0o1777, 0o700][order[0]]);
    }
}

#[test]
fn a_file_of_two_packages_goes_to_the_one_that_replaces_the_other() {
    let shared = |content| [("usr/share/file", content)];
    for threads in [1, 2] {
        let scratch = Scratch::new(&format!("replaces-{threads}"));
        let one =
            scratch.package(&format!("{ONE}\nReplaces: two (<< 3)"), &shared("one"), &[], "gzip");
        let two = scratch.package(TWO, &shared("two"), &[], "gzip");
        scratch.unpack(&[one, two], threads).unwrap();
        assert_eq!(scratch.read("usr/share/file"), "one");
        assert!(scratch.read("var/lib/dpkg/info/one:amd64.list").contains("/usr/share/file\n"));
        assert!(!scratch.read("var/lib/dpkg/info/two.list").contains("/usr/share/file\n"));

        let scratch = Scratch::new(&format!("conflict-{threads}"));
        let one = scratch.package(ONE, &shared("one"), &[], "gzip");
        let two = scratch.package(TWO, &shared("two"), &[], "gzip");
        let error = scratch.unpack(&[one, two], threads).unwrap_err();
        assert!(
            matches!(&error, Error::Conflict { path, .. } if path == Path::new("/usr/share/file")),
            "{error}"
        );
    }
}

#[test]
fn lays_down_what_dpkg_has_to_unpack() {
    let scratch = Scratch::new("deferred");
    let control = [("preinst", "#!/bin/sh\ndpkg-divert --add --rename /usr/bin/x\n")];
    let one = scratch.package(ONE, &[("usr/bin/one", "1")], &control, "xz");
    let two = scratch.package(
        TWO,
        &[("usr/bin/two", "2")],
        &[("preinst", "#!/bin/sh\n# not dpkg-divert\n")],
        "xz",
    );
    let packages = [one, two].map(|package| Package { may_defer: true, ..package });
    let unpacked = scratch.unpack(&packages, 2).unwrap();
    assert_eq!(unpacked.deferred, ["one"]);
    assert!(!scratch.root().join("usr/bin/one").exists());
    assert!(scratch.root().join("usr/bin/two").exists());
    let laid = fs::read(scratch.root().join("var/tmp/tsbuild-deferred/00000.deb")).unwrap();
    assert_eq!(laid, fs::read(&packages[0].path).unwrap());
    assert!(!scratch.read("var/lib/dpkg/status").contains("Package: one"));
}

#[test]
fn refuses_wrong_digests_and_damage() {
    let scratch = Scratch::new("refuse");
    let one = scratch.package(ONE, &[("usr/bin/one", "1")], &[], "gzip");
    let wrong = Package { sha256: "0".repeat(64), ..one.clone() };
    assert!(matches!(scratch.unpack(&[wrong], 1), Err(Error::Digest { .. })));

    let bytes = fs::read(&one.path).unwrap();
    let cut = scratch.0.join("cut.deb");
    fs::write(&cut, &bytes[..bytes.len() - 20]).unwrap();
    assert!(matches!(scratch.unpack(&[package(&cut)], 1), Err(Error::BadArchive { .. })));
    fs::write(&cut, b"!<arch>\nnonsense").unwrap();
    assert!(matches!(scratch.unpack(&[package(&cut)], 1), Err(Error::BadArchive { .. })));
    let missing = Package { path: scratch.0.join("missing.deb"), ..one.clone() };
    let error = scratch.unpack(&[missing], 1).unwrap_err();
    assert_eq!(error.errno_name().as_deref(), Some("ENOENT"));
}

#[test]
fn counts_what_it_reads_and_stops_when_cancelled() {
    let scratch = Scratch::new("cancel");
    let packages = [
        scratch.package(ONE, &[("usr/bin/one", "1")], &[], "gzip"),
        scratch.package(TWO, &[("usr/bin/two", "2")], &[], "gzip"),
    ];
    let total =
        packages.iter().map(|package| fs::metadata(&package.path).unwrap().len()).sum::<u64>();
    let options =
        Options { root: scratch.root(), packages: packages.to_vec(), threads: 2, owners: None };
    let most = std::sync::atomic::AtomicU64::new(0);
    unpack(&options, &AtomicBool::new(false), &|done| {
        most.fetch_max(done, Ordering::Relaxed);
    })
    .unwrap();
    assert_eq!(most.into_inner(), total);

    let cancel = AtomicBool::new(false);
    let result = unpack(&options, &cancel, &|_| cancel.store(true, Ordering::Relaxed));
    assert!(matches!(result, Err(Error::Cancelled)));
}

#[test]
fn owners_are_recorded_where_links_lead() {
    let scratch = Scratch::new("owners");
    let root = scratch.root();
    fs::create_dir_all(root.join("usr/lib")).unwrap();
    std::os::unix::fs::symlink("usr/lib", root.join("lib")).unwrap();
    let tree = scratch.0.join("owned");
    for directory in ["DEBIAN", "lib/own"] {
        fs::create_dir_all(tree.join(directory)).unwrap();
    }
    fs::write(tree.join("DEBIAN/control"), ONE).unwrap();
    fs::write(tree.join("lib/own/file"), "x").unwrap();
    fs::hard_link(tree.join("lib/own/file"), tree.join("lib/own/link")).unwrap();
    fs::write(tree.join("lib/own/root"), "x").unwrap();
    std::os::unix::fs::symlink("file", tree.join("lib/own/symlink")).unwrap();
    // `dpkg-deb` takes owners from the disk, where only root can have these.
    let script = "set -e; mkdir deb; tar -C owned/DEBIAN -czf deb/control.tar.gz ./control; \
        cd owned; rm -r DEBIAN; \
        tar --owner=0 --group=0 --no-recursion -cf ../deb/data.tar ./lib ./lib/own/root; \
        tar --owner=7 --group=8 --no-recursion -rf ../deb/data.tar ./lib/own ./lib/own/file \
            ./lib/own/link ./lib/own/symlink; \
        cd ../deb; echo 2.0 > debian-binary; ar rc ../owned.deb debian-binary control.tar.gz data.tar";
    let status = Command::new("sh").args(["-c", script]).current_dir(&scratch.0).status().unwrap();
    assert!(status.success());
    scratch.unpack(&[package(&scratch.0.join("owned.deb"))], 2).unwrap();
    let owners = Owners::read(&scratch.0.join("owners")).unwrap();
    let expected = ["own", "own/file", "own/link", "own/symlink"]
        .map(|path| (format!("usr/lib/{path}").into_bytes(), Record::owner(7, 8)));
    assert_eq!(owners, expected.into_iter().collect());
}
