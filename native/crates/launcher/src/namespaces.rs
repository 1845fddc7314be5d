//! The namespaces of the worker, found by trying: what the kernel, a container or a policy forbids shows only then.

use std::{
    fs,
    io::{self, Read, Write},
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::Path,
    process::Command,
};

use tsbuild_sys::{
    error::errno_name,
    mount,
    process::{self, Ended, Fork},
};

use crate::{Options, descendants, id_map, json};

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Isolation {
    /// The best that works.
    Auto,
    /// No user namespace: whoever starts us is root.
    Privileged,
    /// A user namespace with subordinate ids.
    SubordinateIds,
    /// A user namespace with one id.
    SingleId,
    /// Without a pid namespace; ids as well as can be.
    Chroot,
}

impl Isolation {
    const ALL: [(Self, &'static str); 5] = [
        (Self::Auto, "auto"),
        (Self::Privileged, "privileged"),
        (Self::SubordinateIds, "subordinate-ids"),
        (Self::SingleId, "single-id"),
        (Self::Chroot, "chroot"),
    ];

    /// From its word.
    pub fn parse(word: &[u8]) -> Option<Self> {
        Self::ALL.iter().find(|(_, name)| name.as_bytes() == word).map(|(one, _)| *one)
    }

    fn word(self) -> &'static str {
        Self::ALL.iter().find(|(one, _)| *one == self).map_or("", |(_, name)| name)
    }

    /// Worse ones may be taken in its place.
    fn yields(self) -> bool {
        matches!(self, Self::Auto | Self::Chroot)
    }
}

/// How the worker becomes root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// It is root already: no user namespace.
    Root,
    /// A user namespace with subordinate ids.
    Multi,
    /// A user namespace with one id.
    Single,
}

impl Mode {
    fn word(self) -> &'static str {
        match self {
            Self::Root => "root",
            Self::Multi => "multi",
            Self::Single => "single",
        }
    }
}

/// Why there is no worker.
pub struct Failure {
    /// `E_USERNS` when nothing works, `E_ISOLATION` when what was asked for does not.
    pub code: &'static str,
    /// What was tried and failed.
    pub message: String,
    /// The one thing to try next.
    pub hint: Option<String>,
    /// Name of the errno.
    pub errno: Option<String>,
}

impl Failure {
    fn new(message: impl Into<String>, error: Option<&io::Error>, hint: Option<String>) -> Self {
        let message: String = message.into();
        Self {
            code: "E_USERNS",
            // As our other errors have it.
            message: error.map_or_else(|| message.clone(), |error| without_number(&message, error)),
            hint,
            errno: error.and_then(io::Error::raw_os_error).map(errno_name),
        }
    }
}

/// `message` without what Rust puts behind the kernel's words.
pub fn without_number(message: &str, error: &io::Error) -> String {
    let number = error.raw_os_error().map(|number| format!(" (os error {number})"));
    message.replace(&number.unwrap_or_default(), "")
}

/// Makes the namespaces and runs the worker in them. Gives the status to exit with.
pub fn launch(options: &Options) -> Result<i32, Failure> {
    let parent = options.parent.unwrap_or_else(process::parent_pid);
    bind_to_parent(parent)?;
    let isolation = options.isolation;
    let mut notes = Vec::new();
    let mode = enter(isolation, &mut notes).map_err(|failure| failure.when(isolation, &notes))?;
    // The change of credentials has cleared it.
    bind_to_parent(parent)?;
    mount::make_private().map_err(|error| {
        let hint = explain_denial(&io::Error::from_raw_os_error(error.errno.unwrap_or(0)));
        let failure = Failure {
            code: "E_USERNS",
            message: error.to_string(),
            hint,
            errno: error.errno_name(),
        };
        failure.when(isolation, &notes)
    })?;
    if isolation == Isolation::Chroot {
        return start_plain(options, mode, &notes);
    }
    match start_init(options, mode, &notes)? {
        Started::Ended(status) => Ok(status),
        Started::NoFreshProc(message, error) => {
            let hint = explain_no_proc(&error);
            if !isolation.yields() {
                let failure = Failure::new(message, Some(&error), Some(hint));
                return Err(failure.when(isolation, &notes));
            }
            notes.push(format!("without a pid namespace: {message}; {hint}"));
            start_plain(options, mode, &notes)
        }
    }
}

