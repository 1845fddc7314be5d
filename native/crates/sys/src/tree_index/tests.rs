use std::{
    collections::HashSet,
    fs,
    path::{Path, PathBuf},
    sync::atomic::AtomicBool,
};

use super::*;

struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let path =
            std::env::temp_dir().join(format!("tsbuild-index-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn write(&self, path: &str, content: &str) {
        let path = self.0.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn walk(root: &Path, skip: &[&str]) -> Walked {
    Walked::of(root, &set(skip), &AtomicBool::new(false)).unwrap()
}

fn set(paths: &[&str]) -> HashSet<Vec<u8>> {
    paths.iter().map(|path| path.as_bytes().to_vec()).collect()
}

fn hash(index: &mut TreeIndex, list: &[u8], settled_ns: i128) -> Hashed {
    let chosen = index.choose(list).unwrap();
    let read = index.unknown(&chosen).hash(&AtomicBool::new(false)).unwrap();
    index.learn(read, settled_ns)
}

fn paths(index: &TreeIndex, chosen: &[usize]) -> Vec<String> {
    let path = |number: &usize| String::from_utf8_lossy(&index.entries[*number].entry.path).into();
    chosen.iter().map(path).collect()
}

#[test]
fn fingerprints_change_with_what_is_not_skipped() {
    let tree = Scratch::new("fingerprint");
    for number in 0..40 {
        tree.write(&format!("d{number}/e/f"), "12345");
    }
    let look = |skip: &[&str]| walk(&tree.0, skip).fingerprint;
    let names = || walk(&tree.0, &[]).names;
    let (whole, part, first_names) = (look(&[]), look(&["d7/e"]), names());
    assert_eq!(whole, look(&[]));
    assert_ne!(whole, part);
    tree.write("d7/e/f", "123456");
    assert_ne!(whole, look(&[]));
    assert_eq!(first_names, names());
    tree.write("d7/e/g", "");
    assert_ne!(first_names, names());
    assert_eq!(part, look(&["d7/e"]));
    std::os::unix::fs::symlink("e", tree.0.join("d8/l")).unwrap();
    let linked = look(&["d7/e"]);
    fs::remove_file(tree.0.join("d8/l")).unwrap();
    std::os::unix::fs::symlink("f", tree.0.join("d8/l")).unwrap();
    assert_ne!(linked, look(&["d7/e"]));
    let cancelled = Walked::of(&tree.0, &HashSet::new(), &AtomicBool::new(true));
    assert_eq!(cancelled.err().unwrap().code, "CANCELLED");
}

#[test]
fn sorted_as_javascript_sorts() {
    let names = ["a", "a-b", "a.txt", "a/x", "a/\u{fffd}", "a/\u{1f600}", "b", "\u{e000}", "é"];
    let mut sorted = names.map(str::as_bytes);
    sorted.sort_unstable_by(|left, right| order(left, right));
    let mut expected = names;
    expected.sort_by_key(|name| name.encode_utf16().collect::<Vec<_>>());
    assert_eq!(sorted, expected.map(str::as_bytes));
}

#[test]
fn choices_and_what_is_in_directories() {
    let tree = Scratch::new("choices");
    for path in ["a/x", "a/y/z", "a-b", "a.txt", "hidden/x", "skipped/x"] {
        tree.write(path, path);
    }
    let mut index = walk(&tree.0, &["skipped"]).index(&set(&["hidden", "hidden/x"]));
    assert!(index.get(b"skipped").is_none() && index.get(b"hidden").is_none());
    let names = |directory: &[u8]| -> Vec<String> {
        index.children(directory).map(|entry| String::from_utf8_lossy(&entry.path).into()).collect()
    };
    assert_eq!(names(b""), ["a", "a-b", "a.txt"]);
    assert_eq!(names(b"a"), ["a/x", "a/y"]);
    assert_eq!(names(b"a/y"), ["a/y/z"]);
    let chosen = index.choose(b"*a\0=a.txt\0=a/x\0").unwrap();
    assert_eq!(paths(&index, &chosen), ["a.txt", "a/x", "a/y", "a/y/z"]);
    assert_eq!(index.choose(b"*\0").unwrap().len(), 6);
    assert_eq!(index.choose(b"=none\0").unwrap_err().code, "INTERNAL");

    assert_eq!(hash(&mut index, b"*a\0", i128::MAX), Hashed::AsSeen);
    let summary = index.summary_json(&chosen);
    let sha = crate::hash::sha256_hex;
    let expected = format!(
        r#"[["/a.txt","0644 {}"],["/a/x","0644 {}"],["/a/y/","0755"],["/a/y/z","0644 {}"]]"#,
        sha(b""),
        sha(b"a/x"),
        sha(b"a/y/z")
    );
    assert_eq!(summary, expected);
    let canonical = format!(r#"{{"v":1,"context":{expected}}}"#);
    assert_eq!(TreeIndex::content_digest(&summary), sha(canonical.as_bytes()));
}

#[test]
fn what_is_known_is_taken_over_where_nothing_changed() {
    let tree = Scratch::new("adopt");
    for path in ["a", "b", "c", "young"] {
        tree.write(path, path);
    }
    // The kernel's clock for files is too coarse to tell it from the others.
    let later = std::time::SystemTime::now() + std::time::Duration::from_secs(5);
    fs::File::options()
        .write(true)
        .open(tree.0.join("young"))
        .unwrap()
        .set_modified(later)
        .unwrap();
    let mut first = walk(&tree.0, &[]).index(&HashSet::new());
    let young = first.get(b"young").unwrap().entry.mtime_ns;
    assert_eq!(hash(&mut first, b"*\0", young), Hashed::AsSeen);
    let saved = tree.0.join("../").join(format!("{}.index", tree.0.display()));
    first.save(&saved, Contents::Settled).unwrap();
    tree.write("b", "changed");
    tree.write("aa", "new");
    let known = TreeIndex::open(&saved).unwrap();
    fs::remove_file(&saved).unwrap();
    let mut second = walk(&tree.0, &[]).index(&HashSet::new());
    second.adopt(&known);
    let unknown = second.unknown(&second.choose(b"*\0").unwrap());
    let names: Vec<_> =
        unknown.paths.iter().map(|path| path.file_name().unwrap().to_owned()).collect();
    assert_eq!(names, ["aa", "b", "young"]);
    // Changed after the walk.
    tree.write("aa", "newer still");
    assert_eq!(hash(&mut second, b"*\0", i128::MAX), Hashed::Changed);
    assert_eq!(second.get(b"aa").unwrap().entry.size, 11);
}

#[test]
fn files_of_indexes_come_back_and_damage_is_seen() {
    let tree = Scratch::new("file");
    tree.write("d/f", "content");
    std::os::unix::fs::symlink("../x", tree.0.join("l")).unwrap();
    let mut index = walk(&tree.0, &[]).index(&HashSet::new());
    hash(&mut index, b"*\0", i128::MAX);
    let path = tree.0.join("saved");
    index.save(&path, Contents::All).unwrap();
    let read = TreeIndex::open(&path).unwrap();
    assert_eq!(format!("{index:?}"), format!("{read:?}"));
    let bytes = fs::read(&path).unwrap();
    for damaged in [&bytes[..bytes.len() - 1], &bytes[1..], b"", &[bytes.as_slice(), b"x"].concat()]
    {
        fs::write(&path, damaged).unwrap();
        assert_eq!(TreeIndex::open(&path).unwrap_err().code, "DAMAGED_INDEX");
    }
}
