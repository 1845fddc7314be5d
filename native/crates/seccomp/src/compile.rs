//! From rules to instructions.
//!
//! The numbers of an architecture's calls are cut into ranges with one fate each, and the right one is found by halving: eight
//! comparisons for some hundred rules. For calls that are allowed whatever their arguments the kernel remembers that (5.11) and
//! does not run the program at all; it understands no more than the loads and jumps that are used here.

use crate::{Action, Arch, Condition, Error, Filter, Instruction, Rule, Test};

// linux/bpf_common.h and linux/filter.h.
const LOAD_WORD: u16 = 0x20;
const AND: u16 = 0x54;
const JUMP: u16 = 0x05;
const JUMP_EQUAL: u16 = 0x15;
const JUMP_GREATER: u16 = 0x25;
const JUMP_GREATER_OR_EQUAL: u16 = 0x35;
const RETURN: u16 = 0x06;

/// `BPF_MAXINSNS`.
const MAX_INSTRUCTIONS: usize = 4096;
// struct seccomp_data.
const NUMBER_OFFSET: u32 = 0;
const ARCH_OFFSET: u32 = 4;
const ARGUMENTS_OFFSET: u32 = 16;

/// Calls of the x32 ABI have this bit in their number.
const X32_BIT: u32 = 0x4000_0000;
/// `__ARM_NR_BASE`, from which on calls are Arm's own.
pub const ARM_OWN: u32 = 0x000f_0000;
/// A tracer has cancelled the call.
const NO_CALL: u32 = u32::MAX;

pub fn compile(filter: &Filter) -> Result<Vec<Instruction>, Error> {
    let mut program = vec![plain(LOAD_WORD, ARCH_OFFSET)];
    for arch in &filter.architectures {
        let mut section = vec![plain(LOAD_WORD, NUMBER_OFFSET)];
        section.extend(search(&ranges(filter, *arch)?)?);
        // The length of a section does not fit into a test's own jump.
        program.push(test(JUMP_EQUAL, arch.audit_value(), 1, 0));
        program.push(plain(JUMP, length(&section)?));
        program.extend(section);
    }
    program.push(plain(RETURN, filter.foreign.value()));
    if program.len() > MAX_INSTRUCTIONS { Err(Error::TooLong) } else { Ok(program) }
}

/// What happens to the calls from this number to the next range's.
struct Range {
    first: u32,
    code: Vec<Instruction>,
}

fn ranges(filter: &Filter, arch: Arch) -> Result<Vec<Range>, Error> {
    let mut by_number: Vec<(u32, Vec<&Rule>)> = Vec::new();
    for rule in &filter.rules {
        let Some(number) = arch.number(&rule.name) else { continue };
        if rule.only.is_some_and(|only| only != arch) {
            continue;
        }
        match by_number.iter_mut().find(|(other, _)| *other == number) {
            Some((_, rules)) => rules.push(rule),
            None => by_number.push((number, vec![rule])),
        }
    }
    by_number.sort_by_key(|(number, _)| *number);
    let newest = arch.newest() + 1;
    let otherwise = |number: u32| {
        let beyond = number >= newest && (arch != Arch::Arm || number < ARM_OWN);
        let action = filter.beyond.filter(|_| beyond).unwrap_or(filter.default);
        vec![plain(RETURN, action.value())]
    };
    let mut ranges = Vec::new();
    let mut next = 0;
    let fill = |ranges: &mut Vec<Range>, from: u32, to: u32| {
        for first in [from, newest, ARM_OWN] {
            if (from..to).contains(&first) {
                append(ranges, first, otherwise(first));
            }
        }
    };
    for (number, rules) in by_number {
        fill(&mut ranges, next, number);
        append(&mut ranges, number, fate(&rules, filter.default)?);
        next = number + 1;
    }
    fill(&mut ranges, next, NO_CALL);
    if arch == Arch::X86_64 {
        append(&mut ranges, X32_BIT, vec![plain(RETURN, filter.foreign.value())]);
    }
    append(&mut ranges, NO_CALL, vec![plain(RETURN, filter.default.value())]);
    Ok(ranges)
}

fn append(ranges: &mut Vec<Range>, first: u32, code: Vec<Instruction>) {
    if ranges.last().is_none_or(|last| last.code != code) {
        ranges.push(Range { first, code });
    }
}

