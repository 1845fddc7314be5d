//! Exports to a directory: against the flattened tree, and twice.
#![allow(missing_docs)]

mod support;

use std::{
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::atomic::AtomicBool,
};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use support::*;
use tsbuild_layer::{Code, Error, ExportOptions, ExportTree, Exported, Watch, export_trees};

fn options(lowers: &[&PathBuf], target: &Path) -> ExportOptions {
    ExportOptions {
        trees: vec![tree(lowers, "")],
        target: target.to_owned(),
        delete: false,
        owner: None,
        own_root: true,
        clamp_mtime_seconds: None,
        owners: None,
    }
}

fn tree(lowers: &[&PathBuf], prefix: &str) -> ExportTree {
    ExportTree { lowers: lowers.iter().copied().cloned().collect(), prefix: prefix.into() }
}

fn export(options: &ExportOptions) -> Result<Exported, Error> {
    export_trees(options, Watch::new(&AtomicBool::new(false), &|_| {}))
}

/// Two layers, the upper one with a whiteout, and files of every kind that can be made here.
fn layers(scratch: &Scratch) -> (PathBuf, PathBuf) {
    let (lower, upper) = (scratch.directory("lower"), scratch.directory("upper"));
    shell(
        "mkdir -p a/deep; echo one > a/one; echo two > a/deep/two; ln -s one a/link; echo gone > a/gone
         echo h > hard1; ln hard1 a/hard2; mkfifo a/pipe; chmod 4755 a/one; chown 7:8 a/deep/two
         setfattr -n user.note -v hello a/one; chmod 1777 a/deep
         find . -exec touch -h -d '2001-02-03 04:05:06.789012345' {} +",
        &lower,
    );
    shell("mkdir a; mknod a/gone c 0 0; echo top > a/top; touch -d @1000000001 a/top a .", &upper);
    (lower, upper)
}

fn inode(path: PathBuf) -> (u64, i64, i64) {
    let stat = fs::symlink_metadata(path).unwrap();
    (stat.ino(), stat.ctime(), stat.ctime_nsec())
}

#[test]
fn the_second_export_writes_nothing() {
    let scratch = Scratch::new();
    let (lower, upper) = layers(&scratch);
    let target = scratch.directory("target");
    let options = options(&[&upper, &lower], &target);
    let first = export(&options).unwrap();
    assert_eq!((first.written, first.unchanged, first.removed), (7, 0, 0));
    assert_eq!(
        shell(
            "cd target && find . ! -name gone | sort && cat a/top a/one && stat -c '%a %u:%g' a/one a/deep a/deep/two && getfattr --only-values -n user.note a/one",
            &scratch.0
        ),
        ".\n./a\n./a/deep\n./a/deep/two\n./a/hard2\n./a/link\n./a/one\n./a/pipe\n./a/top\n./hard1\ntop\none\n4755 0:0\n1777 0:0\n644 7:8\nhello"
    );
    assert_eq!(inode(target.join("hard1")), inode(target.join("a/hard2")));
    let names = ["a", "a/one", "a/deep", "a/deep/two", "a/link", "a/pipe", "hard1", "a/hard2", "."];
    let before = names.map(|name| inode(target.join(name)));
    let second = export(&options).unwrap();
    assert_eq!((second.written, second.unchanged, second.removed), (0, 7, 0));
    assert_eq!(second.size_bytes, first.size_bytes);
    assert_eq!(names.map(|name| inode(target.join(name))), before);
}

#[test]
fn directories_side_by_side_end_as_they_should() {
    let scratch = Scratch::new();
    let (lower, target) = (scratch.directory("lower"), scratch.directory("target"));
    shell(
        "for i in $(seq 60); do mkdir -p $i/x/y; for j in $(seq 20); do echo $i $j > $i/x/$j; done; done
         for i in $(seq 2 60); do ln 1/x/1 $i/same; ln $i/x/2 $i/x/y/own; done
         chmod 555 */x; find . -exec touch -h -d '2001-02-03 04:05:06.789012345' {} +",
        &lower,
    );
    let options = options(&[&lower], &target);
    let first = export(&options).unwrap();
    assert_eq!((first.written, first.unchanged), (60 * 20 + 2 * 59, 0));
    let listing = "find . -mindepth 1 -printf '%p %y %m %U:%G %n %T@\\n' | sort
                   find . -type f -print0 | sort -z | xargs -0 sha256sum";
    assert_eq!(shell(listing, &target), shell(listing, &lower));
    let names = |root: &PathBuf| shell("find . -samefile 1/x/1 | sort", root);
    assert_eq!(names(&target), names(&lower));
    let second = export(&options).unwrap();
    assert_eq!((second.written, second.unchanged), (0, first.written));
    assert_eq!(second.size_bytes, first.size_bytes);
}

#[test]
fn what_differs_is_written_again_and_nothing_else() {
    let scratch = Scratch::new();
    let (lower, upper) = layers(&scratch);
    let target = scratch.directory("target");
    let options = options(&[&upper, &lower], &target);
    let total = export(&options).unwrap().written;
    for (change, written) in [
        ("echo longer >> a/one", 1),
        ("chmod 700 a/one", 1),
        ("chown 9 a/deep/two", 1),
        ("touch a/top", 1),
        ("setfattr -n user.note -v other a/one", 1),
        ("ln -sfn elsewhere a/link", 1),
        ("rm a/pipe", 1),
        ("rm a/hard2; cp -a hard1 a/hard2", 1),
        ("rm a/top && ln -s /etc/passwd a/top", 1),
        ("rm a/top && mkdir a/top", 1),
        // All but `hard1`, of which the other name is made again.
        ("mv a aside && ln -s aside a", 6),
        ("chmod 700 a/deep; touch a/deep", 0),
    ] {
        shell(change, &target);
        let done = export(&options).unwrap();
        assert_eq!((done.written, done.unchanged), (written, total - written), "{change}");
        let rest = export(&options).unwrap();
        assert_eq!(rest.written, 0, "{change}");
        assert_eq!(fs::read_to_string(target.join("a/top")).unwrap(), "top\n");
    }
    // The link was replaced, not followed: what it led to is as it was.
    assert!(target.join("aside/one").exists());
}

