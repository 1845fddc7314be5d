//! Seccomp filters as programs for the kernel's classic BPF machine (seccomp(2), `linux/seccomp.h`, `linux/bpf_common.h`):
//! a table of rules becomes instructions. Pure logic; installing is `tsbuild_sys::seccomp`.
//!
//! ```
//! use tsbuild_seccomp::{Action, Arch, Condition, Filter, Rule};
//!
//! let mut filter = Filter::new(Action::Allow, Action::Errno(38));
//! filter.architecture(Arch::X86_64);
//! filter.rule(Rule::new("ptrace", Action::Errno(1)))?;
//! filter.rule(Rule::new("socket", Action::Errno(97)).when(Condition::low_bits(0, u32::MAX, 40)))?;
//! let program = filter.compile()?;
//! assert!(program.len() < 40);
//! # Ok::<(), tsbuild_seccomp::Error>(())
//! ```

mod compile;
mod numbers;

use std::fmt;

/// One instruction: `struct sock_filter`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct Instruction {
    /// What to do.
    pub code: u16,
    /// Instructions to skip where the test holds.
    pub jt: u8,
    /// Instructions to skip where it does not.
    pub jf: u8,
    /// Operand.
    pub k: u32,
}

/// How a process calls the kernel: one machine has several.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Arch {
    /// 64-bit x86. Calls of the x32 ABI, which come under the same name, are foreign.
    X86_64,
    /// 32-bit programs on x86.
    I386,
    /// 64-bit Arm.
    Aarch64,
    /// 32-bit programs on Arm.
    Arm,
}

impl Arch {
    /// Of this very program; `None` on a machine that is not covered.
    pub fn native() -> Option<Self> {
        if cfg!(target_arch = "x86_64") {
            Some(Self::X86_64)
        } else if cfg!(target_arch = "aarch64") {
            Some(Self::Aarch64)
        } else {
            None
        }
    }

    /// The one for 32-bit programs on the same machine.
    pub fn compat(self) -> Option<Self> {
        match self {
            Self::X86_64 => Some(Self::I386),
            Self::Aarch64 => Some(Self::Arm),
            Self::I386 | Self::Arm => None,
        }
    }

    /// `AUDIT_ARCH_*`, as in `seccomp_data.arch`.
    pub fn audit_value(self) -> u32 {
        match self {
            Self::X86_64 => 0xc000_003e,
            Self::I386 => 0x4000_0003,
            Self::Aarch64 => 0xc000_00b7,
            Self::Arm => 0x4000_0028,
        }
    }

    /// From `seccomp_data.arch`.
    pub fn of_audit_value(value: u32) -> Option<Self> {
        [Self::X86_64, Self::I386, Self::Aarch64, Self::Arm]
            .into_iter()
            .find(|arch| arch.audit_value() == value)
    }

    /// Of a system call by its name; `None` where this architecture does not have it.
    pub fn number(self, name: &str) -> Option<u32> {
        let index = numbers::NUMBERS.binary_search_by(|row| row.0.cmp(name)).ok()?;
        let (_, x86_64, i386, aarch64, arm) = numbers::NUMBERS[index];
        u32::try_from(match self {
            Self::X86_64 => x86_64,
            Self::I386 => i386,
            Self::Aarch64 => aarch64,
            Self::Arm => arm,
        })
        .ok()
    }
}

impl Arch {
    /// The highest number that the table has for it, but for those of Arm's own, which are far above.
    pub fn newest(self) -> u32 {
        let numbers = numbers::NUMBERS.iter().filter_map(|row| self.number(row.0));
        numbers.filter(|number| *number < compile::ARM_OWN).max().unwrap_or(0)
    }
}

/// Whether any architecture has a system call of this name. A profile that was written for all may name others.
pub fn is_known(name: &str) -> bool {
    numbers::NUMBERS.binary_search_by(|row| row.0.cmp(name)).is_ok()
}

/// What becomes of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// It happens.
    Allow,
    /// It fails; with 0 it seems to have succeeded.
    Errno(u16),
    /// The supervisor that holds the filter's listener answers.
    Notify,
    /// SIGSYS.
    Trap,
    /// The process ends.
    KillProcess,
    /// It happens, and is logged by the kernel.
    Log,
}

impl Action {
    /// `SECCOMP_RET_*` with its data.
    fn value(self) -> u32 {
        match self {
            Self::Allow => 0x7fff_0000,
            Self::Errno(errno) => 0x0005_0000 | u32::from(errno),
            Self::Notify => 0x7fc0_0000,
            Self::Trap => 0x0003_0000,
            Self::KillProcess => 0x8000_0000,
            Self::Log => 0x7ffc_0000,
        }
    }
}

