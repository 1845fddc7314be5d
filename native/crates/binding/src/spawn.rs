//! `sys::spawn` for JavaScript.

use std::{ffi::CString, os::fd::IntoRawFd};

use napi::{Either, Env, Result, bindgen_prelude::Object};
use napi_derive::napi;
use tsbuild_sys::{
    self as sys,
    process::{self, Ended},
    spawn::Stream,
};

use crate::{error::Failure, work::promise};

#[napi(object)]
pub struct EndedProgram {
    pub status: Option<i32>,
    pub signal: Option<String>,
}

/// On the JavaScript thread, so that nobody there kills somebody else by its number.
fn reap(pid: i32) -> EndedProgram {
    match process::wait(pid) {
        Ok((_, Ended::Exited(status))) => EndedProgram { status: Some(status), signal: None },
        Ok((_, Ended::Signalled(signal))) => {
            EndedProgram { status: None, signal: Some(process::signal_name(signal)) }
        }
        Err(_) => EndedProgram { status: None, signal: None },
    }
}

#[napi(object)]
pub struct SpawnedProgram {
    pub pid: i32,
    /// -1 where there is no pipe.
    pub ends: Vec<i32>,
}

fn failed(program: &str, error: std::io::Error) -> napi::Error {
    Failure::from(sys::Error::io("start", program, error)).into()
}

/// `streams`: `null`, `read`, `write` (what we do with a pipe), or a descriptor of ours.
#[napi]
pub fn spawn_program(
    argv: Vec<String>,
    environment: Vec<String>,
    streams: Vec<Either<String, i32>>,
) -> Result<SpawnedProgram> {
    let program = argv.first().cloned().unwrap_or_default();
    let strings = |texts: Vec<String>| {
        texts
            .into_iter()
            .map(CString::new)
            .collect::<std::result::Result<Vec<_>, _>>()
            .map_err(|_| failed(&program, std::io::ErrorKind::InvalidInput.into()))
    };
    let streams: Vec<_> = streams
        .into_iter()
        .map(|stream| match stream {
            Either::A(word) if word == "read" => Stream::ToUs,
            Either::A(word) if word == "write" => Stream::FromUs,
            Either::A(_) => Stream::Null,
            Either::B(fd) => Stream::Same(fd),
        })
        .collect();
    let spawned = sys::spawn::spawn(&strings(argv)?, &strings(environment)?, &streams)
        .map_err(|error| failed(&program, error))?;
    let ends = spawned.ends.into_iter().map(|end| end.map_or(-1, IntoRawFd::into_raw_fd));
    Ok(SpawnedProgram { pid: spawned.pid, ends: ends.collect() })
}

/// Once, of a program that [`spawn_program`] started.
#[napi(ts_return_type = "Promise<EndedProgram>")]
pub fn program_end(env: &Env, pid: i32) -> Result<Object<'_>> {
    promise(
        env,
        move || {
            process::wait_until_ended(pid)
                .map(|()| pid)
                .map_err(|error| Failure::from(sys::Error::io("wait for", pid.to_string(), error)))
        },
        reap,
    )
}
