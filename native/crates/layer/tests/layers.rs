//! Overlay directories to layers and back, against GNU tar, zstd, gzip, sha256sum and the kernel's overlayfs.
//!
//! Trees with owners and whiteouts need root, as the worker has it.
#![allow(missing_docs)]

mod support;

use std::{fs, path::Path, path::PathBuf};

use support::*;
use tsbuild_layer::{
    Code, Compression, DiffOptions, OverlayXattrs, Previous, ReconcileOptions, Watch, clamp_times,
    diff_tree, flatten_layers, reconcile_layer, tree_digest,
};
use tsbuild_tar::Entry;

fn watch<T>(run: impl FnOnce(Watch<'_>) -> T) -> T {
    run(Watch::new(&std::sync::atomic::AtomicBool::new(false), &|_| {}))
}

fn digest(root: &Path) -> String {
    watch(|watch| tree_digest(root, None, 2, watch)).unwrap()
}

fn tar_names(blob: &Path) -> Vec<String> {
    shell(
        &format!("tar --zstd -tf '{0}' 2>/dev/null || tar -tf '{0}'", blob.display()),
        Path::new("/"),
    )
    .lines()
    .map(str::to_owned)
    .collect()
}

/// A lower with a bit of everything, and an upper in which each kind of change occurs once.
fn lower_and_upper(scratch: &Scratch) -> (PathBuf, PathBuf) {
    let (lower, upper) = (scratch.directory("lower"), scratch.directory("upper"));
    shell(
        "mkdir -p kept/deep gone dir/sub opaque touched
         echo same > kept/deep/same; echo same > kept/deep/file; echo x > gone/x; echo a > dir/a; echo b > dir/b
         echo old > opaque/old; ln -s kept link; echo t > touched/t; chmod 700 dir/sub; echo f > becomes-directory
         mkdir becomes-file; echo z > becomes-file/z; echo same-size > same-size
         find . -exec touch -h -d @1000000000 {} +",
        &lower,
    );
    shell(
        "cp -a ../lower/kept . && echo more >> kept/deep/file
         mkdir copied-only && rmdir copied-only
         cp -a --parents ../lower/touched/t . 2>/dev/null || true; rm -rf lower
         cp -a ../lower/touched . ; cp -a ../lower/link link
         mknod gone c 0 0; mknod never-was c 0 0
         cp -a ../lower/dir . && rm dir/a && mknod dir/a c 0 0 && touch -d @1000000000 dir
         mkdir opaque && setfattr -n user.overlay.opaque -v y opaque && echo new > opaque/new && mknod opaque/old c 0 0
         mkdir becomes-directory && echo d > becomes-directory/d; echo now-a-file > becomes-file
         echo SAME-size > same-size && touch -d @1000000000 same-size
         mkdir new && echo 1 > new/1 && ln new/1 new/2 && ln new/1 alink && setfattr -n user.note -v hello new/1
         setfattr -n user.overlay.origin -v x new/1; setfattr -n user.overlay.overlay.opaque -v inner new
         mkfifo new/fifo; mknod new/null c 1 3; chmod 4755 new/1; chown 3000000:7 new/fifo; mkdir -m 1777 tmp",
        &upper,
    );
    (lower, upper)
}

#[test]
fn only_what_changed_is_written() {
    let scratch = Scratch::new();
    let (lower, upper) = lower_and_upper(&scratch);
    let blob = scratch.path("blob");
    let mut options = write_options(&upper, &blob);
    options.lowers = vec![lower];
    let written = write(&options).unwrap();
    let names = tar_names(&blob);
    let expected = [
        ".wh.gone",
        "alink",
        "becomes-directory/",
        "becomes-directory/d",
        "becomes-file",
        "dir/",
        "dir/.wh.a",
        "kept/",
        "kept/deep/",
        "kept/deep/file",
        "new/",
        "new/1",
        "new/2",
        "new/fifo",
        "new/null",
        "opaque/",
        "opaque/.wh..wh..opq",
        "opaque/new",
        "same-size",
        "tmp/",
    ];
    assert_eq!(names, expected);
    assert_eq!(written.entries, expected.len() as u64);
    let verbose = shell("tar -tvf blob --numeric-owner", &scratch.0);
    assert!(verbose.contains("3000000/7") && verbose.contains("drwxrwxrwt"), "{verbose}");
    assert!(verbose.contains("-rwsr-xr-x") && verbose.contains("new/1 link to alink"), "{verbose}");
    // Attributes: ours are kept, overlayfs's are not, those of an overlay inside lose one level.
    let raw = shell("grep -ao 'SCHILY.xattr[^=]*=[a-z]*' blob | sort -u", &scratch.0);
    assert_eq!(raw, "SCHILY.xattr.user.note=hello\nSCHILY.xattr.user.overlay.opaque=inner");
    assert_eq!(&written.diff_id[7..], &shell("sha256sum blob", &scratch.0)[..64]);
}

#[test]
fn unpacking_gives_the_overlay_form_again() {
    let scratch = Scratch::new();
    let (lower, upper) = lower_and_upper(&scratch);
    let (blob, root, again) =
        (scratch.path("blob"), scratch.directory("root"), scratch.path("again"));
    let mut options = write_options(&upper, &blob);
    options.lowers = vec![lower];
    let first = write(&options).unwrap();
    let mut unpacking = unpack_options(&blob, &root);
    unpacking.create_devices = true;
    let unpacked = unpack(&unpacking).unwrap();
    assert_eq!(unpacked.diff_id, first.diff_id);
    assert!(unpacked.implicit_directories.is_empty() && unpacked.recorded_devices.is_empty());
    let mut options = options.clone();
    (options.root, options.output) = (root, again);
    assert_eq!(write(&options).unwrap().diff_id, first.diff_id);
}

#[test]
fn the_kernel_sees_the_same_tree() {
    let scratch = Scratch::new();
    let (lower, upper) = lower_and_upper(&scratch);
    let (blob, root) = (scratch.path("blob"), scratch.directory("root"));
    let mut options = write_options(&upper, &blob);
    options.lowers = vec![lower.clone()];
    write(&options).unwrap();
    let mut unpacking = unpack_options(&blob, &root);
    unpacking.overlay_xattrs = OverlayXattrs::Trusted;
    unpacking.create_devices = true;
    unpack(&unpacking).unwrap();
    // Our own reading of the stack, which the kernel confirms where it lets us mount.
    let flat = scratch.directory("flat");
    watch(|watch| flatten_layers(&[root, lower.clone()], &flat, None, watch)).unwrap();
    let flat_upper = scratch.directory("flat-upper");
    watch(|watch| flatten_layers(&[upper, lower], &flat_upper, None, watch)).unwrap();
    assert_eq!(digest(&flat), digest(&flat_upper));
    let mounted = shell(
        "mkdir -p merged; if mount -t overlay -o lowerdir=root:lower,metacopy=off none merged 2>/dev/null; then
           (cd merged; find . -mindepth 1 -printf '%P %y %m %U:%G %l\\n' | LC_ALL=C sort > ../seen); umount merged; fi
         (cd flat; find . -mindepth 1 -printf '%P %y %m %U:%G %l\\n' | LC_ALL=C sort > ../ours)
         if [ -e seen ]; then diff seen ours && echo same; else echo not-mounted; fi",
        &scratch.0,
    );
    assert!(mounted == "same" || mounted == "not-mounted", "{mounted}");
    let names = listing(&flat);
    for gone in ["gone ", "gone/x ", "opaque/old ", "dir/a ", "becomes-file/z "] {
        assert!(!names.iter().any(|line| line.starts_with(gone)), "{gone}: {names:?}");
    }
    assert!(names.iter().any(|line| line.starts_with("dir/b ")));
}

const COMPRESSIONS: [Compression; 5] = [
    Compression::Zstd(3),
    Compression::Gzip(6),
    Compression::None,
    Compression::ZstdChunked(3),
    Compression::Estargz(6),
];

#[test]
fn layers_of_few_frames_come_out_the_same_on_any_number_of_threads() {
    const MIB: usize = 1 << 20;
    let scratch = Scratch::new();
    let root = scratch.directory("root");
    // None or one frame, two, three.
    for size in [0, 1, 5 * MIB, 9 * MIB] {
        fs::write(root.join("file"), vec![b'x'; size]).unwrap();
        for compression in COMPRESSIONS {
            let written = [1, 2, 4].map(|threads| {
                let mut options = write_options(&root, &scratch.path("blob"));
                (options.compression, options.threads) = (compression, threads);
                write(&options).unwrap()
            });
            assert!(written.iter().all(|each| *each == written[0]), "{size} {compression:?}");
            let blob = shell("sha256sum < blob; stat -c %s blob", &scratch.0);
            let (digest, length) = blob.split_once("  -\n").unwrap();
            assert_eq!(
                (&written[0].digest[7..], written[0].size.to_string()),
                (digest, length.into())
            );
        }
    }
}

#[test]
fn compressed_output_does_not_depend_on_threads() {
    let scratch = Scratch::new();
    let root = scratch.directory("root");
    let mut state = 1_u64;
    let mut noise = |size: usize| -> Vec<u8> {
        (0..size)
            .map(|index| {
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1_442_695_040_888_963_407);
                if index / 4096 % 2 == 0 { (state >> 56) as u8 } else { b'a' + (index % 7) as u8 }
            })
            .collect()
    };
    // Around the limits of frames: 1 MiB makes a file large, 4 MiB cuts it.
    const MIB: usize = 1 << 20;
    for size in [
        0,
        1,
        511,
        512,
        513,
        MIB - 1,
        MIB,
        MIB + 1,
        4 * MIB - 1,
        4 * MIB,
        4 * MIB + 1,
        5 * MIB - 1,
        5 * MIB,
        5 * MIB + 1,
        9 * MIB + 77,
    ] {
        fs::write(root.join(format!("size-{size:08}")), noise(size)).unwrap();
    }
    fs::create_dir(root.join("small")).unwrap();
    for index in 0..600 {
        fs::write(root.join(format!("small/{index:03}")), noise(index * 37)).unwrap();
    }
    shell("find . -exec touch -h -d @1500000000 {} + ; chmod -R u=rwX,go=rX .", &root);

    let mut pinned = Vec::new();
    for compression in COMPRESSIONS {
        let mut digests = Vec::new();
        for threads in [1, 2, 4] {
            let mut options = write_options(&root, &scratch.path("blob"));
            (options.compression, options.threads) = (compression, threads);
            digests.push(write(&options).unwrap());
        }
        assert!(digests.iter().all(|written| *written == digests[0]), "{compression:?}");
        // Other programs agree about the content and both digests.
        let program = match compression {
            Compression::Zstd(_) | Compression::ZstdChunked(_) => "zstd -dcq",
            Compression::Gzip(_) | Compression::Estargz(_) => "gzip -dc",
            Compression::None => "cat",
        };
        let tar = shell(&format!("{program} < blob | sha256sum"), &scratch.0);
        assert_eq!(&digests[0].diff_id[7..], &tar[..64]);
        assert_eq!(&digests[0].digest[7..], &shell("sha256sum < blob", &scratch.0)[..64]);
        shell(
            &format!(
                "mkdir -p out; {program} < blob | tar -x -C out; rm -f out/.no.prefetch.landmark out/stargz.index.json; diff -r root out; rm -r out"
            ),
            &scratch.0,
        );
        pinned.push((digests[0].diff_id[7..23].to_owned(), digests[0].digest[7..23].to_owned()));
    }
    // A change here changes the digests of everybody's layers: only on purpose, and with a line in the changelog.
    let expected = [
        ("b0211408de7b6b7b", "96faf1380ae57898"),
        ("b0211408de7b6b7b", "f519b2974a48f115"),
        ("b0211408de7b6b7b", "b0211408de7b6b7b"),
        ("b0211408de7b6b7b", "e7d01e121ebbfdf4"),
        ("4ff896853cdbc883", "d6ff1e3a3d4183f3"),
    ];
    let pinned: Vec<(&str, &str)> =
        pinned.iter().map(|(left, right)| (left.as_str(), right.as_str())).collect();
    assert_eq!(pinned, expected);
}