/// How an argument is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Test {
    /// The same.
    Equal,
    /// Another.
    NotEqual,
    /// Unsigned.
    Greater,
    /// Unsigned.
    GreaterOrEqual,
    /// Unsigned.
    Less,
    /// Unsigned.
    LessOrEqual,
}

/// On one argument of a call. Pointers can be compared only as numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Condition {
    /// From 0 to 5.
    pub argument: u8,
    /// What of it counts.
    pub mask: u64,
    /// How.
    pub test: Test,
    /// With what.
    pub value: u64,
}

impl Condition {
    /// All 64 bits. The kernel ignores the upper half of what is an `int` in its declaration, and a program may put anything
    /// there: use [`Condition::low_bits`] for those.
    pub fn new(argument: u8, test: Test, value: u64) -> Self {
        Self { argument, mask: u64::MAX, test, value }
    }

    /// Some of the lower 32 bits are as in `value`.
    pub fn low_bits(argument: u8, mask: u32, value: u32) -> Self {
        Self { argument, mask: u64::from(mask), test: Test::Equal, value: u64::from(value) }
    }

    /// Any of these bits is set.
    pub fn any_bit(argument: u8, mask: u32) -> Self {
        Self { argument, mask: u64::from(mask), test: Test::NotEqual, value: 0 }
    }
}

/// What becomes of one system call, if all conditions hold. The first rule that fits decides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    name: String,
    conditions: Vec<Condition>,
    action: Action,
    only: Option<Arch>,
}

impl Rule {
    /// Without conditions, on every architecture that has the call.
    pub fn new(name: impl Into<String>, action: Action) -> Self {
        Self { name: name.into(), conditions: Vec::new(), action, only: None }
    }

    /// One more condition; all must hold.
    #[must_use]
    pub fn when(mut self, condition: Condition) -> Self {
        self.conditions.push(condition);
        self
    }

    /// On this architecture only.
    #[must_use]
    pub fn only(mut self, arch: Arch) -> Self {
        self.only = Some(arch);
        self
    }
}

/// A filter that is being put together.
#[derive(Debug, Clone)]
pub struct Filter {
    default: Action,
    foreign: Action,
    beyond: Option<Action>,
    architectures: Vec<Arch>,
    rules: Vec<Rule>,
}

impl Filter {
    /// `default` is for calls without a rule that fits, `foreign` for all calls of an architecture that is not covered,
    /// x32 among them.
    pub fn new(default: Action, foreign: Action) -> Self {
        Self { default, foreign, beyond: None, architectures: Vec::new(), rules: Vec::new() }
    }

    /// What becomes of calls that are newer than [`Arch::newest`]. Without it they are calls without a rule.
    pub fn beyond(&mut self, action: Action) -> &mut Self {
        self.beyond = Some(action);
        self
    }

    /// Covers one more architecture. Those that are called most should come first.
    pub fn architecture(&mut self, arch: Arch) -> &mut Self {
        if !self.architectures.contains(&arch) {
            self.architectures.push(arch);
        }
        self
    }

    /// Covers the machine's own and, if it has one, its 32-bit architecture.
    pub fn native_architectures(&mut self) -> &mut Self {
        if let Some(native) = Arch::native() {
            self.architecture(native);
            native.compat().map(|compat| self.architecture(compat));
        }
        self
    }

    /// Adds a rule after those that there are.
    ///
    /// # Errors
    /// [`Error::UnknownCall`], [`Error::BadArgument`].
    pub fn rule(&mut self, rule: Rule) -> Result<&mut Self, Error> {
        if !is_known(&rule.name) {
            return Err(Error::UnknownCall(rule.name));
        }
        if rule.conditions.iter().any(|condition| condition.argument > 5) {
            return Err(Error::BadArgument(rule.name));
        }
        self.rules.push(rule);
        Ok(self)
    }

    /// The program.
    ///
    /// # Errors
    /// [`Error::TooLong`].
    pub fn compile(&self) -> Result<Vec<Instruction>, Error> {
        compile::compile(self)
    }
}

/// Why there is no program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Error {
    /// No architecture has a system call of that name.
    UnknownCall(String),
    /// A system call has six arguments, from 0 to 5.
    BadArgument(String),
    /// The kernel takes 4096 instructions, and conditions of one rule may jump over 255.
    TooLong,
}

impl fmt::Display for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownCall(name) => write!(formatter, "there is no system call '{name}'"),
            Self::BadArgument(name) => {
                write!(formatter, "a rule for '{name}' is about an argument beyond the sixth")
            }
            Self::TooLong => formatter.write_str("the filter is longer than what the kernel takes"),
        }
    }
}

impl std::error::Error for Error {}
