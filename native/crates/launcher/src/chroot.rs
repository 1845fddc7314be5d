//! A sandbox of a mount namespace and little else, for where a container forbids more: no pid namespace, so that the `/proc`
//! around us is the step's; no other program of the machine is needed.
//!
//! ```text
//! tsbuild-launcher chroot --root DIR [OPTION | MOUNT]…
//!
//!   --host-name NAME            where the machine's own can be kept apart
//!   --keep-capabilities A,B     by number; all of them without it
//!   --bind|--ro-bind|--device SOURCE TARGET
//!   --tmpfs MODE SIZE TARGET    0 is no size
//!   --read-only-tmpfs TARGET
//!   --link TEXT TARGET
//!   --terminals TARGET
//! ```
//!
//! Mounts are made in order. A target is a path in the root in which nothing is a link; what is missing is made. Then this
//! process goes on as `step.rs`, which ends everything that the step leaves: here it is no pid 1 whose end would do it.

use std::{
    ffi::{OsStr, OsString},
    fs,
    io::{self, Write},
    os::{
        fd::AsFd,
        unix::{ffi::OsStrExt, fs::symlink},
    },
    path::{Path, PathBuf},
};

use tsbuild_sys::{
    mount::{self, Bound},
    process,
    root::Root,
};

use crate::{namespaces::without_number, step};

/// Where our pid is told, as bubblewrap tells that of its child.
const INFO_FD: i32 = 5;
const STATUS_FAILED: i32 = 125;

#[derive(Default)]
struct Plan {
    root: PathBuf,
    host_name: Option<OsString>,
    keep: Option<Vec<u32>>,
    mounts: Vec<(PathBuf, Kind)>,
}

enum Kind {
    Bind(PathBuf, Bound),
    Tmpfs { mode: u32, size_bytes: Option<u64>, read_only: bool },
    Link(OsString),
    Terminals,
}

/// Makes the sandbox and runs the step in it.
pub fn run(words: impl Iterator<Item = OsString>) -> i32 {
    match enter(words) {
        Ok(()) => step::run(),
        Err(message) => {
            eprintln!("{message}");
            STATUS_FAILED
        }
    }
}

fn enter(words: impl Iterator<Item = OsString>) -> Result<(), String> {
    let plan = parse(words).ok_or("tsbuild-launcher: 'chroot' is for tsbuild's own use")?;
    let info = process::inherited(INFO_FD).map_err(|error| format!("no descriptor 5: {error}"))?;
    let _ = writeln!(fs::File::from(info), "{{\"child-pid\":{}}}", process::pid());
    let parent = process::parent_pid();
    process::die_with_parent().map_err(|error| failed("ask for the death signal", &error))?;
    if process::parent_pid() != parent {
        process::exit_now(1);
    }
    process::unshare(process::NEW_MOUNT)
        .map_err(|error| failed("make a mount namespace", &error))?;
    // Segments that a step leaves would stay on the machine.
    let _ = process::unshare(process::NEW_IPC);
    if process::unshare(process::NEW_UTS).is_ok()
        && let Some(name) = &plan.host_name
    {
        let _ = process::set_host_name(name);
    }
    mount_all(&plan).map_err(|error| error.to_string())?;
    mount::pivot_into(&plan.root).map_err(|error| error.to_string())?;
    confine(plan.keep.as_deref()).map_err(|error| failed("give up privileges", &error))
}

fn failed(doing: &str, error: &io::Error) -> String {
    without_number(&format!("cannot {doing}: {error}"), error)
}

fn confine(keep: Option<&[u32]>) -> io::Result<()> {
    process::forbid_new_privileges()?;
    keep.map_or(Ok(()), process::limit_capabilities)
}

