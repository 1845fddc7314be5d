//! `sys::hashed_file` for JavaScript. Each call is short, so they share libuv's threads.

use std::sync::{Arc, Mutex, PoisonError};

use napi::{
    Env, Error, Result, Task,
    bindgen_prelude::{AsyncTask, Buffer},
};
use napi_derive::napi;
use tsbuild_sys::hashed_file;

use crate::{
    error::Failure,
    fs::{PathArgument, path_of},
};

/// Nothing once it is closed.
type Shared = Arc<Mutex<Option<hashed_file::HashedFile>>>;

#[napi]
pub struct HashedFile {
    file: Shared,
}

#[napi]
impl HashedFile {
    #[napi(constructor)]
    pub fn new(path: PathArgument, create: bool) -> Result<Self> {
        let file = hashed_file::HashedFile::open(&path_of(path), create).map_err(fail)?;
        Ok(Self { file: Arc::new(Mutex::new(Some(file))) })
    }

    #[napi]
    pub fn take_in(&self) -> AsyncTask<Call> {
        self.call(Work::TakeIn)
    }

    #[napi]
    pub fn append(&self, bytes: Buffer) -> AsyncTask<Call> {
        self.call(Work::Append(bytes))
    }

    #[napi]
    pub fn restart(&self) -> AsyncTask<Call> {
        self.call(Work::Restart)
    }

    #[napi]
    pub fn sha256(&self) -> Result<String> {
        let file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(file.as_ref().ok_or_else(closed)?.sha256())
    }

    #[napi]
    pub fn close(&self) {
        *self.file.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

impl HashedFile {
    fn call(&self, work: Work) -> AsyncTask<Call> {
        AsyncTask::new(Call { file: Arc::clone(&self.file), work })
    }
}

enum Work {
    TakeIn,
    Append(Buffer),
    Restart,
}

pub struct Call {
    file: Shared,
    work: Work,
}

impl Task for Call {
    type Output = u64;
    type JsValue = f64;

    fn compute(&mut self) -> Result<u64> {
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let file = file.as_mut().ok_or_else(closed)?;
        match &self.work {
            Work::TakeIn => file.take_in(),
            Work::Append(bytes) => file.append(bytes).map(|()| bytes.len() as u64),
            Work::Restart => file.restart().map(|()| 0),
        }
        .map_err(fail)
    }

    fn resolve(&mut self, _: Env, bytes: u64) -> Result<f64> {
        Ok(bytes as f64)
    }
}

fn fail(error: tsbuild_sys::Error) -> Error {
    Failure::from(error).into()
}

fn closed() -> Error {
    Error::from_reason("the file was closed")
}
