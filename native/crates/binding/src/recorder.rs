//! `crates/recorder` for JavaScript.

use std::os::fd::{AsRawFd, OwnedFd};

use napi::{Env, Result, bindgen_prelude::Object};
use napi_derive::napi;
use tsbuild_recorder::{Credentials, Recorded, Session};
use tsbuild_sys as sys;

use crate::{error::Failure, fs::path_of, work::promise};

#[napi(object)]
pub struct MountedOwner {
    pub path: String,
    pub uid: u32,
    pub gid: u32,
}

#[napi(object)]
pub struct MountedTree {
    pub root: String,
    pub owners: String,
}

#[napi(object)]
pub struct RecorderOptions {
    pub root: String,
    pub changes: String,
    pub owners: String,
    pub mounted: Vec<MountedOwner>,
    pub trees: Vec<MountedTree>,
    pub user: Option<RecordedUser>,
}

#[napi(object)]
pub struct RecordedUser {
    pub uid: u32,
    pub gid: u32,
    pub groups: Vec<u32>,
}

#[napi(object)]
pub struct RecorderResult {
    pub listened: bool,
    pub calls: f64,
}

impl From<Recorded> for RecorderResult {
    fn from(recorded: Recorded) -> Self {
        Self { listened: recorded.listened, calls: recorded.calls as f64 }
    }
}

/// Two ends of a socket: one for the thread that records, one for the step.
#[napi]
pub struct Recorder {
    near: Option<OwnedFd>,
    far: Option<OwnedFd>,
}

fn failed(error: std::io::Error) -> napi::Error {
    Failure::from(sys::Error::io("make a socket for", "the step", error)).into()
}

#[napi]
impl Recorder {
    #[napi(constructor)]
    pub fn new() -> Result<Self> {
        let (near, far) = sys::socket::pair().map_err(failed)?;
        Ok(Self { near: Some(near), far: Some(far) })
    }

    /// The step's end; -1 after `close`.
    #[napi(getter)]
    pub fn fd(&self) -> i32 {
        self.far.as_ref().map_or(-1, AsRawFd::as_raw_fd)
    }

    /// Once. Resolves when nobody is left at the other end and no process of the step is.
    #[napi(ts_return_type = "Promise<RecorderResult>")]
    pub fn record<'env>(
        &mut self,
        env: &'env Env,
        options: RecorderOptions,
    ) -> Result<Object<'env>> {
        let near =
            self.near.take().ok_or_else(|| failed(std::io::ErrorKind::NotConnected.into()))?;
        let path = |text: String| path_of(napi::Either::A(text));
        let session = Session {
            root: path(options.root),
            changes: path(options.changes),
            owners: path(options.owners),
            mounted: options
                .mounted
                .into_iter()
                .map(|MountedOwner { path: text, uid, gid }| (path(text), uid, gid))
                .collect(),
            trees: options
                .trees
                .into_iter()
                .map(|MountedTree { root, owners }| (path(root), path(owners)))
                .collect(),
            user: options
                .user
                .map(|RecordedUser { uid, gid, groups }| Credentials::new(uid, gid, groups)),
        };
        promise(env, move || session.run(&near).map_err(Failure::from), RecorderResult::from)
    }

    /// Our copy of the step's end, which has it by now, or never will.
    #[napi]
    pub fn close(&mut self) {
        self.far = None;
    }
}

/// Why owners cannot be recorded here; null where they can.
#[napi]
pub fn probe_recorder() -> Option<String> {
    tsbuild_recorder::probe().err().map(|error| error.to_string())
}