#[test]
fn digests_what_is_no_directory() {
    let scratch = Scratch::new();
    let root = scratch.directory("root");
    shell(
        "echo a > one; echo a > two; echo b > other; chmod 600 other; cp two mode; chmod 755 mode
         ln -s one link; ln -s two link2; mkfifo pipe; setfattr -n user.x -v 1 other; cp two attribute
         setfattr -n user.x -v 1 attribute; chown 1:2 -h link2; cp two owner; chown 1 owner; touch -d @1 two",
        &root,
    );
    let of = |name: &str| digest(&root.join(name));
    assert_eq!(of("one"), of("two"));
    let names = ["one", "other", "mode", "attribute", "owner", "link", "link2", "pipe", "."];
    let mut all: Vec<String> = names.iter().map(|name| of(name)).collect();
    all.sort();
    all.dedup();
    assert_eq!(all.len(), names.len());
    watch(|watch| tree_digest(&root.join("missing"), None, 2, watch)).unwrap_err();
}

#[test]
fn a_small_change_keeps_most_frames() {
    let scratch = Scratch::new();
    let root = scratch.directory("root");
    for index in 0..4000_u32 {
        let text: String =
            (0..700).map(|word| format!("{} ", (index * 7919 + word * 31) % 9973)).collect();
        fs::write(root.join(format!("file-{index:05}")), text).unwrap();
    }
    let mut options = write_options(&root, &scratch.path("before"));
    options.compression = Compression::Zstd(3);
    write(&options).unwrap();
    fs::write(root.join("file-02000a"), "one more").unwrap();
    options.output = scratch.path("after");
    write(&options).unwrap();
    let frames = |name: &str| -> Vec<Vec<u8>> {
        let blob = fs::read(scratch.path(name)).unwrap();
        let magic = [0x28, 0xb5, 0x2f, 0xfd];
        let mut starts: Vec<usize> =
            (0..blob.len() - 4).filter(|at| blob[*at..*at + 4] == magic).collect();
        starts.push(blob.len());
        starts.windows(2).map(|pair| blob[pair[0]..pair[1]].to_vec()).collect()
    };
    let (before, after) = (frames("before"), frames("after"));
    let kept = after.iter().filter(|frame| before.contains(frame)).count();
    assert!(before.len() >= 8, "{} frames", before.len());
    assert!(kept + 3 >= after.len(), "{kept} of {} frames kept", after.len());
}

