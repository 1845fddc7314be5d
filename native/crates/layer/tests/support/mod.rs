//! What the tests share: scratch directories, archives made by hand, default options.
#![allow(dead_code, missing_docs)]

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
};

use tsbuild_layer::{
    Compression, Encoding, Error, ExpandLimits, OverlayXattrs, UnpackOptions, UnpackedLayer, Watch,
    WriteOptions, WrittenLayer, unpack_layer, write_layer,
};
use tsbuild_tar::{Entry, EntryKind, Writer};

pub struct Scratch(pub PathBuf);

impl Scratch {
    pub fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path =
            std::env::temp_dir().join(format!("tsbuild-layer-{}-{number}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    pub fn directory(&self, name: &str) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(&path).unwrap();
        path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

pub fn write_options(root: &Path, output: &Path) -> WriteOptions {
    WriteOptions {
        root: root.to_owned(),
        owners: None,
        lowers: Vec::new(),
        output: output.to_owned(),
        compression: Compression::None,
        threads: 2,
        previous: None,
        clamp_mtime_seconds: None,
    }
}

pub fn write(options: &WriteOptions) -> Result<WrittenLayer, Error> {
    write_layer(options, Watch::new(&AtomicBool::new(false), &|_| {}))
}

pub fn unpack_options(blob: &Path, root: &Path) -> UnpackOptions {
    UnpackOptions {
        arriving: None,
        blob: blob.to_owned(),
        encoding: Encoding::Auto,
        root: root.to_owned(),
        expected_digest: None,
        expected_diff_id: None,
        limits: ExpandLimits { bytes: 1 << 40, ratio: 1000 },
        max_entries: 10_000,
        overlay_xattrs: OverlayXattrs::User,
        create_devices: false,
        owners: None,
    }
}

pub fn unpack(options: &UnpackOptions) -> Result<UnpackedLayer, Error> {
    unpack_layer(options, Watch::new(&AtomicBool::new(false), &|_| {}))
}

/// An archive of these entries, files with these contents.
pub fn archive(entries: &[(Entry, &[u8])]) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new());
    for (entry, content) in entries {
        writer.entry(&entry.clone().with_size(content.len() as u64)).unwrap();
        writer.data(content).unwrap();
    }
    writer.finish().unwrap()
}

pub fn file(path: &str) -> Entry {
    Entry::new(path.as_bytes(), EntryKind::File)
}

pub fn directory(path: &str) -> Entry {
    Entry::new(path.as_bytes(), EntryKind::Directory)
}

pub fn symlink(path: &str, target: &str) -> Entry {
    Entry::new(path.as_bytes(), EntryKind::Symlink).with_link(target.as_bytes())
}

pub fn hard_link(path: &str, target: &str) -> Entry {
    Entry::new(path.as_bytes(), EntryKind::HardLink).with_link(target.as_bytes())
}

/// A process that is being started has a copy of every open file until it runs its program: nothing is unmounted meanwhile.
static STARTING: Mutex<()> = Mutex::new(());

/// Until it is dropped no process is started.
pub fn no_starts() -> MutexGuard<'static, ()> {
    STARTING.lock().unwrap_or_else(PoisonError::into_inner)
}

pub fn shell(script: &str, directory: &Path) -> String {
    let starting = no_starts();
    let started = Command::new("bash")
        .args(["-euo", "pipefail", "-c", script])
        .current_dir(directory)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(starting);
    let output = started.wait_with_output().unwrap();
    assert!(output.status.success(), "{script}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// `find` for a whole tree, with everything that a layer carries but times.
pub fn listing(root: &Path) -> Vec<String> {
    let text = shell("find . -mindepth 1 -printf '%P %y %m %U:%G %s %l\\n' | LC_ALL=C sort", root);
    text.lines().map(|line| line.trim_end().to_owned()).collect()
}

/// Whoever runs the tests without privilege cannot make the trees that they need.
pub fn is_root() -> bool {
    rustix_uid() == 0
}

fn rustix_uid() -> u32 {
    use std::os::unix::fs::MetadataExt;
    fs::metadata("/proc/self").unwrap().uid()
}
