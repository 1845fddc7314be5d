//! Pid 1 of a step's sandbox: becomes the step's user, starts its program, passes its output on, reaps orphans and says
//! exactly how it ended. When it ends, the kernel kills whatever the step left running.
//!
//! What to run comes on descriptor 4, each string ended by a zero byte: settings as `NAME=VALUE`, an empty string, the number of
//! arguments, the arguments, the environment. The settings are `uid`, `gid`, `groups` (supplementary ones, comma-separated; left as they
//! are without it), `capabilities` (`all` where another user than root keeps them, `none` where not even root has
//! any), `cwd`, `umask` in octal, `limits` (`nofile=1024:2048`, comma-separated; -1 is none), `owners` (`recorded`, all or `devices`
//! alone, by the supervisor at the other end of descriptor 6, or `pretended`, where there is one id and no supervisor), `seccomp`
//! (the instructions of a filter, 16 hexadecimal digits each), `scope` (`own` where signals and abstract sockets are to reach what
//! the step has started only, as far as the kernel can do it), `hidden` and `read-only` (paths in `/proc`, comma-separated: covered by
//! nothing, or by themselves; who made the sandbox left us CAP_SYS_ADMIN for that, which is given up before anything is started). With `input=pipe` what comes on standard input goes to the program,
//! with `terminal=80x24` the program has a terminal of so many columns and rows (`streams.rs`).
//! So neither arguments nor environment, which may be secret, show in the list of processes. The outcome is one line of
//! JSON on descriptor 3:
//! `{"exit":N}`, `{"signal":"SIGSEGV"}` or `{"failed":"exec","errno":"ENOENT","detail":"…"}`.

use std::{
    ffi::{CString, OsStr},
    fs::File,
    io::{self, Read, Write},
    os::{fd::OwnedFd, unix::ffi::OsStrExt},
    path::{Path, PathBuf},
};

use tsbuild_seccomp::Instruction;
use tsbuild_sys::{
    error::errno_name,
    landlock, mount,
    process::{self, Ended, Fork},
    seccomp,
    terminal::Size,
};

use crate::{
    descendants, json,
    owners::{self, Owners},
    streams::{self, Input, Theirs},
};

const STATUS_FD: i32 = 3;
const SPEC_FD: i32 = 4;
const DEFAULT_PATH: &[u8] = b"/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

