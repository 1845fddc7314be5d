//! Filters do what their rules say: run by a small interpreter of the instructions, and loaded into the kernel by `tsbuild-sys`'s
//! tests.

use tsbuild_seccomp::{Action, Arch, Condition, Error, Filter, Instruction, Rule, Test};

const ALLOW: u32 = 0x7fff_0000;
const NOTIFY: u32 = 0x7fc0_0000;
const KILL: u32 = 0x8000_0000;

fn errno(number: u32) -> u32 {
    0x0005_0000 | number
}

/// What the kernel's machine does, for the instructions that filters here have.
fn run(program: &[Instruction], arch: u32, number: u32, arguments: [u64; 6]) -> u32 {
    let mut data = Vec::new();
    data.extend(number.to_le_bytes());
    data.extend(arch.to_le_bytes());
    data.extend(0_u64.to_le_bytes());
    arguments.iter().for_each(|argument| data.extend(argument.to_le_bytes()));
    let (mut accumulator, mut at) = (0_u32, 0_usize);
    loop {
        let Instruction { code, jt, jf, k } = program[at];
        at += 1;
        let branch = |holds: bool| usize::from(if holds { jt } else { jf });
        match code {
            0x20 => {
                let place = k as usize;
                accumulator = u32::from_le_bytes(data[place..place + 4].try_into().unwrap());
            }
            0x54 => accumulator &= k,
            0x05 => at += k as usize,
            0x15 => at += branch(accumulator == k),
            0x25 => at += branch(accumulator > k),
            0x35 => at += branch(accumulator >= k),
            0x06 => return k,
            other => panic!("instruction {other:#x}"),
        }
    }
}

fn call(program: &[Instruction], arch: Arch, name: &str, arguments: [u64; 6]) -> u32 {
    run(program, arch.audit_value(), arch.number(name).unwrap(), arguments)
}

const NONE: [u64; 6] = [0; 6];

#[test]
fn calls_have_the_fate_of_their_rule_on_every_architecture() {
    let mut filter = Filter::new(Action::Allow, Action::KillProcess);
    filter.architecture(Arch::X86_64).architecture(Arch::I386).architecture(Arch::Aarch64);
    filter.rule(Rule::new("chown", Action::Notify)).unwrap();
    filter.rule(Rule::new("fchownat", Action::Notify)).unwrap();
    filter.rule(Rule::new("ptrace", Action::Errno(1))).unwrap();
    filter.rule(Rule::new("mount", Action::Errno(1)).only(Arch::I386)).unwrap();
    let program = filter.compile().unwrap();
    for arch in [Arch::X86_64, Arch::I386, Arch::Aarch64] {
        assert_eq!(call(&program, arch, "fchownat", NONE), NOTIFY, "{arch:?}");
        assert_eq!(call(&program, arch, "ptrace", NONE), errno(1), "{arch:?}");
        assert_eq!(call(&program, arch, "read", NONE), ALLOW, "{arch:?}");
        assert_eq!(run(&program, arch.audit_value(), u32::MAX, NONE), ALLOW, "{arch:?}");
    }
    assert_eq!(call(&program, Arch::X86_64, "chown", NONE), NOTIFY);
    assert_eq!(Arch::Aarch64.number("chown"), None);
    assert_eq!(call(&program, Arch::I386, "mount", NONE), errno(1));
    assert_eq!(call(&program, Arch::X86_64, "mount", NONE), ALLOW);
}

#[test]
fn other_architectures_and_x32_are_foreign() {
    let mut filter = Filter::new(Action::Allow, Action::KillProcess);
    filter.architecture(Arch::X86_64);
    let program = filter.compile().unwrap();
    assert_eq!(run(&program, Arch::I386.audit_value(), 4, NONE), KILL);
    assert_eq!(run(&program, 0, 4, NONE), KILL);
    for number in [0x4000_0000, 0x4000_005c, 0xffff_fffe] {
        assert_eq!(run(&program, Arch::X86_64.audit_value(), number, NONE), KILL);
    }
    assert_eq!(run(&program, Arch::X86_64.audit_value(), 0x3fff_ffff, NONE), ALLOW);
    // What a tracer makes of a call that it cancels.
    assert_eq!(run(&program, Arch::X86_64.audit_value(), u32::MAX, NONE), ALLOW);
}