fn explain_no_proc(error: &io::Error) -> String {
    match error.raw_os_error().map(errno_name).as_deref() {
        Some("ENOSPC" | "EUSERS") => {
            "no more pid namespaces: raise user.max_pid_namespaces, or nest less deep".into()
        }
        _ => "the container around it masks /proc: start it with --security-opt systempaths=unconfined \
              (Kubernetes: procMount: Unmasked)"
            .into(),
    }
}

impl Failure {
    /// Says what was asked for, and what was tried before.
    fn when(self, isolation: Isolation, notes: &[String]) -> Self {
        let tried = notes.iter().map(|note| format!(" ({note})")).collect::<String>();
        if isolation == Isolation::Auto {
            return Self { message: format!("{}{tried}", self.message), ..self };
        }
        Self {
            code: "E_ISOLATION",
            message: format!(
                "the isolation '{}' does not work here: {}{tried}",
                isolation.word(),
                self.message
            ),
            ..self
        }
    }
}

fn bind_to_parent(parent: i32) -> Result<(), Failure> {
    process::die_with_parent()
        .map_err(|error| Failure::new("cannot ask for the death signal", Some(&error), None))?;
    // Dead already: nobody would send the signal, nobody waits for us.
    if process::parent_pid() != parent {
        process::exit_now(1);
    }
    Ok(())
}

fn enter(wanted: Isolation, notes: &mut Vec<String>) -> Result<Mode, Failure> {
    let (euid, uid, gid) = process::ids();
    if wanted == Isolation::Privileged && euid != 0 {
        return Err(Failure::new(
            format!("the user is {euid} and not root"),
            None,
            Some("leave the isolation to tsbuild, which needs no root: --isolation auto".into()),
        ));
    }
    if wanted == Isolation::Privileged || (wanted.yields() && euid == 0) {
        match process::unshare(process::NEW_MOUNT) {
            Ok(()) => return Ok(Mode::Root),
            Err(error) if wanted == Isolation::Privileged => {
                return Err(Failure::new(
                    format!("cannot make a mount namespace: {error}"),
                    Some(&error),
                    Some("it needs root with CAP_SYS_ADMIN: leave the isolation to tsbuild, or start the container with \
                          --cap-add SYS_ADMIN".into()),
                ));
            }
            Err(_) => notes.push("root without CAP_SYS_ADMIN: a user namespace is used".into()),
        }
    }
    let (uids, gids) = if wanted == Isolation::SingleId {
        (Vec::new(), Vec::new())
    } else {
        id_map::subordinate_ids(uid)
    };
    let helper = if !uids.is_empty() && !gids.is_empty() {
        Some(start_mapper(|target| map_by_programs(target, (uid, &uids), (gid, &gids)))?)
    } else if euid == 0 && wanted != Isolation::SingleId {
        // Root of a container may map all ids that it has, and needs nobody's help.
        Some(start_mapper(map_own_ids)?)
    } else {
        None
    };
    process::unshare(process::NEW_USER).map_err(|error| {
        Failure::new(
            format!("cannot make a user namespace: {error}"),
            Some(&error),
            explain_user_namespace(&error),
        )
    })?;
    let mapped = match helper {
        Some(helper) => helper.finish(),
        None => Err(Unmapped {
            uids: false,
            gids: false,
            reason: "no subordinate ids in /etc/subuid and /etc/subgid".into(),
        }),
    };
    let mode = match mapped {
        Ok(()) => Mode::Multi,
        Err(unmapped) => {
            if wanted == Isolation::SubordinateIds {
                return Err(Failure::new(
                    format!("cannot map subordinate ids: {}", unmapped.reason),
                    None,
                    Some(subuid_hint(uid)),
                ));
            }
            if wanted.yields() {
                notes.push(format!("one user id only: {}", unmapped.reason));
            }
            map_single(uid, gid, &unmapped)?;
            Mode::Single
        }
    };
    process::unshare(process::NEW_MOUNT).map_err(|error| {
        Failure::new(
            format!("cannot make a mount namespace inside the user namespace: {error}"),
            Some(&error),
            explain_denial(&error),
        )
    })?;
    Ok(mode)
}

fn subuid_hint(uid: u32) -> String {
    let name = fs::read_to_string("/etc/passwd")
        .unwrap_or_default()
        .lines()
        .find(|line| line.split(':').nth(2) == Some(&uid.to_string()))
        .and_then(|line| line.split(':').next().map(str::to_owned))
        .unwrap_or_else(|| uid.to_string());
    format!("sudo usermod --add-subuids 100000-165535 --add-subgids 100000-165535 {name}")
}