struct Spec {
    uid: u32,
    gid: u32,
    groups: Option<Vec<u32>>,
    capabilities: Capabilities,
    cwd: CString,
    umask: u32,
    limits: Vec<Limit>,
    seccomp: Vec<Instruction>,
    own_scope: bool,
    hidden: Vec<PathBuf>,
    read_only: Vec<PathBuf>,
    input: Input,
    owners: Option<Owners>,
    argv: Vec<CString>,
    environment: Vec<CString>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Capabilities {
    /// Root's are those that we were given; other users have none.
    OfUser,
    All,
    None,
}

/// One of setrlimit(2); `None` is no limit.
struct Limit {
    name: String,
    soft: Option<u64>,
    hard: Option<u64>,
}

/// Runs the step. The status is 0 when the outcome was reported, whatever it is.
pub fn run() -> i32 {
    let (Ok(status), Ok(spec)) = (process::inherited(STATUS_FD), process::inherited(SPEC_FD))
    else {
        eprintln!("tsbuild-launcher: 'step' is for tsbuild's own use");
        return 2;
    };
    // A step that is root has our capabilities; without this it could trace us and take the descriptors over.
    process::forbid_tracing();
    let mut status = File::from(status);
    let outcome = read_spec(spec).and_then(|spec| {
        let supervisor = match spec.owners {
            Some(Owners::Recorded | Owners::Devices) => Some(owners::take_socket()?),
            _ => None,
        };
        // Whatever else somebody above us left open: a directory of the host would be a way out, through `/proc/1/fd`.
        process::close_from(SPEC_FD as u32 + 1 + u32::from(supervisor.is_some()));
        process::close_from_on_exec(3);
        match cover(&spec) {
            Ok(()) => supervise(&spec, supervisor),
            Err((error, what)) => Ok(failed("start", &error, Some(&what))),
        }
    });
    let outcome = outcome.unwrap_or_else(|error| failed("start", &error, None));
    match writeln!(status, "{outcome}") {
        Ok(()) => 0,
        Err(_) => 1,
    }
}

fn failed(stage: &str, error: &io::Error, detail: Option<&str>) -> String {
    let errno = error.raw_os_error().map_or_else(|| "EINVAL".to_owned(), errno_name);
    json::object(&[("failed", Some(stage)), ("errno", Some(&errno)), ("detail", detail)])
}

fn read_spec(fd: OwnedFd) -> io::Result<Spec> {
    let mut bytes = Vec::new();
    File::from(fd).read_to_end(&mut bytes)?;
    let bad = || io::Error::from(io::ErrorKind::InvalidInput);
    if bytes.pop() != Some(0) {
        return Err(bad());
    }
    let mut strings =
        bytes.split(|byte| *byte == 0).map(|part| CString::new(part).expect("split at zero bytes"));
    let mut spec = Spec {
        uid: 0,
        gid: 0,
        groups: None,
        capabilities: Capabilities::OfUser,
        cwd: c"/".to_owned(),
        umask: 0o022,
        limits: Vec::new(),
        seccomp: Vec::new(),
        own_scope: false,
        hidden: Vec::new(),
        read_only: Vec::new(),
        input: Input::None,
        owners: None,
        argv: Vec::new(),
        environment: Vec::new(),
    };
    loop {
        let setting = strings.next().ok_or_else(bad)?.into_string().map_err(|_| bad())?;
        if setting.is_empty() {
            break;
        }
        let (name, value) = setting.split_once('=').ok_or_else(bad)?;
        spec.set(name, value).ok_or_else(bad)?;
    }
    let count = strings.next().ok_or_else(bad)?.into_string().map_err(|_| bad())?;
    let count: usize = count.parse().map_err(|_| bad())?;
    spec.argv = strings.by_ref().take(count).collect();
    if spec.argv.is_empty() || spec.argv.len() != count {
        return Err(bad());
    }
    spec.environment = strings.collect();
    Ok(spec)
}

impl Spec {
    fn set(&mut self, name: &str, value: &str) -> Option<()> {
        match name {
            "uid" => self.uid = value.parse().ok()?,
            "gid" => self.gid = value.parse().ok()?,
            "groups" => {
                self.groups = Some(listed(value).map(str::parse).collect::<Result<_, _>>().ok()?)
            }
            "capabilities" => {
                self.capabilities = match value {
                    "all" => Capabilities::All,
                    "none" => Capabilities::None,
                    _ => return None,
                }
            }
            "owners" => self.owners = Some(Owners::parse(value)?),
            "cwd" => self.cwd = CString::new(value).ok()?,
            "umask" => self.umask = u32::from_str_radix(value, 8).ok()?,
            "input" if value == "pipe" => self.input = Input::Pipe,
            "terminal" => self.input = Input::Terminal(read_size(value)?),
            "limits" => self.limits = listed(value).map(read_limit).collect::<Option<_>>()?,
            "seccomp" => self.seccomp = read_filter(value)?,
            "scope" => self.own_scope = value == "own",
            "hidden" => self.hidden = listed(value).map(PathBuf::from).collect(),
            "read-only" => self.read_only = listed(value).map(PathBuf::from).collect(),
            _ => return None,
        }
        Some(())
    }
}

fn listed(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').filter(|part| !part.is_empty())
}

fn read_limit(part: &str) -> Option<Limit> {
    let (name, values) = part.split_once('=')?;
    let (soft, hard) = values.split_once(':')?;
    let number = |text: &str| if text == "-1" { Some(None) } else { text.parse().ok().map(Some) };
    Some(Limit { name: name.to_owned(), soft: number(soft)?, hard: number(hard)? })
}

/// `code`, `jt`, `jf` and `k` of each, as [`Instruction`] has them.
fn read_filter(text: &str) -> Option<Vec<Instruction>> {
    let digits = text.as_bytes();
    let (instructions, rest) = digits.as_chunks::<16>();
    if !rest.is_empty() {
        return None;
    }
    let read = |digits: &[u8; 16]| {
        let value = u64::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
        Some(Instruction {
            code: (value >> 48) as u16,
            jt: (value >> 40) as u8,
            jf: (value >> 32) as u8,
            k: value as u32,
        })
    };
    instructions.iter().map(read).collect()
}

fn read_size(text: &str) -> Option<Size> {
    let (columns, rows) = text.split_once('x')?;
    Some(Size { columns: columns.parse().ok()?, rows: rows.parse().ok()? })
}

fn supervise(spec: &Spec, supervisor: Option<OwnedFd>) -> io::Result<String> {
    let without_namespace = process::pid() != 1;
    if without_namespace {
        // No pid namespace: whatever the step leaves behind comes to us, and we are asked to end, not killed.
        process::become_subreaper()?;
        process::terminate_with_parent()?;
    }
    let ending = if without_namespace { Some(process::termination_events()?) } else { None };
    process::join_new_keyring();
    process::set_limits();
    process::set_umask(spec.umask);
    be_no_favourite();
    let children = process::child_events()?;
    let (theirs, ours) = match streams::open(spec.input, spec.uid, spec.gid) {
        Ok(ends) => ends,
        Err(error) if matches!(spec.input, Input::Terminal(_)) => {
            return Ok(failed("terminal", &error, None));
        }
        Err(error) => return Err(error),
    };
    let (trouble, trouble_write) = process::pipe()?;
    let pid = match process::fork(0)? {
        Fork::Child => {
            let (stage, error, detail) = become_step(spec, &theirs, supervisor.as_ref());
            let report = failed(stage, &error, detail);
            let _ = File::from(trouble_write).write_all(report.as_bytes());
            process::exit_now(127);
        }
        Fork::Parent(pid) => pid,
    };
    drop((theirs, trouble_write, supervisor));
    let mut report = String::new();
    File::from(trouble).read_to_string(&mut report)?;
    if !report.is_empty() {
        let _ = process::wait(pid);
        return Ok(report);
    }
    let ended = ours.pass_on(pid, &children, ending.as_ref())?;
    if without_namespace {
        descendants::kill_all_but(None);
    }
    let Some(ended) = ended else { process::exit_now(1) };
    Ok(match ended {
        Ended::Exited(status) => format!("{{\"exit\":{status}}}"),
        Ended::Signalled(signal) => {
            json::object(&[("signal", Some(&process::signal_name(signal)))])
        }
    })
}

/// Only what has a procfs of its own has something to cover, and only there pid 1 may: mounts are of the namespace, not of the process.
fn cover(spec: &Spec) -> Result<(), (io::Error, String)> {
    if spec.hidden.is_empty() && spec.read_only.is_empty() {
        return Ok(());
    }
    mount::cover(&spec.hidden, &spec.read_only).map_err(|error| {
        let errno = error.errno.map_or_else(
            || io::Error::from(io::ErrorKind::InvalidInput),
            io::Error::from_raw_os_error,
        );
        (errno, error.to_string())
    })?;
    process::give_up_capability(process::CAP_SYS_ADMIN)
        .map_err(|error| (error, "capabilities".to_owned()))
}

/// A step of a service that is spared when memory runs out is not spared with it: whatever it uses up would cost others their lives.
fn be_no_favourite() {
    const PATH: &str = "/proc/self/oom_score_adj";
    let favoured = std::fs::read_to_string(PATH).is_ok_and(|score| score.starts_with('-'));
    if favoured {
        let _ = std::fs::write(PATH, "0");
    }
}

/// In the child. Returns only with what failed.
fn become_step<'a>(
    spec: &'a Spec,
    theirs: &Theirs,
    supervisor: Option<&OwnedFd>,
) -> (&'static str, io::Error, Option<&'a str>) {
    process::reset_signals();
    if let Err(error) = theirs.install() {
        return ("start", error, None);
    }
    for Limit { name, soft, hard } in &spec.limits {
        if let Err(error) = process::set_limit(name, *soft, *hard) {
            return ("limit", error, Some(name));
        }
    }
    let confined = match spec.capabilities {
        Capabilities::None => process::drop_capabilities(),
        Capabilities::OfUser | Capabilities::All => process::confine_capabilities(),
    };
    if let Err(error) = confined {
        return ("start", error, None);
    }
    if spec.capabilities == Capabilities::All
        && let Err(error) = process::keep_capabilities()
    {
        return ("start", error, None);
    }
    if let Err(error) = process::become_user(spec.uid, spec.gid, spec.groups.as_deref()) {
        return ("user", error, None);
    }
    if spec.capabilities == Capabilities::All
        && let Err(error) = process::pass_on_capabilities()
    {
        return ("start", error, None);
    }
    if process::parent_pid() != 1 {
        // Should whoever ends all the others be killed itself.
        let _ = process::die_with_parent();
    }
    if let Err(error) = std::env::set_current_dir(OsStr::from_bytes(spec.cwd.as_bytes())) {
        return ("cwd", error, None);
    }
    // What comes before must not be taken for the program's; what comes after is nothing that owners have to do with.
    if let Some(owners) = spec.owners
        && let Err(error) = owners.install(supervisor)
    {
        return ("start", error, None);
    }
    // Last, so that nothing of the above has to be allowed. An older kernel lacks the scope, and the documentation says so.
    if spec.own_scope {
        let _ = landlock::confine_to_own_processes();
    }
    if !spec.seccomp.is_empty()
        && let Err(error) = seccomp::install(&spec.seccomp)
    {
        return ("start", error, Some("seccomp"));
    }
    exec_in_path(spec)
}