#[test]
fn the_first_rule_whose_conditions_all_hold_decides() {
    let mut filter = Filter::new(Action::Errno(38), Action::KillProcess);
    filter.architecture(Arch::X86_64);
    let rule = Rule::new("mknod", Action::Notify).when(Condition::low_bits(1, 0o170000, 0o020000));
    filter.rule(rule.when(Condition::new(2, Test::NotEqual, 0))).unwrap();
    filter
        .rule(Rule::new("mknod", Action::Errno(1)).when(Condition::low_bits(1, 0o170000, 0o060000)))
        .unwrap();
    filter.rule(Rule::new("mknod", Action::Allow)).unwrap();
    let program = filter.compile().unwrap();
    let mknod =
        |mode: u64, device: u64| call(&program, Arch::X86_64, "mknod", [0, mode, device, 0, 0, 0]);
    assert_eq!(mknod(0o020644, 0x103), NOTIFY);
    assert_eq!(mknod(0o020644, 1 << 40), NOTIFY);
    assert_eq!(mknod(0o020644, 0), ALLOW);
    assert_eq!(mknod(0o060644, 0), errno(1));
    assert_eq!(mknod(0o010644, 0x103), ALLOW);
    // The kernel does not look at the upper half of a mode.
    assert_eq!(mknod(0xdead_beef_0000_21a4, 0x103), NOTIFY);
    assert_eq!(call(&program, Arch::X86_64, "read", NONE), errno(38));
}

#[test]
fn arguments_are_compared_in_all_their_bits() {
    let values = [
        0,
        1,
        2,
        0x7fff_ffff,
        0xffff_ffff,
        0x1_0000_0000,
        0x1_0000_0001,
        0x2_0000_0000,
        u64::MAX - 1,
        u64::MAX,
    ];
    let tests = [
        Test::Equal,
        Test::NotEqual,
        Test::Greater,
        Test::GreaterOrEqual,
        Test::Less,
        Test::LessOrEqual,
    ];
    for mask in [u64::MAX, 0xffff_ffff, 0x1_0000_0001, 0xffff_0000_0000_0000] {
        for test in tests {
            for value in values {
                let mut filter = Filter::new(Action::Allow, Action::KillProcess);
                filter.architecture(Arch::Aarch64);
                let condition = Condition { argument: 5, mask, test, value };
                // Twice, so that a jump over a second one is tried.
                let rule = Rule::new("read", Action::Errno(1)).when(condition);
                filter.rule(rule.when(Condition { argument: 4, ..condition })).unwrap();
                let program = filter.compile().unwrap();
                for left in values {
                    for right in values {
                        let holds = |argument: u64| {
                            let argument = argument & mask;
                            match test {
                                Test::Equal => argument == value,
                                Test::NotEqual => argument != value,
                                Test::Greater => argument > value,
                                Test::GreaterOrEqual => argument >= value,
                                Test::Less => argument < value,
                                Test::LessOrEqual => argument <= value,
                            }
                        };
                        let expected = if holds(left) && holds(right) { errno(1) } else { ALLOW };
                        let found =
                            call(&program, Arch::Aarch64, "read", [0, 0, 0, 0, right, left]);
                        assert_eq!(
                            found, expected,
                            "{left:#x} {right:#x} & {mask:#x} {test:?} {value:#x}"
                        );
                    }
                }
            }
        }
    }
}