#[test]
fn extra_files_stay_or_go() {
    let scratch = Scratch::new();
    let (lower, upper) = layers(&scratch);
    let target = scratch.directory("target");
    let outside = scratch.directory("outside");
    shell(
        "echo keep > file; mkdir -p target/mine/deep && echo x > target/mine/deep/x && ln -s ../outside target/out && mkdir target/a && echo y > target/a/y; touch target/.tsbuild-export-9-9; echo z > outside/z",
        &scratch.0,
    );
    let mut options = options(&[&upper, &lower], &target);
    assert_eq!(export(&options).unwrap().removed, 0);
    assert!(target.join("mine/deep/x").exists() && target.join("a/y").exists());
    assert!(!target.join(".tsbuild-export-9-9").exists());
    options.delete = true;
    assert_eq!(export(&options).unwrap().removed, 3);
    assert_eq!(
        shell("ls -A target target/a", &scratch.0),
        "target:\na\nhard1\n\ntarget/a:\ndeep\nhard2\nlink\none\npipe\ntop"
    );
    assert!(outside.join("z").exists());
}

#[test]
fn a_directory_that_is_not_empty_is_only_replaced_when_extra_files_go() {
    let scratch = Scratch::new();
    let (lower, upper) = layers(&scratch);
    let target = scratch.directory("target");
    shell("mkdir -p a/top && echo mine > a/top/mine", &target);
    let mut options = options(&[&upper, &lower], &target);
    assert_eq!(export(&options).unwrap_err().code, Code::OutputExists);
    assert_eq!(shell("cat a/top/mine; find . -name '.tsbuild*'", &target), "mine");
    options.delete = true;
    export(&options).unwrap();
    assert_eq!(shell("cat a/top", &target), "top");
}

#[test]
fn what_is_mounted_at_the_target_is_not_emptied() {
    let scratch = Scratch::new();
    let (lower, upper) = layers(&scratch);
    let target = scratch.directory("target");
    shell(
        "mkdir target/mounted && mount -t tmpfs none target/mounted && echo x > target/mounted/x",
        &scratch.0,
    );
    let mut options = options(&[&upper, &lower], &target);
    options.delete = true;
    let result = export(&options);
    let left = target.join("mounted/x").exists();
    shell("umount target/mounted", &scratch.0);
    assert_eq!((result.unwrap_err().code, left), (Code::OutputExists, true));
}

#[test]
fn several_trees_side_by_side_or_merged() {
    let scratch = Scratch::new();
    let (one, two) = (scratch.directory("one"), scratch.directory("two"));
    shell("mkdir -m 750 d && echo 1 > d/one", &one);
    shell("mkdir d && echo 2 > d/two", &two);
    let target = scratch.directory("target");
    let mut options = options(&[], &target);
    options.trees = vec![tree(&[&one], "linux_amd64"), tree(&[&two], "linux_arm64")];
    export(&options).unwrap();
    assert_eq!(
        shell(
            "find target -type f | sort; stat -c %a target/linux_amd64 target/linux_amd64/d",
            &scratch.0
        ),
        "target/linux_amd64/d/one\ntarget/linux_arm64/d/two\n755\n750"
    );
    options.trees = vec![tree(&[&one], ""), tree(&[&two], "")];
    options.delete = true;
    assert_eq!(export(&options).unwrap().removed, 2);
    assert_eq!(shell("find target -type f | sort", &scratch.0), "target/d/one\ntarget/d/two");
    shell("echo 2 > d/one", &two);
    assert_eq!(export(&options).unwrap_err().code, Code::OutputConflict);
}

#[test]
fn a_directory_may_hold_more_directories_than_can_be_open() {
    let scratch = Scratch::new();
    let (lower, target) = (scratch.directory("lower"), scratch.directory("target"));
    shell("for i in $(seq 400); do mkdir $i; done; echo x > 400/x", &lower);
    let before = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: Some(256), ..before }).unwrap();
    let exported = export(&options(&[&lower], &target));
    setrlimit(Resource::Nofile, before).unwrap();
    exported.unwrap();
    assert_eq!(shell("ls | wc -l; cat 400/x", &target), "400\nx");
}

#[test]
fn times_are_clamped() {
    let scratch = Scratch::new();
    let (lower, upper) = layers(&scratch);
    let target = scratch.directory("target");
    let mut options = options(&[&upper, &lower], &target);
    options.clamp_mtime_seconds = Some(999_999_999);
    export(&options).unwrap();
    assert_eq!(export(&options).unwrap().written, 0);
    assert_eq!(
        shell("stat -c '%n %.9Y' . a a/top a/one", &target),
        ". 999999999.000000000\na 999999999.000000000\na/top 999999999.000000000\na/one 981173106.789012345"
    );
}

#[test]
fn a_cancelled_export_leaves_whole_files_only() {
    let scratch = Scratch::new();
    let (lower, upper) = layers(&scratch);
    let target = scratch.directory("target");
    let result = export_trees(
        &options(&[&upper, &lower], &target),
        Watch::new(&AtomicBool::new(true), &|_| {}),
    );
    assert_eq!(result.unwrap_err().code, Code::Cancelled);
    assert_eq!(shell("find . -name '.tsbuild*'", &target), "");
}
