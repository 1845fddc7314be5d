//! Steps under the recorder, by the launcher as pid 1 starts them: hostile ones harm nobody but themselves, and none hangs. The
//! step's program is this test's own, told by a variable what to do.

use std::{
    fs,
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::fs::{MetadataExt, symlink},
    },
    path::PathBuf,
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use rustix::{
    fs::{AtFlags, CWD, Gid, Mode, OFlags, Uid},
    io::Errno,
};
use tsbuild_owners::{Owners, Record};
use tsbuild_recorder::{Credentials, Recorded, Session};
use tsbuild_sys::{seccomp, socket};

const CASE: &str = "TSBUILD_TEST_STEP";

struct Done {
    recorded: Recorded,
    status: String,
    output: String,
    owners: Owners,
}

struct Step {
    directory: PathBuf,
}

impl Drop for Step {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.directory);
    }
}

impl Step {
    /// `None` where this process may not do what the worker may, which has a user namespace of its own or is root.
    fn new(name: &str) -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            return None;
        }
        let directory =
            std::env::temp_dir().join(format!("tsbuild-recorded-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&directory);
        fs::create_dir_all(directory.join("root")).unwrap();
        Some(Self { directory })
    }

    fn root(&self) -> PathBuf {
        self.directory.join("root")
    }

    /// Runs one of the cases below as the program of a step whose working directory is the root.
    fn run(&self, case: &str, user: Credentials) -> Done {
        let test = std::env::current_exe().unwrap();
        let argv = [test.to_str().unwrap(), "--exact", "as_the_step", "--nocapture", "--quiet"];
        let variable = format!("{CASE}={case}");
        self.start(&argv, &[&variable], user, |_| {})
    }

    fn start(
        &self,
        argv: &[&str],
        environment: &[&str],
        user: Credentials,
        meanwhile: impl FnOnce(u32),
    ) -> Done {
        let (near, far) = socket::pair().unwrap();
        let cwd = format!("cwd={}", self.root().display());
        let count = argv.len().to_string();
        let mut words = vec![&*cwd, "owners=recorded", "", &count];
        words.extend(argv);
        words.extend(environment);
        let spec: String = words.iter().map(|word| format!("{word}\0")).collect();
        let file = |name: &str| self.directory.join(name);
        fs::write(file("spec"), spec).unwrap();
        rustix::io::fcntl_setfd(&far, rustix::io::FdFlags::empty()).unwrap();
        let script = format!("exec \"$0\" step 6<&{} 3>status 4<spec", far.as_raw_fd());
        let child = Command::new("bash")
            .args(["-c", &script, env!("CARGO_BIN_EXE_tsbuild-launcher")])
            .current_dir(&self.directory)
            .stdin(Stdio::null())
            .stdout(fs::File::create(file("output")).unwrap())
            .stderr(Stdio::inherit())
            .spawn();
        rustix::io::fcntl_setfd(&far, rustix::io::FdFlags::CLOEXEC).unwrap();
        let mut child = child.unwrap();
        let session = Session {
            root: self.root(),
            changes: self.root(),
            owners: file("owners"),
            mounted: Vec::new(),
            trees: Vec::new(),
            user: Some(user),
        };
        let recording = thread::spawn(move || session.run(&near));
        meanwhile(child.id());
        child.wait().unwrap();
        drop(far);
        let recorded = recording.join().unwrap().unwrap();
        Done {
            recorded,
            status: fs::read_to_string(file("status")).unwrap().trim().to_owned(),
            output: fs::read_to_string(file("output")).unwrap(),
            owners: Owners::read(&file("owners")).unwrap(),
        }
    }
}

fn root() -> Credentials {
    Credentials::new(0, 0, vec![])
}

fn chown(path: &str, id: u32) -> Result<(), Errno> {
    let (uid, gid) = (Some(Uid::from_raw(id)), Some(Gid::from_raw(id)));
    rustix::fs::chownat(CWD, path, uid, gid, AtFlags::SYMLINK_NOFOLLOW)
}

fn owner(path: &str) -> u32 {
    rustix::fs::statat(CWD, path, AtFlags::SYMLINK_NOFOLLOW).unwrap().st_uid
}

/// Not a test: what the steps of the tests do.
#[test]
fn as_the_step() {
    let Ok(case) = std::env::var(CASE) else { return };
    match case.as_str() {
        "chroot" => in_a_root_of_its_own(),
        "threads" => many_threads(),
        "listener" => a_listener_of_its_own(),
        "races" => races(),
        "pointers" => bad_pointers(),
        "closing" => {
            // Nothing of the recorder is open here.
            tsbuild_sys::process::close_from(3);
            chown_new("a", 1);
        }
        "threads-that-go" => {
            for _ in 0..200 {
                thread::spawn(|| chown("/proc/self/nothing", 1).is_err());
            }
        }
        "limits" => {
            // A session that sets its limits anew is still the same user.
            let limits = rustix::process::getrlimit(rustix::process::Resource::Rttime);
            assert_eq!((limits.current, limits.maximum), (None, None));
            rustix::process::setrlimit(rustix::process::Resource::Rttime, limits).unwrap();
            assert_eq!(rustix::process::getuid().as_raw(), 1000);
        }
        other => panic!("no case '{other}'"),
    }
    println!("done {case}");
}

