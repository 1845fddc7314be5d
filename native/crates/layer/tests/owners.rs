//! Layers of one id: whatever the disk could not have is recorded, and nobody who reads them sees a difference.
#![allow(missing_docs)]

mod support;

use std::{
    fs,
    path::{Path, PathBuf},
    sync::atomic::AtomicBool,
};

use support::*;
use tsbuild_layer::{
    Code, DiffOptions, ExportOptions, ExportTree, LayerOwnersOptions, OverlayXattrs, OwnersBelow,
    ReconcileOptions, Result, Watch, diff_tree, export_trees, flatten_layers, merge_owners,
    prune_owners, reconcile_layer, settle_owners, tree_digest, write_layer_owners,
};
use tsbuild_owners::{Device, DeviceKind, Owners, Record, Recording, sidecar_of};
use tsbuild_tar::{Entry, EntryKind};

fn watch<T>(work: impl FnOnce(Watch<'_>) -> Result<T>) -> T {
    work(Watch::new(&AtomicBool::new(false), &|_| {})).unwrap()
}

fn owned(mut entry: Entry, uid: u64, gid: u64) -> Entry {
    (entry.uid, entry.gid) = (uid, gid);
    entry
}

fn device(path: &str, kind: EntryKind, major: u32, minor: u32) -> Entry {
    let mut entry = Entry::new(path.as_bytes(), kind);
    (entry.device_major, entry.device_minor, entry.mode) = (major, minor, 0o640);
    entry
}

/// A base of foreign owners: links, nodes, names that come twice, set-id bits.
fn base() -> Vec<u8> {
    let mut setuid = owned(file("usr/bin/sudo"), 0, 27);
    setuid.mode = 0o4755;
    let mut home = owned(directory("home/app"), 1000, 1000);
    home.mode = 0o2750;
    archive(&[
        (owned(directory("./"), 5, 6), b""),
        (owned(directory("etc"), 0, 0), b""),
        (owned(file("etc/shadow"), 0, 42), b"x"),
        (setuid, b"sudo"),
        (home, b""),
        (owned(file("home/app/large-id"), 3_000_000, 3_000_001), b"1"),
        (owned(hard_link("home/app/again", "home/app/large-id"), 3_000_000, 3_000_001), b""),
        (owned(symlink("home/app/link", "large-id"), 1000, 1000), b""),
        (owned(device("dev/sda", EntryKind::BlockDevice, 8, 0), 0, 6), b""),
        (device("dev/null", EntryKind::CharDevice, 1, 3), b""),
        (hard_link("dev/zero", "dev/null"), b""),
        (owned(file("twice"), 7, 7), b"first"),
        (file("twice"), b"second"),
        (owned(directory("replaced"), 8, 8), b""),
        (owned(file("replaced/inner"), 8, 8), b""),
        (file("replaced"), b"a file now"),
        (Entry::new(b"fifo", EntryKind::Fifo), b""),
        (file("home/.wh.gone"), b""),
    ])
}

struct Layer {
    tree: PathBuf,
    owners: PathBuf,
}

impl Layer {
    fn new(scratch: &Scratch, name: &str) -> Self {
        let tree = scratch.directory(&format!("{name}/fs"));
        Self { owners: sidecar_of(&tree), tree }
    }

    /// As root does it, for comparison.
    fn real(scratch: &Scratch, name: &str, blob: &Path) -> Self {
        let layer = Self::new(scratch, name);
        let options = tsbuild_layer::UnpackOptions {
            create_devices: true,
            ..unpack_options(blob, &layer.tree)
        };
        unpack(&options).unwrap();
        layer
    }

    fn single(scratch: &Scratch, name: &str, blob: &Path) -> Self {
        let layer = Self::new(scratch, name);
        let owners = Some(Recording { file: layer.owners.clone(), single: true });
        let options = tsbuild_layer::UnpackOptions { owners, ..unpack_options(blob, &layer.tree) };
        unpack(&options).unwrap();
        assert_eq!(shell("find . ! -uid 0 -o ! -gid 0 -o -type b", &layer.tree), "");
        layer
    }

    fn diff_id(&self, scratch: &Scratch, lowers: &[&Layer]) -> String {
        let options = tsbuild_layer::WriteOptions {
            owners: Some(self.owners.clone()),
            lowers: trees(lowers),
            ..write_options(&self.tree, &scratch.path("written"))
        };
        write(&options).unwrap().diff_id
    }

    fn digest(&self) -> String {
        let owners = OwnersBelow { file: self.owners.clone(), path: Vec::new() };
        watch(|watch| tree_digest(&self.tree, Some(&owners), 2, watch))
    }
}

fn trees(layers: &[&Layer]) -> Vec<PathBuf> {
    layers.iter().map(|layer| layer.tree.clone()).collect()
}

fn both(scratch: &Scratch) -> (Layer, Layer) {
    let blob = scratch.path("blob");
    fs::write(&blob, base()).unwrap();
    (Layer::real(scratch, "real", &blob), Layer::single(scratch, "single", &blob))
}

fn nodes(root: &Path) -> String {
    shell(
        "find . -mindepth 1 ! -type d -exec stat -c '%n %f %u:%g %t:%T %h %Y' {} + | LC_ALL=C sort
         find . -type d -exec stat -c '%n %f %u:%g %Y' {} + | LC_ALL=C sort",
        root,
    )
}

#[test]
fn a_layer_of_one_id_is_written_read_and_settled_as_roots() {
    if !is_root() {
        return;
    }
    let scratch = Scratch::new();
    let (real, single) = both(&scratch);
    assert_eq!(single.diff_id(&scratch, &[]), real.diff_id(&scratch, &[]));
    assert_eq!(single.digest(), real.digest());
    // The sidecar is what makes it so.
    let without = watch(|watch| tree_digest(&single.tree, None, 2, watch));
    assert_ne!(without, single.digest());
    let owners = Owners::read(&single.owners).unwrap();
    assert_eq!(owners.get(b"home/app/again"), owners.get(b"home/app/large-id"));
    assert_eq!((owners.get(b"twice"), owners.get(b"replaced/inner")), (None, None));
    // Of a part of it.
    let part = |layer: &Layer, path: &str| {
        let owners = OwnersBelow { file: layer.owners.clone(), path: path.as_bytes().to_vec() };
        watch(|watch| tree_digest(&layer.tree.join(path), Some(&owners), 2, watch))
    };
    for path in ["home", "dev/sda", "etc/shadow", "home/app/link"] {
        assert_eq!(part(&single, path), part(&real, path), "{path}");
    }
    // Where there are more ids: half of it done and killed, then again.
    std::os::unix::fs::lchown(single.tree.join("etc/shadow"), Some(0), Some(42)).unwrap();
    assert_eq!(single.diff_id(&scratch, &[]), real.diff_id(&scratch, &[]));
    fs::write(single.tree.join("usr/bin/.tsbuild-settle"), "left by a killed process").unwrap();
    shell("touch -d @0 usr/bin", &single.tree);
    watch(|watch| settle_owners(&single.tree, &single.owners, OverlayXattrs::User, watch));
    assert_eq!(nodes(&single.tree), nodes(&real.tree));
    assert!(!single.owners.exists());
}

#[test]
fn what_is_as_below_is_in_no_layer_and_a_changed_owner_is() {
    if !is_root() {
        return;
    }
    let scratch = Scratch::new();
    let (real, single) = both(&scratch);
    let uppers: Vec<Layer> = [(&real, "upper-real"), (&single, "upper-single")]
        .into_iter()
        .map(|(lower, name)| {
            let upper = Layer::new(&scratch, name);
            // As after a copy-up of all of it.
            shell(
                "cp -a ../../$LOWER/fs/. . && chmod 600 etc/shadow"
                    .replace(
                        "$LOWER",
                        lower.tree.parent().unwrap().file_name().unwrap().to_str().unwrap(),
                    )
                    .as_str(),
                &upper.tree,
            );
            upper
        })
        .collect();
    let merged = scratch.path("merged");
    merge_owners(std::slice::from_ref(&single.tree), &merged).unwrap();
    let mut owners = Owners::read(&merged).unwrap();
    assert_eq!(owners, Owners::read(&single.owners).unwrap());
    owners.set("home/app/link", Record::owner(33, 33));
    owners.set("gone/meanwhile", Record::owner(33, 33));
    owners.write(&merged).unwrap();
    std::os::unix::fs::lchown(uppers[0].tree.join("home/app/link"), Some(33), Some(33)).unwrap();
    let options = LayerOwnersOptions {
        merged,
        tree: uppers[1].tree.clone(),
        lowers: vec![single.tree.clone()],
        output: uppers[1].owners.clone(),
    };
    assert!(!write_layer_owners(&options).unwrap());
    assert_eq!(Owners::read(&uppers[1].owners).unwrap().get(b"gone/meanwhile"), None);
    let (theirs, ours) =
        (uppers[0].diff_id(&scratch, &[&real]), uppers[1].diff_id(&scratch, &[&single]));
    assert_eq!(ours, theirs);
    let names = shell("tar -tf written", &scratch.0);
    // A file with several names is written anew whenever it is there.
    assert!(names.contains("etc/shadow") && names.contains("home/app/link"), "{names}");
    assert!(!names.contains("dev/sda") && !names.contains("usr/bin/sudo"), "{names}");
}

#[test]
fn copied_trees_keep_owners_and_their_changes() {
    if !is_root() {
        return;
    }
    let scratch = Scratch::new();
    let (_, single) = both(&scratch);
    let step = scratch.directory("step");
    let (root, owners) = (scratch.directory("step/root"), step.join("owners"));
    let lowers = vec![single.tree.clone()];
    watch(|watch| flatten_layers(&lowers, &root, Some(&owners), watch));
    let mut changed = Owners::read(&owners).unwrap();
    let node = Device { kind: DeviceKind::Char, major: 1, minor: 7 };
    changed.set("dev/null", Record { device: Some(node), ..Record::default() });
    changed.set("dev/zero", Record { device: Some(node), ..Record::default() });
    changed.set("usr/bin/sudo", Record::owner(1, 1));
    changed.set("", Record::owner(9, 9));
    changed.write(&owners).unwrap();
    let upper = Layer::new(&scratch, "diffed");
    let options = DiffOptions {
        lowers: lowers.clone(),
        changed: root,
        owners: Some(owners.clone()),
        upper: upper.tree.clone(),
        overlay_xattrs: OverlayXattrs::User,
    };
    watch(|watch| diff_tree(&options, watch));
    let options = LayerOwnersOptions {
        merged: owners,
        tree: upper.tree.clone(),
        lowers,
        output: upper.owners.clone(),
    };
    assert!(write_layer_owners(&options).unwrap());
    let names = shell("find . ! -type d | LC_ALL=C sort", &upper.tree);
    assert_eq!(names, "./dev/null\n./dev/zero\n./usr/bin/sudo");
    upper.diff_id(&scratch, &[&single]);
    let listed =
        shell("tar --numeric-owner -tvf written | awk '{ print $1, $2, $3, $NF }'", &scratch.0);
    assert!(listed.contains("crw-r----- 0/0 1,7 dev/null"), "{listed}");
    assert!(listed.contains("-rwsr-xr-x 1/1 4 usr/bin/sudo"), "{listed}");
    assert!(listed.contains("drwxr-xr-x 9/9 0 ./"), "{listed}");
}

#[test]
fn mended_directories_take_the_owners_of_below() {
    let scratch = Scratch::new();
    let below = Layer::new(&scratch, "below");
    shell("mkdir -p usr/lib/x etc; ln -s usr/lib lib", &below.tree);
    let owners: Owners = [("etc", 3), ("usr/lib", 4), ("usr/lib/x", 5)]
        .map(|(path, id)| (path.as_bytes().to_vec(), Record::owner(id, id)))
        .into_iter()
        .collect();
    owners.write(&below.owners).unwrap();
    let blob = scratch.path("blob");
    let entries = [
        (owned(file("etc/new"), 9, 9), &b"1"[..]),
        (owned(file("lib/direct"), 9, 9), b"2"),
        (owned(file("lib/x/nested"), 9, 9), b"3"),
    ];
    fs::write(&blob, archive(&entries)).unwrap();
    let layer = Layer::new(&scratch, "layer");
    let recording = Recording { file: layer.owners.clone(), single: true };
    let unpacked = unpack(&tsbuild_layer::UnpackOptions {
        owners: Some(recording),
        ..unpack_options(&blob, &layer.tree)
    });
    let options = ReconcileOptions {
        root: layer.tree.clone(),
        lowers: vec![below.tree.clone()],
        implicit_directories: unpacked.unwrap().implicit_directories,
        overlay_xattrs: OverlayXattrs::User,
        owners: Some(layer.owners.clone()),
    };
    for _ in 0..2 {
        reconcile_layer(&options).unwrap();
        let expected = [
            ("etc", 3),
            ("etc/new", 9),
            ("usr/lib", 4),
            ("usr/lib/direct", 9),
            ("usr/lib/x", 5),
            ("usr/lib/x/nested", 9),
        ];
        let found = Owners::read(&layer.owners).unwrap();
        let found: Vec<(&str, u32)> = found
            .iter()
            .map(|(path, record)| (std::str::from_utf8(path).unwrap(), record.uid))
            .collect();
        assert_eq!(found, expected);
    }
}

#[test]
fn several_trees_in_one() {
    let scratch = Scratch::new();
    let (one, two) = (Layer::new(&scratch, "one"), Layer::new(&scratch, "two"));
    for (layer, name, id) in [(&one, "a", 0), (&two, "b", 2)] {
        shell(&format!("mkdir shared; echo {name} > shared/{name}"), &layer.tree);
        let mut owners = Owners::new();
        for path in ["shared".to_owned(), format!("shared/{name}")] {
            owners.set(path, Record::owner(id, id));
        }
        owners.set("", Record::owner(id + 5, 0));
        owners.write(&layer.owners).unwrap();
    }
    let target = scratch.directory("target");
    let tree = |layer: &Layer, prefix: &str| ExportTree {
        lowers: vec![layer.tree.clone()],
        prefix: prefix.into(),
    };
    let options = ExportOptions {
        trees: vec![tree(&one, ""), tree(&two, ""), tree(&two, "below")],
        target,
        delete: false,
        owner: None,
        own_root: true,
        clamp_mtime_seconds: None,
        owners: Some(scratch.path("owners")),
    };
    watch(|watch| export_trees(&options, watch));
    let found = Owners::read(&scratch.path("owners")).unwrap();
    let found: Vec<(&str, u32)> = found
        .iter()
        .map(|(path, record)| (std::str::from_utf8(path).unwrap(), record.uid))
        .collect();
    // What both have is the first one's, which is 0:0.
    let expected =
        [("", 5), ("below", 7), ("below/shared", 2), ("below/shared/b", 2), ("shared/b", 2)];
    assert_eq!(found, expected);
}

#[test]
fn what_a_step_removed_or_wrote_to_is_forgotten() {
    let scratch = Scratch::new();
    let (root, file) = (scratch.directory("root"), scratch.path("owners"));
    let node = Some(Device { kind: DeviceKind::Char, major: 1, minor: 3 });
    let record = Record { device: node, ..Record::owner(1, 1) };
    let owners: Owners = ["kept", "gone", "written", "dir/gone"]
        .map(|path| (path.as_bytes().to_vec(), record.clone()))
        .into_iter()
        .collect();
    owners.write(&file).unwrap();
    shell("touch kept; echo x > written; ln -s . dir", &root);
    prune_owners(&root, &file).unwrap();
    let expected: Owners = [(b"kept".to_vec(), record), (b"written".to_vec(), Record::owner(1, 1))]
        .into_iter()
        .collect();
    assert_eq!(Owners::read(&file).unwrap(), expected);
}

#[test]
fn a_damaged_sidecar_is_said() {
    let scratch = Scratch::new();
    let layer = Layer::new(&scratch, "layer");
    fs::write(&layer.owners, "tsbuild owners 1\nnonsense").unwrap();
    let options = tsbuild_layer::WriteOptions {
        lowers: trees(&[&layer]),
        ..write_options(&scratch.directory("upper"), &scratch.path("written"))
    };
    let error = write(&options).unwrap_err();
    assert_eq!(error.code, Code::DamagedOwners);
    assert!(error.message.contains("layer/owners"), "{error}");
}
