//! Makes the namespaces that the worker lives in and starts it there; and, inside a sandbox, starts the step.
//!
//! ```text
//! tsbuild-launcher [--isolation auto|privileged|subordinate-ids|single-id|chroot] [--parent PID] [--probe] -- PROGRAM ARGUMENT…
//! tsbuild-launcher enter OPTION… -- PROGRAM ARGUMENT…
//! tsbuild-launcher step
//! tsbuild-launcher enclose PROGRAM ARGUMENT…
//! tsbuild-launcher close-devices ROOT
//! tsbuild-launcher chroot …
//! ```
//!
//! The first form becomes the worker's ancestor: `launcher ── init (pid 1 of a new pid namespace) ── worker`. Each of them
//! is killed when its parent dies, so that nothing survives the front, whatever kills it. Standard input and output
//! belong to the worker. A failure is one line of JSON on standard error, and status 125.
//!
//! The second form starts the program that makes a step's sandbox, in the control group and the network that the step gets and on the
//! mounts that it sees; see `enter.rs`. The third is pid 1 of that sandbox; see `step.rs`. The program is linked statically, because there it
//! runs on a root filesystem that may hold nothing. The fourth starts an OCI runtime, which runs the fifth; see `enclose.rs`. The last
//! makes a sandbox itself; see `chroot.rs`.

mod chroot;
mod descendants;
mod enclose;
mod enter;
mod id_map;
mod json;
mod mounts;
mod namespaces;
mod owners;
mod step;
mod streams;

use std::{
    ffi::{CString, OsString},
    os::unix::ffi::{OsStrExt, OsStringExt},
    process::exit,
};

use namespaces::{Failure, Isolation};

/// As `env`, `nice` and Docker: the tool itself failed.
const STATUS_FAILED: i32 = 125;

fn main() {
    let mut arguments = std::env::args_os().skip(1);
    let first = arguments.next();
    if first.as_deref().is_some_and(|word| word == "step") {
        exit(step::run());
    }
    if first.as_deref().is_some_and(|word| word == "enclose") {
        eprintln!("tsbuild-launcher: {}", enclose::run(arguments));
        exit(STATUS_FAILED);
    }
    if first.as_deref().is_some_and(|word| word == "close-devices") {
        if let Err(message) = enclose::close_devices(arguments) {
            eprintln!("tsbuild-launcher: {message}");
            exit(STATUS_FAILED);
        }
        return;
    }
    if first.as_deref().is_some_and(|word| word == "chroot") {
        exit(chroot::run(arguments));
    }
    if first.as_deref().is_some_and(|word| word == "enter") {
        exit(enter::run(arguments));
    }
    let options = match parse(first.into_iter().chain(arguments)) {
        Ok(options) => options,
        Err(message) => {
            eprintln!("tsbuild-launcher: {message}");
            exit(2);
        }
    };
    match namespaces::launch(&options) {
        Ok(status) => exit(status),
        Err(failure) => {
            eprintln!("{}", failure.to_json());
            exit(STATUS_FAILED);
        }
    }
}

/// What the command line asks for.
pub struct Options {
    isolation: Isolation,
    parent: Option<i32>,
    probe: bool,
    argv: Vec<CString>,
}

fn parse(mut words: impl Iterator<Item = OsString>) -> Result<Options, String> {
    let mut options =
        Options { isolation: Isolation::Auto, parent: None, probe: false, argv: Vec::new() };
    while let Some(word) = words.next() {
        match word.as_bytes() {
            b"--probe" => options.probe = true,
            b"--isolation" => {
                let value = words.next().unwrap_or_default();
                options.isolation = Isolation::parse(value.as_bytes())
                    .ok_or_else(|| format!("unknown isolation '{}'", value.display()))?;
            }
            b"--parent" => {
                let value = words.next().unwrap_or_default();
                options.parent = Some(
                    value
                        .to_string_lossy()
                        .parse()
                        .map_err(|_| "--parent needs a pid".to_owned())?,
                );
            }
            b"--" => {
                options.argv = words
                    .map(|word| {
                        CString::new(word.into_vec())
                            .map_err(|_| "a zero byte in an argument".to_owned())
                    })
                    .collect::<Result<_, _>>()?;
                break;
            }
            _ => return Err(format!("unknown option '{}'", word.display())),
        }
    }
    if options.argv.is_empty() && !options.probe {
        return Err("no program given".into());
    }
    Ok(options)
}

impl Failure {
    fn to_json(&self) -> String {
        let mut fields = vec![
            ("code", Some(self.code)),
            ("message", Some(&self.message)),
            ("hint", self.hint.as_deref()),
        ];
        fields.push(("errno", self.errno.as_deref()));
        json::object(&fields)
    }
}