fn chown_new(path: &str, id: u32) {
    fs::write(path, "").unwrap();
    chown(path, id).unwrap();
    assert_eq!(owner(path), id);
}

fn in_a_root_of_its_own() {
    chown_new("outer", 5);
    fs::create_dir_all("jail/dir").unwrap();
    fs::write("jail/file", "").unwrap();
    symlink("/file", "jail/dir/link").unwrap();
    symlink("../../../../outer", "jail/dir/out").unwrap();
    rustix::process::chroot("jail").unwrap();
    rustix::process::chdir("/dir").unwrap();
    // Absolute links and `..` end at the process's own root.
    let follow = AtFlags::empty();
    let ids = |id| (Some(Uid::from_raw(id)), Some(Gid::from_raw(id)));
    let (uid, gid) = ids(6);
    rustix::fs::chownat(CWD, "link", uid, gid, follow).unwrap();
    assert_eq!(owner("/file"), 6);
    assert_eq!(rustix::fs::chownat(CWD, "out", uid, gid, follow), Err(Errno::NOENT));
    assert_eq!(owner("../../../../file"), 6);
}

fn many_threads() {
    let threads: Vec<_> = (0..500)
        .map(|number| {
            thread::Builder::new().stack_size(64 * 1024).spawn(move || {
                let name = format!("t{number}");
                for id in [1, 2, 3, 1000 + number] {
                    fs::write(&name, "").unwrap();
                    chown(&name, id).unwrap();
                    assert_eq!(owner(&name), id);
                }
            })
        })
        .collect();
    for thread in threads {
        thread.unwrap().join().unwrap();
    }
}

fn a_listener_of_its_own() {
    let program = tsbuild_recorder::recording().unwrap();
    let refused = seccomp::install_with_listener(&program).unwrap_err();
    assert_eq!(refused.raw_os_error(), Some(Errno::BUSY.raw_os_error()));
    // A filter without one is fine, and cannot undo the other.
    seccomp::install(&tsbuild_recorder::pretending().unwrap()).unwrap();
    fs::write("pretended", "").unwrap();
    chown("pretended", 9).unwrap();
}

/// A name that is now a file of the root, now a link to one outside.
fn races() {
    fs::write("inside", "").unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let swapper = {
        let stop = Arc::clone(&stop);
        thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                let _ = fs::remove_file("swap");
                let _ = symlink("../victim", "swap");
                let _ = fs::remove_file("swap");
                let _ = fs::hard_link("inside", "swap");
            }
        })
    };
    for _ in 0..2000 {
        let _ = chown("swap", 7);
        let flags = OFlags::CREATE | OFlags::WRONLY | OFlags::NOFOLLOW;
        let _ = rustix::fs::open("swap", flags, Mode::RUSR);
    }
    stop.store(true, Ordering::Relaxed);
    swapper.join().unwrap();
    let _ = fs::remove_file("swap");
}

fn bad_pointers() {
    let long = "x".repeat(5000);
    assert_eq!(chown(&long, 1), Err(Errno::NAMETOOLONG));
    assert_eq!(chown("", 1), Err(Errno::NOENT));
    assert_eq!(chown("none/../none", 1), Err(Errno::NOENT));
    fs::write("plain", "").unwrap();
    assert_eq!(chown("plain/x", 1), Err(Errno::NOTDIR));
    symlink("loop", "loop").unwrap();
    let (uid, gid) = (Some(Uid::from_raw(1)), Some(Gid::from_raw(1)));
    assert_eq!(rustix::fs::chownat(CWD, "loop", uid, gid, AtFlags::empty()), Err(Errno::LOOP));
    assert_eq!(rustix::fs::mkdirat(CWD, "plain", Mode::RWXU), Err(Errno::EXIST));
}

#[test]
fn a_root_of_its_own_holds_for_the_recorder_too() {
    let Some(step) = Step::new("chroot") else { return };
    fs::write(step.directory.join("outer"), "").unwrap();
    let done = step.run("chroot", root());
    assert!(done.output.contains("done chroot"), "{} {}", done.status, done.output);
    assert_eq!(done.owners.get(b"outer"), Some(&Record::owner(5, 5)));
    assert_eq!(done.owners.get(b"jail/file"), Some(&Record::owner(6, 6)));
    assert_eq!(done.owners.len(), 2);
}