struct Unmapped {
    uids: bool,
    gids: bool,
    reason: String,
}

/// A process that stays outside and writes the maps, because only outside newuidmap can.
struct Mapper {
    go: OwnedFd,
    answer: OwnedFd,
    pid: i32,
}

type Mapped = [(&'static str, Result<(), String>); 2];

fn start_mapper(map: impl FnOnce(i32) -> Mapped) -> Result<Mapper, Failure> {
    let failed = |error: io::Error| {
        Failure::new(format!("cannot start the mapper: {error}"), Some(&error), None)
    };
    let (go_read, go) = process::pipe().map_err(failed)?;
    let (answer, answer_write) = process::pipe().map_err(failed)?;
    let target = process::pid();
    match process::fork(0).map_err(failed)? {
        Fork::Parent(pid) => Ok(Mapper { go, answer, pid }),
        Fork::Child => {
            drop(go);
            let mut byte = [0];
            let mut answer = fs::File::from(answer_write);
            if fs::File::from(go_read).read_exact(&mut byte).is_err() {
                process::exit_now(0);
            }
            for (letter, result) in map(target) {
                let text = match result {
                    Ok(()) => format!("{letter}\n"),
                    Err(reason) => format!("!{reason}\n"),
                };
                let _ = answer.write_all(text.as_bytes());
            }
            process::exit_now(0);
        }
    }
}

/// The user's own id and the subordinate ones.
type Ids<'a> = (u32, &'a [id_map::Range]);

fn map_by_programs(target: i32, uids: Ids<'_>, gids: Ids<'_>) -> Mapped {
    [("g", "newgidmap", gids), ("u", "newuidmap", uids)].map(|(letter, program, (own, ranges))| {
        (letter, run_mapper(program, target, &id_map::map_arguments(own, ranges)))
    })
}

/// Every id stands for itself.
fn map_own_ids(target: i32) -> Mapped {
    ["gid_map", "uid_map"].map(|file| {
        let result = fs::read_to_string(format!("/proc/self/{file}"))
            .and_then(|text| fs::write(format!("/proc/{target}/{file}"), id_map::identity(&text)))
            .map_err(|error| format!("cannot write {file}: {error}"));
        (&file[..1], result)
    })
}

fn run_mapper(program: &str, target: i32, map: &[String]) -> Result<(), String> {
    let output = Command::new(program)
        .arg(target.to_string())
        .args(map)
        .output()
        .map_err(|error| format!("{program}: {error} (package uidmap)"))?;
    if output.status.success() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&output.stderr);
    let mut reason = format!("{}: {}", program, text.trim().replace('\n', "; "));
    if no_new_privileges() {
        reason.push_str(" (no_new_privs is set, so that setuid programs have no effect)");
    } else if !is_privileged_program(program) {
        reason.push_str(" (it is not setuid root, or lies on a nosuid mount)");
    } else if !process::may_have_capability(CAP_SYS_ADMIN) {
        reason.push_str(" (setuid root is not enough in a container without CAP_SYS_ADMIN)");
    }
    Err(reason)
}

impl Mapper {
    fn finish(self) -> Result<(), Unmapped> {
        let mut text = String::new();
        let sent = fs::File::from(self.go).write_all(b"1");
        let read = fs::File::from(self.answer).read_to_string(&mut text);
        let _ = process::wait(self.pid);
        let (uids, gids) =
            (text.lines().any(|line| line == "u"), text.lines().any(|line| line == "g"));
        if uids && gids {
            return Ok(());
        }
        let reason = text
            .lines()
            .find_map(|line| line.strip_prefix('!'))
            .unwrap_or("the mapper failed")
            .to_owned();
        let _ = (sent, read);
        Err(Unmapped { uids, gids, reason })
    }
}

fn map_single(uid: u32, gid: u32, unmapped: &Unmapped) -> Result<(), Failure> {
    let write = |path: &str, text: String| {
        fs::write(path, text).map_err(|error| {
            Failure::new(
                format!("cannot write {path}: {error}"),
                Some(&error),
                explain_denial(&error),
            )
        })
    };
    if !unmapped.gids {
        write("/proc/self/setgroups", "deny".into())?;
        write("/proc/self/gid_map", format!("0 {gid} 1"))?;
    }
    if !unmapped.uids {
        write("/proc/self/uid_map", format!("0 {uid} 1"))?;
    }
    Ok(())
}

enum Started {
    Ended(i32),
    /// What could not be done, and why.
    NoFreshProc(String, io::Error),
}