#[test]
fn long_tables_jump_far() {
    let names = [
        "read", "open", "stat", "mmap", "ioctl", "socket", "clone", "fcntl", "chmod", "ptrace",
        "syslog", "mknod", "sync", "futex", "openat", "dup3", "setns", "bpf", "statx", "clone3",
        "mseal",
    ];
    let mut filter = Filter::new(Action::Errno(38), Action::KillProcess);
    filter.architecture(Arch::X86_64).architecture(Arch::I386);
    for (index, name) in names.iter().enumerate() {
        for value in 0..8 {
            let action = Action::Errno(100 + (index * 8 + value) as u16);
            let condition = Condition::new(0, Test::Equal, value as u64);
            filter.rule(Rule::new(*name, action).when(condition)).unwrap();
        }
    }
    let program = filter.compile().unwrap();
    assert!(program.len() > 1000);
    for arch in [Arch::X86_64, Arch::I386] {
        for (index, name) in names.iter().enumerate() {
            for value in 0..8 {
                let expected = errno(100 + (index * 8 + value) as u32);
                assert_eq!(call(&program, arch, name, [value as u64, 0, 0, 0, 0, 0]), expected);
            }
            assert_eq!(call(&program, arch, name, [8, 0, 0, 0, 0, 0]), errno(38));
        }
    }
}

#[test]
fn what_cannot_be_is_said() {
    let mut filter = Filter::new(Action::Allow, Action::Allow);
    assert_eq!(
        filter.rule(Rule::new("frobnicate", Action::Allow)).unwrap_err(),
        Error::UnknownCall("frobnicate".into())
    );
    let rule = Rule::new("read", Action::Allow).when(Condition::low_bits(6, 1, 1));
    assert_eq!(filter.rule(rule).unwrap_err(), Error::BadArgument("read".into()));
    filter.architecture(Arch::X86_64);
    for value in 0..2000 {
        let condition = Condition::new(0, Test::Equal, value);
        filter.rule(Rule::new("read", Action::Errno(1)).when(condition)).unwrap();
    }
    assert_eq!(filter.compile().unwrap_err(), Error::TooLong);
}

#[test]
fn the_table_of_numbers_is_sorted_and_agrees_with_this_machine() {
    let native = Arch::native().unwrap();
    assert_eq!(Arch::of_audit_value(native.audit_value()), Some(native));
    let expected = if native == Arch::X86_64 { [0, 260, 332] } else { [63, 54, 291] };
    let names = ["read", "fchownat", "statx"];
    assert_eq!(names.map(|name| native.number(name).unwrap()), expected);
    // Found by halving.
    for name in ["_llseek", "accept", "write", "writev", "set_tls", "clone3", "userfaultfd"] {
        assert!(tsbuild_seccomp::is_known(name), "{name}");
    }
}

#[test]
fn calls_that_the_tables_do_not_know_can_have_a_fate_of_their_own() {
    let mut filter = Filter::new(Action::Allow, Action::KillProcess);
    filter.beyond(Action::Errno(38));
    for arch in [Arch::X86_64, Arch::I386, Arch::Aarch64, Arch::Arm] {
        filter.architecture(arch);
    }
    for rule in ["file_setattr", "cacheflush", "mount"] {
        filter.rule(Rule::new(rule, Action::Errno(1))).unwrap();
    }
    let program = filter.compile().unwrap();
    for arch in [Arch::X86_64, Arch::I386, Arch::Aarch64, Arch::Arm] {
        let newest = arch.newest();
        let of = |number| run(&program, arch.audit_value(), number, NONE);
        assert_eq!((newest, of(newest), of(newest - 1)), (469, errno(1), ALLOW), "{arch:?}");
        assert_eq!(call(&program, arch, "mount", NONE), errno(1), "{arch:?}");
        for number in [newest + 1, 0xe_ffff, 0x0f00_0000] {
            let own = arch == Arch::Arm && number > 0xf_0000;
            assert_eq!(of(number), if own { ALLOW } else { errno(38) }, "{arch:?} {number}");
        }
        assert_eq!(of(u32::MAX), ALLOW, "{arch:?}");
    }
    assert_eq!(call(&program, Arch::Arm, "cacheflush", NONE), errno(1));
    assert_eq!(call(&program, Arch::Arm, "set_tls", NONE), ALLOW);
    assert_eq!(run(&program, Arch::X86_64.audit_value(), 0x4000_0000, NONE), KILL);
}
