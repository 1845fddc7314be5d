//! Puts itself where a step is to live and becomes the program that makes the step's sandbox, whichever that is:
//!
//! ```text
//! tsbuild-launcher enter [--cgroup DIRECTORY]… [--network] [--sysfs DIRECTORY] [--root DIRECTORY MOUNT…] -- PROGRAM ARGUMENT…
//! ```
//!
//! `--cgroup` moves it into a control group, before the sandbox has one of its own as its root. `--network` makes a network namespace
//! with the loopback interface up. `--sysfs` mounts on the directory, for this program and what it starts alone, what `/sys` is in
//! that namespace; where the kernel refuses that, because a part of the existing one is masked, the existing one. `--root` and what
//! comes with it (`mounts.rs`) makes the tree that the sandbox is to show, for this program and what it starts alone: bubblewrap reads
//! the whole table of mounts for each that it is asked for, and for a tree that is there already once.

use std::{
    ffi::{CString, OsStr, OsString},
    fs, io,
    os::unix::ffi::{OsStrExt, OsStringExt},
    path::Path,
};

use tsbuild_sys::{mount, network, process};

use crate::mounts::Mounts;

/// As a shell: the program could not be started.
const STATUS_NOT_STARTED: i32 = 127;
/// The place could not be made.
const STATUS_FAILED: i32 = 125;

/// Returns only with the status of a failure.
pub fn run(words: impl Iterator<Item = OsString>) -> i32 {
    let (place, argv) = match parse(words) {
        Ok(parsed) => parsed,
        Err(message) => {
            eprintln!("tsbuild-launcher: {message}");
            return 2;
        }
    };
    if let Err(message) = place.enter() {
        eprintln!("{message}");
        return STATUS_FAILED;
    }
    let environment: Vec<CString> = std::env::vars_os()
        .filter_map(|(name, value)| {
            CString::new([name.as_bytes(), b"=", value.as_bytes()].concat()).ok()
        })
        .collect();
    // As execvp(3): the most telling error is kept, of a file that is there and cannot be run.
    let mut reason = io::Error::from(io::ErrorKind::NotFound);
    for file in candidates(argv[0].as_bytes()) {
        let error = process::exec(OsStr::from_bytes(&file), &argv, &environment);
        match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => {}
            io::ErrorKind::PermissionDenied => reason = error,
            _ => {
                reason = error;
                break;
            }
        }
    }
    eprintln!("cannot start '{}': {reason}", argv[0].to_string_lossy());
    STATUS_NOT_STARTED
}

#[derive(Default)]
struct Place {
    cgroups: Vec<OsString>,
    network: bool,
    sysfs: Option<OsString>,
    mounts: Mounts,
}

fn parse(mut words: impl Iterator<Item = OsString>) -> Result<(Place, Vec<CString>), String> {
    let mut place = Place::default();
    while let Some(word) = words.next() {
        let wrong = || format!("{} needs other values", word.display());
        match word.as_bytes() {
            b"--cgroup" => place.cgroups.push(words.next().ok_or_else(wrong)?),
            b"--network" => place.network = true,
            b"--sysfs" => place.sysfs = Some(words.next().ok_or_else(wrong)?),
            b"--" => break,
            _ => {
                if !place.mounts.take(&word, &mut words).ok_or_else(wrong)? {
                    return Err(format!("unknown option '{}'", word.display()));
                }
            }
        }
    }
    let argv = words
        .map(|word| CString::new(word.into_vec()))
        .collect::<Result<Vec<_>, _>>()
        .map_err(|_| "a zero byte in an argument".to_owned())?;
    if argv.is_empty() { Err("no program given".into()) } else { Ok((place, argv)) }
}

impl Place {
    fn enter(&self) -> Result<(), String> {
        for directory in &self.cgroups {
            // 0 is whoever writes.
            fs::write(Path::new(directory).join("cgroup.procs"), "0").map_err(|error| {
                format!("cannot enter the control group '{}': {error}", directory.display())
            })?;
        }
        if self.network {
            process::unshare(process::NEW_NET)
                .map_err(|error| format!("cannot make a network namespace: {error}"))?;
            // Root of a container may make the one and lack CAP_NET_ADMIN for the other. What counts is that there is no way out.
            let _ = network::bring_loopback_up();
        }
        let has_root = !self.mounts.root().as_os_str().is_empty();
        if has_root || self.sysfs.is_some() {
            process::unshare(process::NEW_MOUNT)
                .map_err(|error| format!("cannot make a mount namespace: {error}"))?;
        }
        if let Some(directory) = &self.sysfs {
            let target = Path::new(directory);
            mount::mount_sysfs(target)
                .or_else(|_| mount::mount_bind(Path::new("/sys"), target, false, true))
                .map_err(|error| format!("cannot mount sysfs: {error}"))?;
        }
        if has_root {
            self.mounts.make().map_err(|error| error.to_string())?;
        }
        Ok(())
    }
}

fn candidates(program: &[u8]) -> Vec<Vec<u8>> {
    if program.contains(&b'/') {
        return vec![program.to_vec()];
    }
    std::env::var_os("PATH")
        .unwrap_or_else(|| "/usr/bin:/bin".into())
        .as_bytes()
        .split(|byte| *byte == b':')
        .map(|directory| [directory, b"/", program].concat())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> impl Iterator<Item = OsString> {
        text.split(' ').map(OsString::from).collect::<Vec<_>>().into_iter()
    }

    #[test]
    fn takes_what_comes_after_two_dashes_as_the_program() {
        let (place, argv) = parse(words(
            "--cgroup /a --cgroup /b --network --sysfs /s --root /r -- bwrap --network",
        ))
        .ok()
        .unwrap();
        assert_eq!(place.cgroups, ["/a", "/b"]);
        assert!(place.network);
        assert_eq!(place.sysfs.as_deref(), Some(OsStr::new("/s")));
        assert_eq!(place.mounts.root(), Path::new("/r"));
        assert_eq!(argv, [c"bwrap".to_owned(), c"--network".to_owned()]);
    }

    #[test]
    fn refuses_what_it_does_not_know() {
        for text in ["--cgroup", "--net -- true", "--network --", "--root /r --bind /a", "bwrap"] {
            assert!(parse(words(text)).is_err(), "{text}");
        }
    }
}
