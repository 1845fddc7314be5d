//! The filters that a step runs under: one tells the recorder, the other only pretends.

use tsbuild_seccomp::{Action, Arch, Condition, Error, Filter, Instruction, Rule};

use crate::calls::{MAKES_A_FILE, REAL_TIME, SET_KEEP_CAPABILITIES, heard};

const ENOSYS: u16 = 38;
const S_IFMT: u32 = 0o170_000;
const S_IFCHR: u32 = 0o020_000;
const S_IFBLK: u32 = 0o060_000;

/// What nobody needs and would go past the recorder: calls that a ring makes in the kernel's name, and attributes by descriptors
/// (6.13), for which every program has another way.
const WITHOUT: [&str; 5] =
    ["io_uring_setup", "setxattrat", "getxattrat", "listxattrat", "removexattrat"];

/// Everything that has to do with owners goes to the listener.
///
/// # Errors
/// Never for the rules that are in here.
pub fn recording() -> Result<Vec<Instruction>, Error> {
    let mut filter = begin();
    for arch in architectures() {
        for name in heard(arch) {
            let rule = Rule::new(name, Action::Notify).only(arch);
            // Opening is most of what programs do; it matters where it makes files.
            filter.rule(match name {
                "open" => rule.when(Condition::any_bit(1, MAKES_A_FILE)),
                "prctl" => rule.when(Condition::low_bits(0, u32::MAX, SET_KEEP_CAPABILITIES)),
                "setrlimit" | "getrlimit" | "ugetrlimit" => {
                    rule.when(Condition::low_bits(0, u32::MAX, REAL_TIME))
                }
                "prlimit64" => rule.when(Condition::low_bits(1, u32::MAX, REAL_TIME)),
                "openat" => rule.when(Condition::any_bit(2, MAKES_A_FILE)),
                _ => rule,
            })?;
        }
    }
    for name in WITHOUT {
        filter.rule(Rule::new(name, Action::Errno(ENOSYS)))?;
    }
    filter.compile()
}

/// Where ids are real, and only devices cannot be made.
///
/// # Errors
/// Never for the rules that are in here.
pub fn recording_devices() -> Result<Vec<Instruction>, Error> {
    let mut filter = begin();
    add_devices(&mut filter, Action::Notify)?;
    filter.compile()
}

/// Where a filter above has the only listener: what needs other ids seems to succeed, and does nothing.
///
/// # Errors
/// Never for the rules that are in here.
pub fn pretending() -> Result<Vec<Instruction>, Error> {
    let mut filter = begin();
    let owners = ["chown", "lchown", "fchown", "chown32", "lchown32", "fchown32", "fchownat"];
    let users = ["setuid", "setreuid", "setresuid", "setfsuid"];
    let groups = ["setgid", "setregid", "setresgid", "setfsgid", "setgroups"];
    for name in owners.into_iter().chain(users).chain(groups) {
        filter.rule(Rule::new(name, Action::Errno(0)))?;
    }
    for name in users.into_iter().chain(groups) {
        filter.rule(Rule::new(format!("{name}32"), Action::Errno(0)))?;
    }
    add_devices(&mut filter, Action::Errno(0))?;
    filter.compile()
}

fn add_devices(filter: &mut Filter, action: Action) -> Result<(), Error> {
    for (name, mode) in [("mknod", 1), ("mknodat", 2)] {
        // A character device 0:0 is a whiteout, which may be made.
        let device = Condition::any_bit(mode + 1, u32::MAX);
        let character = Condition::low_bits(mode, S_IFMT, S_IFCHR);
        filter.rule(Rule::new(name, action).when(character).when(device))?;
        let block = Condition::low_bits(mode, S_IFMT, S_IFBLK);
        filter.rule(Rule::new(name, action).when(block))?;
    }
    Ok(())
}

/// A 32-bit program calls by other numbers; the x32 ABI, which hardly any kernel has, is refused.
fn begin() -> Filter {
    let mut filter = Filter::new(Action::Allow, Action::Errno(ENOSYS));
    filter.native_architectures();
    filter
}

fn architectures() -> impl Iterator<Item = Arch> {
    let native = Arch::native();
    native.into_iter().chain(native.and_then(Arch::compat))
}