#[test]
fn what_a_layer_cannot_say() {
    for (name, script, message) in [
        ("whiteout name", "echo x > .wh.real", ".wh."),
        ("metacopy", "echo x > f; setfattr -n trusted.overlay.metacopy -v y f", "metacopy"),
        ("redirect", "mkdir d; setfattr -n user.overlay.redirect -v /x d", "redirect"),
    ] {
        let scratch = Scratch::new();
        let root = scratch.directory("root");
        shell(script, &root);
        let error = write(&write_options(&root, &scratch.path("blob"))).expect_err(name);
        assert_eq!(error.code, Code::LayerUnrepresentable, "{name}");
        assert!(error.message.contains(message), "{error}");
        assert!(!scratch.path("blob").exists(), "{name} left a blob");
    }
}

#[test]
fn clamped_times_and_the_root() {
    let scratch = Scratch::new();
    let (root, lower) = (scratch.directory("root"), scratch.directory("lower"));
    shell(
        "touch -d @500 old; touch -d @2000.9 new; touch -d '1969-12-31 23:59:58.5 UTC' ancient",
        &root,
    );
    let mut options = write_options(&root, &scratch.path("blob"));
    options.lowers = vec![lower];
    options.clamp_mtime_seconds = Some(1000);
    write(&options).unwrap();
    let times =
        |_: ()| shell("TZ=UTC tar --full-time -tvf blob | awk '{print $4, $5, $6}'", &scratch.0);
    // Rounded down, never up, also before 1970; and no entry for an unchanged root.
    assert_eq!(
        times(()),
        "1969-12-31 23:59:58 ancient\n1970-01-01 00:16:40 new\n1970-01-01 00:08:20 old"
    );
    shell("chmod 700 .", &root);
    write(&options).unwrap();
    assert!(tar_names(&scratch.path("blob")).contains(&"./".to_owned()));
    let before = digest(&root);
    assert_eq!(watch(|watch| clamp_times(&root, 1000, watch)).unwrap(), 2);
    assert_eq!(watch(|watch| clamp_times(&root, 1000, watch)).unwrap(), 0);
    assert_eq!(shell("stat -c %Y new old .", &root), "1000\n500\n1000");
    assert_eq!(digest(&root), before);
}

