//! A sandbox of a mount namespace and little else, for where a container forbids more: no pid namespace, so that the `/proc`
//! around us is the step's; no other program of the machine is needed.
//!
//! ```text
//! tsbuild-launcher chroot --root DIR [OPTION | MOUNT]…
//!
//!   --host-name NAME            where the machine's own can be kept apart
//!   --keep-capabilities A,B     by number; all of them without it
//! ```
//!
//! Mounts are those of `mounts.rs`. Then this process goes on as `step.rs`, which ends everything that the step leaves: here it is no
//! pid 1 whose end would do it.

use std::{
    ffi::OsString,
    fs,
    io::{self, Write},
    os::unix::ffi::OsStrExt,
};

use tsbuild_sys::{mount, process};

use crate::{mounts::Mounts, namespaces::without_number, step};

/// Where our pid is told, as bubblewrap tells that of its child.
const INFO_FD: i32 = 5;
const STATUS_FAILED: i32 = 125;

#[derive(Default)]
struct Plan {
    host_name: Option<OsString>,
    keep: Option<Vec<u32>>,
    mounts: Mounts,
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
    plan.mounts.make().map_err(|error| error.to_string())?;
    mount::pivot_into(plan.mounts.root()).map_err(|error| error.to_string())?;
    confine(plan.keep.as_deref()).map_err(|error| failed("give up privileges", &error))
}

fn failed(doing: &str, error: &io::Error) -> String {
    without_number(&format!("cannot {doing}: {error}"), error)
}

fn confine(keep: Option<&[u32]>) -> io::Result<()> {
    process::forbid_new_privileges()?;
    keep.map_or(Ok(()), process::limit_capabilities)
}

fn parse(mut words: impl Iterator<Item = OsString>) -> Option<Plan> {
    let mut plan = Plan::default();
    while let Some(word) = words.next() {
        match word.as_bytes() {
            b"--host-name" => plan.host_name = words.next(),
            b"--keep-capabilities" => {
                let text = words.next()?.into_string().ok()?;
                let numbers = text.split(',').filter(|part| !part.is_empty()).map(str::parse);
                plan.keep = Some(numbers.collect::<Result<_, _>>().ok()?);
            }
            _ => {
                if !plan.mounts.take(&word, &mut words)? {
                    return None;
                }
            }
        }
    }
    (!plan.mounts.root().as_os_str().is_empty()).then_some(plan)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_become_a_plan() {
        let plan = |text: &str| parse(text.split(' ').map(OsString::from));
        let found = plan("--root /r --host-name build --keep-capabilities 0,1 --tmpfs 1777 0 /tmp")
            .expect("it can be read");
        assert_eq!(found.keep.as_deref(), Some(&[0, 1][..]));
        assert_eq!(found.host_name.as_deref(), Some("build".as_ref()));
        for wrong in ["--bind /a /b", "--root /r --bind /a", "--root /r x"] {
            assert!(plan(wrong).is_none(), "{wrong}");
        }
    }
}