/// The number is loaded.
fn search(ranges: &[Range]) -> Result<Vec<Instruction>, Error> {
    let [_, _, ..] = ranges else {
        return Ok(ranges.first().map(|range| range.code.clone()).unwrap_or_default());
    };
    let (below, above) = ranges.split_at(ranges.len() / 2);
    let first = above[0].first;
    let (below, above) = (search(below)?, search(above)?);
    let mut code = match u8::try_from(below.len()) {
        Ok(skip) => vec![test(JUMP_GREATER_OR_EQUAL, first, skip, 0)],
        Err(_) => {
            vec![test(JUMP_GREATER_OR_EQUAL, first, 0, 1), plain(JUMP, length(&below)?)]
        }
    };
    code.extend(below);
    code.extend(above);
    Ok(code)
}

fn fate(rules: &[&Rule], default: Action) -> Result<Vec<Instruction>, Error> {
    let mut code = Vec::new();
    for rule in rules {
        let tests = all_of(&rule.conditions)?;
        code.extend(tests);
        code.push(plain(RETURN, rule.action.value()));
        if rule.conditions.is_empty() {
            return Ok(code);
        }
    }
    code.push(plain(RETURN, default.value()));
    Ok(code)
}

/// Falls through where all hold; otherwise skips the instruction that follows.
fn all_of(conditions: &[Condition]) -> Result<Vec<Instruction>, Error> {
    // From the last to the first, so that it is known how far the end is.
    let mut after: Vec<Instruction> = Vec::new();
    for condition in conditions.iter().rev() {
        let fails = u8::try_from(after.len() + 1).map_err(|_| Error::TooLong)?;
        let mut code = one(condition, fails)?;
        code.extend(after);
        after = code;
    }
    Ok(after)
}

/// Falls through where it holds; otherwise lands `fails` instructions behind its own end.
fn one(condition: &Condition, fails: u8) -> Result<Vec<Instruction>, Error> {
    let Condition { argument, mask, test: how, value } = *condition;
    let offset = ARGUMENTS_OFFSET + 8 * u32::from(argument);
    let (high_mask, low_mask) = ((mask >> 32) as u32, mask as u32);
    let (high, low) = ((value >> 32) as u32, value as u32);
    let far = |more: u8| fails.checked_add(more).ok_or(Error::TooLong);
    // Little-endian, as all architectures here are.
    let mut code = Vec::new();
    if high_mask != 0 || high != 0 {
        code.extend(load(offset + 4, high_mask));
        let low_part = load(offset, low_mask).len() as u8;
        // What of the upper halves decides leads over the lower ones' test.
        let (holds, not) = (low_part + 1, far(low_part + 1)?);
        match how {
            Test::Equal => code.push(test(JUMP_EQUAL, high, 0, not)),
            Test::NotEqual => code.push(test(JUMP_EQUAL, high, 0, holds)),
            Test::Greater | Test::GreaterOrEqual => {
                code.push(test(JUMP_GREATER, high, holds + 1, 0));
                code.push(test(JUMP_EQUAL, high, 0, not));
            }
            Test::Less | Test::LessOrEqual => {
                code.push(test(JUMP_GREATER, high, far(low_part + 2)?, 0));
                code.push(test(JUMP_EQUAL, high, 0, holds));
            }
        }
    }
    code.extend(load(offset, low_mask));
    code.push(match how {
        Test::Equal => test(JUMP_EQUAL, low, 0, fails),
        Test::NotEqual => test(JUMP_EQUAL, low, fails, 0),
        Test::Greater => test(JUMP_GREATER, low, 0, fails),
        Test::GreaterOrEqual => test(JUMP_GREATER_OR_EQUAL, low, 0, fails),
        Test::Less => test(JUMP_GREATER_OR_EQUAL, low, fails, 0),
        Test::LessOrEqual => test(JUMP_GREATER, low, fails, 0),
    });
    Ok(code)
}

fn load(offset: u32, mask: u32) -> Vec<Instruction> {
    let mut code = vec![plain(LOAD_WORD, offset)];
    if mask != u32::MAX {
        code.push(plain(AND, mask));
    }
    code
}

fn length(code: &[Instruction]) -> Result<u32, Error> {
    u32::try_from(code.len()).map_err(|_| Error::TooLong)
}

fn plain(code: u16, k: u32) -> Instruction {
    Instruction { code, jt: 0, jf: 0, k }
}

fn test(code: u16, k: u32, jt: u8, jf: u8) -> Instruction {
    Instruction { code, jt, jf, k }
}