/// Pid 1 of a new pid namespace: a fresh /proc, orphans reaped, the worker as a child.
fn start_init(options: &Options, mode: Mode, notes: &[String]) -> Result<Started, Failure> {
    let failed =
        |error: io::Error| Failure::new(format!("cannot make a pipe: {error}"), Some(&error), None);
    let (alive_read, alive) = process::pipe().map_err(failed)?;
    let (answer, answer_write) = process::pipe().map_err(failed)?;
    let pid = match process::fork(process::NEW_PID) {
        Ok(Fork::Parent(pid)) => pid,
        Ok(Fork::Child) => {
            drop((alive, answer));
            process::exit_now(init(options, mode, notes, &alive_read, answer_write));
        }
        Err(error) => {
            return Ok(Started::NoFreshProc(
                format!("cannot make a pid namespace: {error}"),
                error,
            ));
        }
    };
    drop((alive_read, answer_write));
    let mut text = String::new();
    let _ = fs::File::from(answer).read_to_string(&mut text);
    let (_, ended) =
        process::wait(pid).map_err(|error| Failure::new("init is gone", Some(&error), None))?;
    drop(alive);
    if let Some((errno, reason)) = text.strip_prefix('!').and_then(|text| text.split_once(' ')) {
        let error = io::Error::from_raw_os_error(errno.parse().unwrap_or(0));
        return Ok(Started::NoFreshProc(reason.to_owned(), error));
    }
    Ok(Started::Ended(status_of(ended)))
}

fn init(options: &Options, mode: Mode, notes: &[String], alive: &OwnedFd, answer: OwnedFd) -> i32 {
    // From outside of the namespace the signal reaches even pid 1. Our parent's pid is not visible here, so that a pipe
    // tells whether it died before the call.
    if process::die_with_parent().is_err()
        || process::poll_readable(&[alive.as_raw_fd()], 0).is_ok_and(|ready| ready[0])
    {
        return 1;
    }
    if let Err(error) = mount::mount_proc(Path::new("/proc")) {
        let report = format!("!{} {error}", error.errno.unwrap_or(0));
        let _ = fs::File::from(answer).write_all(report.as_bytes());
        return 0;
    }
    drop(answer);
    match start_worker(options, mode, notes, true, 1) {
        Ok(worker) => reap_until(worker, || {}),
        Err(status) => status,
    }
}

/// Without a pid namespace: the worker dies with the launcher. Orphans come to it, left by a sandbox that was killed; nothing
/// else here leaves any.
fn start_plain(options: &Options, mode: Mode, notes: &[String]) -> Result<i32, Failure> {
    let _ = process::become_subreaper();
    Ok(match start_worker(options, mode, notes, false, process::pid()) {
        Ok(worker) => {
            let status = reap_until(worker, || descendants::kill_all_but(Some(worker)));
            descendants::kill_all_but(None);
            status
        }
        Err(status) => status,
    })
}

fn reap_until(worker: i32, on_orphan: impl Fn()) -> i32 {
    loop {
        match process::wait(-1) {
            Ok((pid, ended)) if pid == worker => return status_of(ended),
            Ok(_) => on_orphan(),
            Err(_) => return 1,
        }
    }
}

fn status_of(ended: Ended) -> i32 {
    match ended {
        Ended::Exited(status) => status,
        Ended::Signalled(signal) => 128 + signal,
    }
}

fn start_worker(
    options: &Options,
    mode: Mode,
    notes: &[String],
    pid_namespace: bool,
    parent: i32,
) -> Result<i32, i32> {
    if options.probe {
        println!(
            "{{\"mode\":{},\"pidNamespace\":{pid_namespace},\"notes\":{}}}",
            json::quote(mode.word()),
            json::array(notes)
        );
        return Err(0);
    }
    match process::fork(0) {
        Ok(Fork::Parent(pid)) => Ok(pid),
        Ok(Fork::Child) => {
            let _ = process::die_with_parent();
            if process::parent_pid() != parent {
                process::exit_now(1);
            }
            let mut environment: Vec<_> = std::env::vars_os()
                .filter(|(name, _)| !name.as_bytes().starts_with(b"TSBUILD_LAUNCHER_"))
                .map(|(name, value)| [name.as_bytes(), b"=", value.as_bytes()].concat())
                .collect();
            environment.push(format!("TSBUILD_LAUNCHER_MODE={}", mode.word()).into_bytes());
            environment.push(
                format!("TSBUILD_LAUNCHER_PID_NAMESPACE={}", u8::from(pid_namespace)).into_bytes(),
            );
            environment.push(format!("TSBUILD_LAUNCHER_NOTES={}", json::array(notes)).into_bytes());
            let environment: Vec<_> = environment
                .into_iter()
                .filter_map(|entry| std::ffi::CString::new(entry).ok())
                .collect();
            // What our caller left open is no business of the worker and its steps.
            process::close_from_on_exec(3);
            let program = std::ffi::OsStr::from_bytes(options.argv[0].as_bytes());
            let error = process::exec(program, &options.argv, &environment);
            let failure = Failure::new(
                format!("cannot start '{}': {error}", program.display()),
                Some(&error),
                None,
            );
            eprintln!("{}", failure.to_json());
            process::exit_now(125);
        }
        Err(error) => {
            eprintln!(
                "{}",
                Failure::new(format!("cannot fork: {error}"), Some(&error), None).to_json()
            );
            Err(125)
        }
    }
}