#[test]
fn every_difference_but_time_changes_the_digest() {
    let scratch = Scratch::new();
    let root = scratch.directory("root");
    shell("mkdir d; echo 1 > d/f; ln d/f g; ln -s d l; echo 2 > other", &root);
    let mut seen = vec![digest(&root)];
    shell("touch -d @5 d/f d .", &root);
    assert_eq!(digest(&root), seen[0]);
    for change in [
        "echo 3 > d/f",
        "chmod 600 other",
        "chown 5 other",
        "setfattr -n user.a -v b other",
        "ln -sfn x l",
        "mv other another",
        "rm g && cp -a d/f g",
        "mknod w c 0 0",
        "setfattr -n user.overlay.opaque -v y d",
        "mkdir e",
        "chmod 711 .",
    ] {
        shell(change, &root);
        let new = digest(&root);
        assert!(!seen.contains(&new), "{change}");
        seen.push(new);
    }
}

#[test]
fn reconciling_with_what_is_below() {
    let scratch = Scratch::new();
    let (lower, root, blob) =
        (scratch.directory("lower"), scratch.directory("root"), scratch.path("blob"));
    shell(
        "mkdir -p usr/lib/x etc; ln -s usr/lib lib; chmod 750 etc; chown 3:4 etc; chmod 711 usr/lib/x
         find . -exec touch -h -d @1000000000 {} +",
        &lower,
    );
    let entries: Vec<(Entry, &[u8])> = vec![
        (file("etc/new"), b"1"),
        (file("lib/direct"), b"2"),
        (file("lib/x/nested"), b"3"),
        (file("own/file"), b"4"),
    ];
    fs::write(&blob, archive(&entries)).unwrap();
    let unpacked = unpack(&unpack_options(&blob, &root)).unwrap();
    assert_eq!(unpacked.implicit_directories, [&b"etc"[..], b"lib", b"own", b"lib/x"]);
    let options = ReconcileOptions {
        root: root.clone(),
        lowers: vec![lower],
        implicit_directories: unpacked.implicit_directories,
        overlay_xattrs: OverlayXattrs::User,
        owners: None,
    };
    assert_eq!(reconcile_layer(&options).unwrap(), 3);
    let names = shell("find . -mindepth 1 -printf '%P %m %U:%G %Ts\\n' | LC_ALL=C sort", &root);
    let expected = "etc 750 3:4 1000000000
etc/new 644 0:0 0
own 755 0:0 0
own/file 644 0:0 0
usr 755 0:0 1000000000
usr/lib 755 0:0 1000000000
usr/lib/direct 644 0:0 0
usr/lib/x 711 0:0 1000000000
usr/lib/x/nested 644 0:0 0";
    assert_eq!(names, expected);
}

