//! `crates/seccomp` for JavaScript.

use napi::{Error, Result, Status, bindgen_prelude::Buffer};
use napi_derive::napi;
use tsbuild_seccomp::{Action, Condition, Filter, Rule, Test};
use tsbuild_sys as sys;

#[napi(object)]
pub struct SeccompAction {
    pub kind: String,
    pub errno: Option<u16>,
}

#[napi(object)]
pub struct SeccompCondition {
    pub argument: u8,
    pub mask: String,
    pub test: String,
    pub value: String,
}

#[napi(object)]
pub struct SeccompRule {
    pub name: String,
    pub conditions: Vec<SeccompCondition>,
    pub action: SeccompAction,
}

#[napi(object)]
pub struct SeccompFilter {
    pub otherwise: SeccompAction,
    pub foreign: SeccompAction,
    pub beyond: SeccompAction,
    pub rules: Vec<SeccompRule>,
}

fn bad(what: impl std::fmt::Display) -> Error {
    Error::new(Status::InvalidArg, what.to_string())
}

fn action_of(action: &SeccompAction) -> Result<Action> {
    match (action.kind.as_str(), action.errno) {
        ("allow", None) => Ok(Action::Allow),
        ("errno", Some(errno)) => Ok(Action::Errno(errno)),
        ("trap", None) => Ok(Action::Trap),
        ("kill", None) => Ok(Action::KillProcess),
        ("log", None) => Ok(Action::Log),
        (kind, _) => Err(bad(format!("no action '{kind}'"))),
    }
}

fn condition_of(condition: &SeccompCondition) -> Result<Condition> {
    let number = |text: &str| text.parse::<u64>().map_err(bad);
    let test = match condition.test.as_str() {
        "equal" => Test::Equal,
        "not-equal" => Test::NotEqual,
        "greater" => Test::Greater,
        "greater-or-equal" => Test::GreaterOrEqual,
        "less" => Test::Less,
        "less-or-equal" => Test::LessOrEqual,
        other => return Err(bad(format!("no test '{other}'"))),
    };
    Ok(Condition {
        argument: condition.argument,
        mask: number(&condition.mask)?,
        test,
        value: number(&condition.value)?,
    })
}

/// Rules for calls that no architecture has are left out.
#[napi]
pub fn seccomp_program(options: SeccompFilter) -> Result<Buffer> {
    let mut filter = Filter::new(action_of(&options.otherwise)?, action_of(&options.foreign)?);
    filter.beyond(action_of(&options.beyond)?);
    filter.native_architectures();
    for given in options.rules.iter().filter(|rule| tsbuild_seccomp::is_known(&rule.name)) {
        let mut rule = Rule::new(&given.name, action_of(&given.action)?);
        for condition in &given.conditions {
            rule = rule.when(condition_of(condition)?);
        }
        filter.rule(rule).map_err(bad)?;
    }
    let program = filter.compile().map_err(bad)?;
    Ok(program
        .iter()
        .flat_map(|it| {
            let [a, b] = it.code.to_be_bytes();
            let [c, d, e, f] = it.k.to_be_bytes();
            [a, b, it.jt, it.jf, c, d, e, f]
        })
        .collect::<Vec<u8>>()
        .into())
}

#[napi(object)]
pub struct Confinement {
    pub seccomp: bool,
    pub scopes: bool,
}

#[napi]
pub fn confinement() -> Confinement {
    Confinement { seccomp: sys::seccomp::is_available(), scopes: sys::landlock::has_scopes() }
}