/// The likely reason; only words, what counts was tried.
fn explain_user_namespace(error: &io::Error) -> Option<String> {
    let number =
        |path: &str| fs::read_to_string(path).ok().and_then(|text| text.trim().parse::<u64>().ok());
    let hint = match error.raw_os_error().map(errno_name).as_deref() {
        Some("ENOSPC" | "EUSERS") if number("/proc/sys/user/max_user_namespaces") == Some(0) => {
            "user namespaces are switched off: sudo sysctl user.max_user_namespaces=15000"
        }
        Some("ENOSPC" | "EUSERS") => {
            "too many user namespaces: raise user.max_user_namespaces, or nest less deep"
        }
        Some("EPERM" | "EACCES")
            if number("/proc/sys/kernel/unprivileged_userns_clone") == Some(0) =>
        {
            "sudo sysctl kernel.unprivileged_userns_clone=1"
        }
        Some("EPERM" | "EACCES")
            if number("/proc/sys/kernel/apparmor_restrict_unprivileged_userns") == Some(1) =>
        {
            APPARMOR
        }
        Some("EPERM" | "EACCES") if in_chroot() => "user namespaces cannot be made inside a chroot",
        Some("EPERM" | "EACCES") if has_seccomp() => SECCOMP,
        Some("EINVAL" | "ENOSYS") => "this kernel was built without user namespaces",
        _ => return None,
    };
    Some(hint.to_owned())
}

const CAP_SYS_ADMIN: u32 = 21;
const SECCOMP: &str = "a seccomp filter forbids it: start the container with --security-opt seccomp=unconfined \
                       (Kubernetes: seccompProfile Unconfined), or with a profile that allows unshare and mount";
const APPARMOR: &str = "AppArmor restricts user namespaces: sudo sysctl kernel.apparmor_restrict_unprivileged_userns=0";

/// A user namespace was made, but what it should allow is refused.
fn explain_denial(error: &io::Error) -> Option<String> {
    if !matches!(error.raw_os_error().map(errno_name).as_deref(), Some("EPERM" | "EACCES")) {
        return None;
    }
    if fs::read_to_string("/proc/sys/kernel/apparmor_restrict_unprivileged_userns")
        .is_ok_and(|text| text.trim() == "1")
    {
        return Some(APPARMOR.to_owned());
    }
    if has_seccomp() {
        return Some(SECCOMP.to_owned());
    }
    None
}

fn status_number(field: &str) -> Option<u32> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    status
        .lines()
        .find_map(|line| line.strip_prefix(field)?.trim_start_matches(':').trim().parse().ok())
}

fn has_seccomp() -> bool {
    status_number("Seccomp").is_some_and(|mode| mode != 0)
}

fn no_new_privileges() -> bool {
    status_number("NoNewPrivs") == Some(1)
}

fn in_chroot() -> bool {
    fs::read_to_string("/proc/self/mountinfo")
        .is_ok_and(|text| !text.lines().any(|line| line.split(' ').nth(4) == Some("/")))
}

fn is_privileged_program(program: &str) -> bool {
    use std::os::unix::fs::PermissionsExt;
    std::env::var_os("PATH")
        .unwrap_or_else(|| "/usr/bin:/bin".into())
        .as_bytes()
        .split(|byte| *byte == b':')
        .filter_map(|directory| {
            fs::metadata(Path::new(std::ffi::OsStr::from_bytes(directory)).join(program)).ok()
        })
        // File capabilities do as well, and cannot be told here without reading the attribute.
        .any(|facts| facts.permissions().mode() & 0o4000 != 0)
}