#[test]
fn deletions_and_what_comes_again() {
    let scratch = Scratch::new();
    let (root, blob) = (scratch.directory("root"), scratch.path("blob"));
    let entries: Vec<(Entry, &[u8])> = vec![
        (file(".wh.plain"), b""),
        (file("sub/.wh..wh..opq"), b""),
        (file("sub/kept"), b"1"),
        // Order does not matter: a whiteout is about the layers below.
        (directory("after"), b""),
        (file("after/x"), b"2"),
        (file(".wh.after"), b""),
        (file(".wh.before"), b""),
        (directory("before"), b""),
        (file(".wh.implied"), b""),
        (file("implied/deep/x"), b"3"),
        (file(".wh.file"), b""),
        (file("file"), b"4"),
        (file(".wh..wh.plnk/77"), b""),
        (file(".wh..wh.aufs"), b""),
        (file("twice"), b"first"),
        (file("twice"), b"second"),
        (directory("was-directory"), b""),
        (file("was-directory/x"), b""),
        (file("was-directory"), b"5"),
    ];
    fs::write(&blob, archive(&entries)).unwrap();
    let unpacked = unpack(&unpack_options(&blob, &root)).unwrap();
    let opaque = shell(
        "getfattr -R -m 'user.overlay.opaque' . 2>/dev/null | sed -n 's/^# file: //p' | LC_ALL=C sort",
        &root,
    );
    assert_eq!(opaque, "after\nbefore\nimplied\nsub");
    assert_eq!(unpacked.implicit_directories, [&b"sub"[..], b"implied/deep"]);
    assert_eq!(shell("find . -type c", &root), "./plain");
    assert_eq!(shell("cat twice file was-directory", &root), "second45");
    assert!(!root.join(".wh..wh.aufs").exists() && !root.join(".wh..wh.plnk").exists());
}

#[test]
fn umask_does_not_matter() {
    // The umask is the process's, so this runs in one of its own.
    if std::env::var_os("TSBUILD_TEST_UMASK").is_none() {
        let program = std::env::current_exe().unwrap();
        let script = format!(
            "umask 077; TSBUILD_TEST_UMASK=1 '{}' --exact umask_does_not_matter",
            program.display()
        );
        shell(&script, Path::new("/"));
        return;
    }
    let scratch = Scratch::new();
    let (root, blob) = (scratch.directory("root"), scratch.path("blob"));
    let mut open = file("deep/in/here");
    open.mode = 0o6777;
    fs::write(&blob, archive(&[(open, b"x"), (directory("d"), b"")])).unwrap();
    unpack(&unpack_options(&blob, &root)).unwrap();
    assert_eq!(shell("stat -c %a deep deep/in deep/in/here d", &root), "755\n755\n6777\n755");
}