fn mount_all(plan: &Plan) -> tsbuild_sys::Result<()> {
    // On itself: a root must be a mountpoint.
    let own = Bound { read_only: false, devices: false };
    mount::bind_tree(&plan.root, Root::open(&plan.root)?.as_fd(), own)?;
    let root = Root::open(&plan.root)?;
    for (target, kind) in &plan.mounts {
        match kind {
            Kind::Bind(source, bound) => {
                let is_directory = fs::metadata(source).is_ok_and(|facts| facts.is_dir());
                mount::bind_tree(source, root.mountpoint(target, is_directory)?.as_fd(), *bound)?;
            }
            Kind::Tmpfs { mode, size_bytes, read_only } => {
                mount::mount_tmpfs_on(&root.mountpoint(target, true)?, *mode, *size_bytes)?;
                if *read_only {
                    mount::make_read_only(&root.mountpoint(target, true)?)?;
                }
            }
            Kind::Link(text) => {
                let path = plan.root.join(target.strip_prefix("/").unwrap_or(target));
                symlink(text, &path)
                    .map_err(|error| tsbuild_sys::Error::io("make link", &path, error))?;
            }
            Kind::Terminals => {
                let place = root.mountpoint(target, true)?;
                // Some kernels forbid it: those around us do as well.
                if mount::mount_terminals(&place).is_err() {
                    mount::bind_tree(
                        Path::new("/dev/pts"),
                        place.as_fd(),
                        Bound { read_only: false, devices: true },
                    )?;
                }
            }
        }
    }
    Ok(())
}

fn parse(mut words: impl Iterator<Item = OsString>) -> Option<Plan> {
    let mut plan = Plan::default();
    while let Some(word) = words.next() {
        let mut path = || words.next().map(PathBuf::from);
        match word.as_bytes() {
            b"--root" => plan.root = path()?,
            b"--host-name" => plan.host_name = words.next(),
            b"--keep-capabilities" => {
                let text = words.next()?.into_string().ok()?;
                let numbers = text.split(',').filter(|part| !part.is_empty()).map(str::parse);
                plan.keep = Some(numbers.collect::<Result<_, _>>().ok()?);
            }
            kind @ (b"--bind" | b"--ro-bind" | b"--device") => {
                let bound = Bound { read_only: kind == b"--ro-bind", devices: kind == b"--device" };
                let source = path()?;
                plan.mounts.push((path()?, Kind::Bind(source, bound)));
            }
            b"--tmpfs" => {
                let mode = u32::from_str_radix(words.next()?.to_str()?, 8).ok()?;
                let size: u64 = number(words.next()?.as_os_str())?;
                let size_bytes = (size > 0).then_some(size);
                let target = words.next()?.into();
                plan.mounts.push((target, Kind::Tmpfs { mode, size_bytes, read_only: false }));
            }
            b"--read-only-tmpfs" => {
                let kind = Kind::Tmpfs { mode: 0o755, size_bytes: None, read_only: true };
                plan.mounts.push((path()?, kind));
            }
            b"--link" => {
                let text = words.next()?;
                plan.mounts.push((words.next()?.into(), Kind::Link(text)));
            }
            b"--terminals" => plan.mounts.push((path()?, Kind::Terminals)),
            _ => return None,
        }
    }
    (!plan.root.as_os_str().is_empty()).then_some(plan)
}

fn number(word: &OsStr) -> Option<u64> {
    word.to_str()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_become_a_plan_in_order() {
        let plan = |text: &str| parse(text.split(' ').map(OsString::from));
        let found = plan(
            "--root /r --host-name build --keep-capabilities 0,1 --tmpfs 1777 0 /tmp --ro-bind /a /b",
        )
        .expect("it can be read");
        assert_eq!(found.keep.as_deref(), Some(&[0, 1][..]));
        assert!(matches!(
            found.mounts[..],
            [
                (_, Kind::Tmpfs { mode: 0o1777, size_bytes: None, read_only: false }),
                (_, Kind::Bind(_, Bound { read_only: true, devices: false }))
            ]
        ));
        for wrong in
            ["--bind /a /b", "--root /r --bind /a", "--root /r --tmpfs 8 0 /t", "--root /r x"]
        {
            assert!(plan(wrong).is_none(), "{wrong}");
        }
    }
}