#[test]
fn five_hundred_threads_are_answered() {
    let Some(step) = Step::new("threads") else { return };
    let done = step.run("threads", root());
    assert!(done.output.contains("done threads"), "{} {}", done.status, done.output);
    assert_eq!(done.owners.len(), 500);
    assert_eq!(done.owners.get(b"t499"), Some(&Record::owner(1499, 1499)));
    assert!(done.recorded.calls > 4000);
}

#[test]
fn threads_that_end_in_the_middle_of_a_call_hold_nobody_up() {
    let Some(step) = Step::new("going") else { return };
    let done = step.run("threads-that-go", root());
    assert!(done.output.contains("done threads-that-go"), "{} {}", done.status, done.output);
}

#[test]
fn another_listener_is_refused_and_filters_of_its_own_only_hurt_the_step() {
    let Some(step) = Step::new("listener") else { return };
    let done = step.run("listener", root());
    assert!(done.output.contains("done listener"), "{} {}", done.status, done.output);
    assert!(done.owners.is_empty());
}

#[test]
fn races_lead_nowhere_else() {
    let Some(step) = Step::new("races") else { return };
    fs::write(step.directory.join("victim"), "").unwrap();
    let before = fs::metadata(step.directory.join("victim")).unwrap();
    let done = step.run("races", root());
    assert!(done.output.contains("done races"), "{} {}", done.status, done.output);
    let after = fs::metadata(step.directory.join("victim")).unwrap();
    assert_eq!((before.uid(), before.ctime_nsec()), (after.uid(), after.ctime_nsec()));
    assert!(done.owners.iter().all(|(path, _)| path == b"inside" || path == b"swap"));
}

#[test]
fn errors_are_the_kernels() {
    let Some(step) = Step::new("pointers") else { return };
    let done = step.run("pointers", Credentials::new(0, 5, vec![]));
    assert!(done.output.contains("done pointers"), "{} {}", done.status, done.output);
}

#[test]
fn what_a_step_closes_is_not_the_recorders() {
    let Some(step) = Step::new("closing") else { return };
    let done = step.run("closing", root());
    assert!(done.output.contains("done closing"), "{} {}", done.status, done.output);
    assert_eq!(done.owners.get(b"a"), Some(&Record::owner(1, 1)));
}

#[test]
fn limits_that_are_set_anew_leave_the_user() {
    let Some(step) = Step::new("limits") else { return };
    let done = step.run("limits", Credentials::new(1000, 1000, vec![]));
    assert!(done.output.contains("done limits"), "{} {}", done.status, done.output);
}

#[test]
fn a_step_that_is_killed_ends_its_recorder() {
    let Some(step) = Step::new("killed") else { return };
    let script = "while :; do echo > f; chown 5:5 f; done";
    let done = step.start(&["/bin/sh", "-c", script], &["PATH=/usr/bin:/bin"], root(), |pid| {
        thread::sleep(Duration::from_millis(300));
        kill_tree(pid as i32);
    });
    assert_eq!(done.status, "");
    assert_eq!(done.owners.get(b"f"), Some(&Record::owner(5, 5)));
}

/// What the end of a pid namespace does.
fn kill_tree(pid: i32) {
    let path = format!("/proc/{pid}/task/{pid}/children");
    let children = fs::read_to_string(path).unwrap_or_default();
    tsbuild_sys::process::kill(pid, 9);
    for child in children.split_whitespace() {
        kill_tree(child.parse().unwrap());
    }
}

/// Whoever supervises a step may go before it: what would be heard of fails then, and the step ends.
#[test]
fn a_step_without_its_recorder_fails_and_ends() {
    let Some(step) = Step::new("orphan") else { return };
    let (near, far) = socket::pair().unwrap();
    rustix::io::fcntl_setfd(&far, rustix::io::FdFlags::empty()).unwrap();
    let script = "echo > f; chown 5:5 f";
    let words = ["owners=recorded", "", "3", "/bin/sh", "-c", script];
    let spec: String = words.iter().map(|word| format!("{word}\0")).collect();
    fs::write(step.directory.join("spec"), spec).unwrap();
    let script = format!("exec \"$0\" step 6<&{} 3>status 4<spec", far.as_raw_fd());
    let child = Command::new("bash")
        .args(["-c", &script, env!("CARGO_BIN_EXE_tsbuild-launcher")])
        .current_dir(&step.directory)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    drop(far);
    let received: (u8, Option<OwnedFd>) =
        socket::receive(std::os::fd::AsFd::as_fd(&near)).unwrap().unwrap();
    drop(received);
    child.wait_with_output().unwrap();
    let status = fs::read_to_string(step.directory.join("status")).unwrap();
    assert!(status.starts_with("{\"exit\":") && !status.contains(":0}"), "{status}");
}