#[test]
fn flattened_changed_and_diffed() {
    let scratch = Scratch::new();
    let (lower, _) = lower_and_upper(&scratch);
    shell("echo h > hard1 && ln hard1 hard2 && touch -d @1000000000 hard1 .", &lower);
    let flat = scratch.directory("flat");
    watch(|watch| flatten_layers(std::slice::from_ref(&lower), &flat, None, watch)).unwrap();
    assert_eq!(digest(&flat), digest(&lower));

    let diff = |flat: PathBuf, name: &str| {
        let upper = scratch.directory(name);
        let options = DiffOptions {
            lowers: vec![lower.clone()],
            changed: flat,
            upper: upper.clone(),
            overlay_xattrs: OverlayXattrs::User,
            owners: None,
        };
        watch(|watch| diff_tree(&options, watch)).unwrap();
        upper
    };
    assert_eq!(listing(&diff(flat.clone(), "nothing")), Vec::<String>::new());
    shell(
        "echo changed > kept/deep/file; rm -r gone; rm -r dir && mkdir dir && echo new > dir/new
         mkdir -p fresh/a && echo 1 > fresh/a/1; rm becomes-directory && mkdir becomes-directory
         rm -r becomes-file && echo f > becomes-file; ln kept/deep/same linked; chmod 700 touched
         printf 'SAME-SIZE\n' > same-size && touch -d @1000000000 same-size",
        &flat,
    );
    let after = scratch.directory("after");
    shell("cp -a flat/. after/", &scratch.0);
    let upper = diff(flat, "diffed");
    // What was changed, put on top of the lower, is the changed tree again.
    let again = scratch.directory("again");
    watch(|watch| flatten_layers(&[upper.clone(), lower.clone()], &again, None, watch)).unwrap();
    assert_eq!(listing(&again), listing(&after));
    assert_eq!(shell("diff -r after again && echo same", &scratch.0), "same");
    let names: Vec<String> =
        listing(&upper).iter().map(|line| line.split(' ').next().unwrap().to_owned()).collect();
    assert!(
        !names.contains(&"link".to_owned()) && names.contains(&"kept/deep/same".to_owned()),
        "{names:?}"
    );
    assert!(
        names.contains(&"touched".to_owned()) && !names.contains(&"touched/t".to_owned()),
        "{names:?}"
    );
    assert!(names.contains(&"same-size".to_owned()));
}

fn previous(blob: &Path) -> Option<Previous> {
    Some(Previous { blob: blob.to_owned(), frames: Vec::new() })
}

#[test]
fn frames_of_the_layer_before_are_taken_where_nothing_changed() {
    let scratch = Scratch::new();
    let root = scratch.directory("root");
    for index in 0..400 {
        let text = format!("{index} ").repeat(20_000);
        std::fs::write(root.join(format!("file-{index:03}")), text).unwrap();
    }
    let [before, again, fresh] = ["before", "again", "fresh"].map(|name| scratch.path(name));
    let mut options = write_options(&root, &before);
    // Another level than later, so that it can be seen whose frames they are.
    options.compression = Compression::Zstd(1);
    write(&options).unwrap();
    std::fs::write(root.join("file-200"), "changed").unwrap();
    options.compression = Compression::Zstd(9);
    options.output.clone_from(&fresh);
    let expected = write(&options).unwrap();
    options.output.clone_from(&again);
    options.previous = previous(&before);
    let written = write(&options).unwrap();
    assert_eq!(written.diff_id, expected.diff_id);
    assert_ne!(written.digest, expected.digest);
    let [before, again] = [&before, &again].map(|path| std::fs::read(path).unwrap());
    let same_end = before.iter().rev().zip(again.iter().rev()).take_while(|(a, b)| a == b).count();
    let same_begin = before.iter().zip(&again).take_while(|(a, b)| a == b).count();
    assert!(same_begin + same_end > before.len() * 8 / 10, "{same_begin} {same_end}");
    // Of the layer itself, and of a file that is none.
    options.previous = previous(&fresh);
    options.output = scratch.path("third");
    assert_eq!(write(&options).unwrap().digest, expected.digest);
    options.previous = previous(&scratch.path("not-there"));
    assert_eq!(write(&options).unwrap().digest, expected.digest);
}
