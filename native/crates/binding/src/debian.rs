//! `crates/debian` for JavaScript.

use napi::{
    Env,
    bindgen_prelude::{Function, Object},
};
use napi_derive::napi;
use tsbuild_debian::{Error, Options, Package, Unpacked};

use crate::{
    cancel::CancelToken,
    error::Failure,
    layer::RecordedOwners,
    work::{Progress, flag, promise},
};

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let code = match &error {
            Error::Io { .. } => "IO",
            Error::BadArchive { .. } => "BAD_ARCHIVE",
            Error::Limit { .. } => "ARCHIVE_LIMIT",
            Error::Digest { .. } => "DIGEST_MISMATCH",
            Error::Conflict { .. } => "FILE_CONFLICT",
            Error::NeedsIds { .. } => "NEEDS_IDS",
            Error::Cancelled => "CANCELLED",
        };
        let path = match &error {
            Error::Io { path, .. }
            | Error::BadArchive { path, .. }
            | Error::Limit { path }
            | Error::Digest { path, .. }
            | Error::Conflict { path, .. }
            | Error::NeedsIds { path, .. } => Some(path.to_string_lossy().into_owned()),
            Error::Cancelled => None,
        };
        Failure { code, errno: error.errno_name(), path, message: error.to_string() }
    }
}

#[napi(object)]
pub struct DebFile {
    pub path: String,
    pub sha256: String,
    pub may_defer: Option<bool>,
}

#[napi(object)]
pub struct UnpackDebsOptions {
    pub root: String,
    pub packages: Vec<DebFile>,
    pub threads: Option<u32>,
    pub owners: Option<RecordedOwners>,
}

#[napi(object)]
pub struct UnpackedDebs {
    pub entry_count: f64,
    pub deferred: Vec<String>,
}

#[napi]
pub fn unpack_debs<'env>(
    env: &'env Env,
    options: UnpackDebsOptions,
    cancel: Option<&CancelToken>,
    progress: Option<Function<'_, f64, ()>>,
) -> napi::Result<Object<'env>> {
    let options = Options {
        root: options.root.into(),
        packages: options
            .packages
            .into_iter()
            .map(|package| Package {
                path: package.path.into(),
                sha256: package.sha256,
                may_defer: package.may_defer.unwrap_or(false),
            })
            .collect(),
        threads: options.threads.unwrap_or(0) as usize,
        owners: options.owners.map(Into::into),
    };
    let (flag, progress) = (flag(cancel), Progress::new(progress)?);
    promise(
        env,
        move || {
            let unpacked = tsbuild_debian::unpack(&options, &flag, &|done| progress.report(done))?;
            progress.finish();
            Ok(unpacked)
        },
        |unpacked: Unpacked| UnpackedDebs {
            entry_count: unpacked.entry_count as f64,
            deferred: unpacked.deferred,
        },
    )
}
