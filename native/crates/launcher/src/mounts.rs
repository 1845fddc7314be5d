//! What is mounted on the root of a step, by whichever form of ours makes it:
//!
//! ```text
//! --root DIR
//! --bind|--ro-bind|--device SOURCE TARGET
//! --tmpfs MODE SIZE TARGET    0 is no size
//! --read-only-tmpfs TARGET
//! --directory MODE TARGET
//! --link TEXT TARGET
//! --terminals TARGET
//! ```
//!
//! Mounts are made in order. A target is a path in the root in which nothing is a link; what is missing is made. Set-user-ID bits
//! have no effect in any of them, and devices can be opened by way of a `--device` only.

use std::{
    ffi::{OsStr, OsString},
    fs,
    os::{
        fd::AsFd,
        unix::{ffi::OsStrExt, fs::symlink},
    },
    path::{Path, PathBuf},
};

use tsbuild_sys::{
    Error, Result,
    mount::{self, Bound},
    root::Root,
};

/// A root and what is mounted on it.
#[derive(Default)]
pub struct Mounts {
    root: PathBuf,
    mounts: Vec<(PathBuf, Kind)>,
}

enum Kind {
    Bind(PathBuf, Bound),
    Tmpfs { mode: u32, size_bytes: Option<u64>, read_only: bool },
    Directory(u32),
    Link(OsString),
    Terminals,
}

impl Mounts {
    /// Takes an option and its values. False if it is not one of these, `None` if its values are wrong.
    pub fn take(
        &mut self,
        option: &OsStr,
        words: &mut impl Iterator<Item = OsString>,
    ) -> Option<bool> {
        let mut path = || words.next().map(PathBuf::from);
        let (target, kind) = match option.as_bytes() {
            b"--root" => {
                self.root = path()?;
                return Some(true);
            }
            name @ (b"--bind" | b"--ro-bind" | b"--device") => {
                let bound = Bound { read_only: name == b"--ro-bind", devices: name == b"--device" };
                let source = path()?;
                (path()?, Kind::Bind(source, bound))
            }
            b"--tmpfs" => {
                let mode = octal(&words.next()?)?;
                let size: u64 = words.next()?.to_str()?.parse().ok()?;
                let size_bytes = (size > 0).then_some(size);
                (words.next()?.into(), Kind::Tmpfs { mode, size_bytes, read_only: false })
            }
            b"--read-only-tmpfs" => {
                (path()?, Kind::Tmpfs { mode: 0o755, size_bytes: None, read_only: true })
            }
            b"--directory" => {
                let mode = octal(&words.next()?)?;
                (words.next()?.into(), Kind::Directory(mode))
            }
            b"--link" => {
                let text = words.next()?;
                (words.next()?.into(), Kind::Link(text))
            }
            b"--terminals" => (path()?, Kind::Terminals),
            _ => return Some(false),
        };
        self.mounts.push((target, kind));
        Some(true)
    }

    /// Where they are made. Empty: nowhere.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Makes them, in the mount namespace that we are in.
    pub fn make(&self) -> Result<()> {
        // On itself: a root must be a mountpoint.
        let own = Bound { read_only: false, devices: false };
        mount::bind_tree(&self.root, Root::open(&self.root)?.as_fd(), own)?;
        let root = Root::open(&self.root)?;
        for (target, kind) in &self.mounts {
            self.make_one(&root, target, kind)?;
        }
        Ok(())
    }

    fn make_one(&self, root: &Root, target: &Path, kind: &Kind) -> Result<()> {
        match kind {
            Kind::Bind(source, bound) => {
                let is_directory = fs::metadata(source).is_ok_and(|facts| facts.is_dir());
                mount::bind_tree(source, root.mountpoint(target, is_directory)?.as_fd(), *bound)
            }
            Kind::Tmpfs { mode, size_bytes, read_only } => {
                mount::mount_tmpfs_on(&root.mountpoint(target, true)?, *mode, *size_bytes)?;
                if *read_only {
                    mount::make_read_only(&root.mountpoint(target, true)?)?;
                }
                Ok(())
            }
            Kind::Directory(mode) => root.make_directories(target, *mode, 0, 0).map(drop),
            Kind::Link(text) => {
                let path = self.root.join(target.strip_prefix("/").unwrap_or(target));
                symlink(text, &path).map_err(|error| Error::io("make link", &path, error))
            }
            Kind::Terminals => {
                let place = root.mountpoint(target, true)?;
                // Some kernels forbid it: those around us do as well.
                if mount::mount_terminals(&place).is_err() {
                    let bound = Bound { read_only: false, devices: true };
                    mount::bind_tree(Path::new("/dev/pts"), place.as_fd(), bound)?;
                }
                Ok(())
            }
        }
    }
}

fn octal(word: &OsStr) -> Option<u32> {
    u32::from_str_radix(word.to_str()?, 8).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What could not be read as one of them.
    fn read(text: &str) -> (Mounts, Option<bool>) {
        let mut words = text.split(' ').map(OsString::from);
        let mut mounts = Mounts::default();
        while let Some(word) = words.next() {
            match mounts.take(&word, &mut words) {
                Some(true) => {}
                wrong => return (mounts, wrong),
            }
        }
        (mounts, Some(true))
    }

    #[test]
    fn words_become_mounts_in_order() {
        let (found, read_all) = read("--root /r --tmpfs 1777 0 /tmp --ro-bind /a /b");
        assert_eq!(read_all, Some(true));
        assert_eq!(found.root(), Path::new("/r"));
        assert!(matches!(
            found.mounts[..],
            [
                (_, Kind::Tmpfs { mode: 0o1777, size_bytes: None, read_only: false }),
                (_, Kind::Bind(_, Bound { read_only: true, devices: false }))
            ]
        ));
    }

    #[test]
    fn wrong_values_and_other_words() {
        for wrong in ["--bind /a", "--tmpfs 8 0 /t", "--directory x /t", "--link a"] {
            assert_eq!(read(wrong).1, None, "{wrong}");
        }
        assert_eq!(read("--root /r --host-name x").1, Some(false));
    }
}