/// As execvp(3), with the step's own PATH, and without handing what cannot be executed to a shell.
fn exec_in_path(spec: &Spec) -> (&'static str, io::Error, Option<&'static str>) {
    let program = spec.argv[0].as_bytes();
    if program.contains(&b'/') {
        return exec_one(program, spec);
    }
    let path = spec
        .environment
        .iter()
        .find_map(|entry| entry.as_bytes().strip_prefix(b"PATH="))
        .unwrap_or(DEFAULT_PATH);
    let mut reason = ("exec", io::Error::from_raw_os_error(2), None);
    for directory in path.split(|byte| *byte == b':') {
        let directory = if directory.is_empty() { b"." } else { directory };
        let file = [directory, b"/", program].concat();
        let failure = exec_one(&file, spec);
        match failure.1.kind() {
            // The most telling one is kept: found but not executable.
            io::ErrorKind::NotFound if failure.2.is_none() => {}
            io::ErrorKind::NotFound
            | io::ErrorKind::PermissionDenied
            | io::ErrorKind::NotADirectory => {
                if failure.1.kind() != io::ErrorKind::NotADirectory && program_exists(&file) {
                    reason = failure;
                }
            }
            _ => return failure,
        }
    }
    reason
}

fn program_exists(file: &[u8]) -> bool {
    Path::new(OsStr::from_bytes(file)).metadata().is_ok_and(|facts| facts.is_file())
}

fn exec_one(file: &[u8], spec: &Spec) -> (&'static str, io::Error, Option<&'static str>) {
    let error = process::exec(OsStr::from_bytes(file), &spec.argv, &spec.environment);
    let detail =
        (error.kind() == io::ErrorKind::NotFound && program_exists(file)).then_some("interpreter");
    ("exec", error, detail)
}
