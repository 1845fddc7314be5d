//! `crates/sys` for JavaScript.

use std::{
    ffi::OsStr,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
};

use napi::{
    Env, Error, Result, Status,
    bindgen_prelude::{Buffer, Either, Function, Object},
};
use napi_derive::napi;
use tsbuild_owners::{Ledger, Recording};
use tsbuild_sys as sys;

use crate::{
    cancel::CancelToken,
    copy_entries::copy_entries,
    error::Failure,
    layer::RecordedOwners,
    tree_index::NativeTreeIndex,
    work::{Progress, flag, promise},
};

/// A path that may hold bytes that are not UTF-8.
pub(crate) type PathArgument = Either<String, Buffer>;
impl From<sys::Error> for Failure {
    fn from(error: sys::Error) -> Self {
        Self {
            code: error.code,
            errno: error.errno_name(),
            path: error.path.as_ref().map(|path| path.display().to_string()),
            message: error.message,
        }
    }
}

fn fail(error: sys::Error) -> Error {
    Failure::from(error).into()
}

pub(crate) fn path_of(argument: PathArgument) -> PathBuf {
    match argument {
        Either::A(text) => PathBuf::from(text),
        Either::B(bytes) => PathBuf::from(OsStr::from_bytes(&bytes)),
    }
}

pub(crate) fn number_of(text: &str) -> Result<i128> {
    text.parse().map_err(|_| Error::new(Status::InvalidArg, format!("not a number: '{text}'")))
}

#[napi(object)]
pub struct FileFacts {
    pub sha256: String,
    pub size_bytes: f64,
    pub mode: u32,
    pub dev: String,
    pub ino: String,
    pub mtime_ns: String,
    pub ctime_ns: String,
}

impl From<sys::hash::FileFacts> for FileFacts {
    fn from(facts: sys::hash::FileFacts) -> Self {
        Self {
            sha256: facts.sha256,
            size_bytes: facts.size as f64,
            mode: facts.mode,
            dev: facts.dev.to_string(),
            ino: facts.ino.to_string(),
            mtime_ns: facts.mtime_ns.to_string(),
            ctime_ns: facts.ctime_ns.to_string(),
        }
    }
}

#[napi(object)]
pub struct ScanEntry {
    pub path: Buffer,
    pub kind: String,
    pub mode: u32,
    pub size_bytes: f64,
    pub dev: String,
    pub ino: String,
    pub mtime_ns: String,
    pub ctime_ns: String,
    pub link: Option<Buffer>,
}

impl From<sys::scan::ScanEntry> for ScanEntry {
    fn from(entry: sys::scan::ScanEntry) -> Self {
        Self {
            path: entry.path.into(),
            kind: entry.kind.to_owned(),
            mode: entry.mode,
            size_bytes: entry.size as f64,
            dev: entry.dev.to_string(),
            ino: entry.ino.to_string(),
            mtime_ns: entry.mtime_ns.to_string(),
            ctime_ns: entry.ctime_ns.to_string(),
            link: entry.link.map(Buffer::from),
        }
    }
}

#[napi(object)]
pub struct Expectation {
    pub size_bytes: f64,
    pub mtime_ns: String,
    pub ctime_ns: String,
}

impl TryFrom<Expectation> for sys::copy::Expectation {
    type Error = Error;

    fn try_from(expect: Expectation) -> Result<Self> {
        Ok(Self {
            size: expect.size_bytes as u64,
            mtime_ns: number_of(&expect.mtime_ns)?,
            ctime_ns: number_of(&expect.ctime_ns)?,
        })
    }
}

#[napi(object)]
pub struct OverlayMount {
    pub lowers: Vec<String>,
    pub upper: Option<String>,
    pub work: Option<String>,
    pub target: String,
    #[napi(js_name = "userXattr")]
    pub user_xattr: bool,
    pub volatile: Option<bool>,
}

#[napi(ts_return_type = "Promise<FileFacts>")]
pub fn hash_file<'env>(
    env: &'env Env,
    path: String,
    cancel: Option<&CancelToken>,
) -> Result<Object<'env>> {
    let cancel = flag(cancel);
    promise(env, move || Ok(sys::hash::hash_file(Path::new(&path), &cancel)?), FileFacts::from)
}

#[napi(ts_return_type = "Promise<Array<FileFacts>>")]
pub fn hash_files<'env>(
    env: &'env Env,
    paths: Vec<PathArgument>,
    cancel: Option<&CancelToken>,
) -> Result<Object<'env>> {
    let cancel = flag(cancel);
    let paths: Vec<PathBuf> = paths.into_iter().map(path_of).collect();
    promise(
        env,
        move || Ok(sys::hash::hash_files(&paths, &cancel)?),
        |facts| facts.into_iter().map(FileFacts::from).collect::<Vec<_>>(),
    )
}

#[napi(ts_return_type = "Promise<Array<ScanEntry>>")]
pub fn scan_tree<'env>(
    env: &'env Env,
    root: String,
    cancel: Option<&CancelToken>,
) -> Result<Object<'env>> {
    let cancel = flag(cancel);
    promise(
        env,
        move || Ok(sys::scan::scan_tree(Path::new(&root), &cancel)?),
        |entries| entries.into_iter().map(ScanEntry::from).collect::<Vec<_>>(),
    )
}

#[napi]
pub fn sha256_of_text(text: String) -> String {
    sys::hash::sha256_hex(text.as_bytes())
}

#[napi]
pub fn sha256_of_bytes(bytes: &[u8]) -> String {
    sys::hash::sha256_hex(bytes)
}

#[napi]
pub fn random_hex(bytes: u32) -> String {
    sys::random::random_hex(bytes as usize)
}

#[napi]
pub fn exit_now(status: i32) {
    sys::exit::exit_now(status)
}

/// JSON, because V8 parses twenty thousand rows several times faster than Node-API makes that many objects.
#[napi(ts_return_type = "Promise<string>")]
pub fn scan_directories<'env>(
    env: &'env Env,
    root: String,
    directories: Vec<Buffer>,
    cancel: Option<&CancelToken>,
) -> Result<Object<'env>> {
    let cancel = flag(cancel);
    let directories: Vec<Vec<u8>> = directories.iter().map(|path| path.to_vec()).collect();
    promise(
        env,
        move || {
            let listings = sys::scan::scan_directories(Path::new(&root), &directories, &cancel)?;
            Ok(sys::scan_json::listings_json(&listings))
        },
        |json| json,
    )
}

#[napi(object)]
pub struct CopyOptions {
    pub root: String,
    pub upper: Option<String>,
    pub source_root: Option<String>,
    pub entries: Buffer,
    pub strict: Option<bool>,
    pub owners: Option<RecordedOwners>,
    pub source_owners: Option<String>,
}

#[napi(object)]
pub struct Copied {
    pub size_bytes: f64,
    pub recorded_devices: f64,
}

#[napi(ts_return_type = "Promise<Copied>")]
pub fn copy_into<'env>(
    env: &'env Env,
    options: CopyOptions,
    cancel: Option<&CancelToken>,
    progress: Option<Function<'_, f64, ()>>,
    index: Option<&NativeTreeIndex>,
) -> Result<Object<'env>> {
    let cancel = flag(cancel);
    let progress = Progress::new(progress)?;
    // Taken apart on the other thread.
    let entries = options.entries.to_vec();
    let index = index.map(NativeTreeIndex::shared);
    let mut options = sys::copy::CopyOptions {
        root: options.root.into(),
        upper: options.upper.map(PathBuf::from),
        source_root: options.source_root.map(PathBuf::from),
        entries: Vec::new(),
        strict: options.strict.unwrap_or(false),
        owners: options.owners.map(Recording::from),
        source_owners: options.source_owners.map(PathBuf::from),
    };
    promise(
        env,
        move || {
            options.entries = copy_entries(&entries, index.as_deref())?;
            let result = sys::copy::copy_into(&options, &cancel, &mut |done| progress.report(done));
            progress.finish();
            Ok(result?)
        },
        |copied: sys::copy::Copied| Copied {
            size_bytes: copied.bytes as f64,
            recorded_devices: copied.recorded_devices as f64,
        },
    )
}

#[napi]
pub fn mkdir_in_root(root: String, path: String, mode: u32, uid: u32, gid: u32) -> Result<()> {
    sys::root::Root::open(Path::new(&root))
        .and_then(|root| root.make_directories(Path::new(&path), mode, uid, gid))
        .map(drop)
        .map_err(fail)
}

#[napi(object)]
pub struct NewDirectory {
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub mtime_ns: Option<String>,
    pub owners: Option<RecordedOwners>,
}

#[napi]
pub fn make_directories(root: String, path: PathArgument, like: NewDirectory) -> Result<()> {
    let new = sys::root::NewDirectory {
        mode: like.mode,
        uid: like.uid,
        gid: like.gid,
        mtime_ns: like.mtime_ns.as_deref().map(number_of).transpose()?,
    };
    let recording = like.owners.map(Recording::from);
    with_ledger(recording.as_ref(), |ledger| {
        sys::root::Root::open(Path::new(&root))?
            .make_directories_alike(&path_of(path), new, ledger)
            .map(drop)
    })
    .map_err(fail)
}

/// What was recorded is written when all went well.
fn with_ledger<T>(
    recording: Option<&Recording>,
    work: impl FnOnce(Option<&mut Ledger>) -> sys::Result<T>,
) -> sys::Result<T> {
    let mut ledger = recording.map(Ledger::open).transpose()?;
    let done = work(ledger.as_mut())?;
    if let Some(ledger) = ledger {
        ledger.close()?;
    }
    Ok(done)
}

#[napi(ts_return_type = "Promise<Buffer>")]
pub fn read_in_root<'env>(
    env: &'env Env,
    root: String,
    path: String,
    max_bytes: f64,
) -> Result<Object<'env>> {
    promise(
        env,
        move || {
            let root = sys::root::Root::open(Path::new(&root))?;
            Ok(root.read(Path::new(&path), max_bytes as u64)?)
        },
        Buffer::from,
    )
}

#[napi]
pub fn stat_in_root(root: String, path: String) -> Result<Either<ScanEntry, ()>> {
    let root = sys::root::Root::open(Path::new(&root)).map_err(fail)?;
    let found = root.stat(Path::new(&path)).map_err(fail)?;
    Ok(found.map_or(Either::B(()), |(path, stat)| {
        Either::A(
            sys::scan::ScanEntry::of(path.into_os_string().into_encoded_bytes(), &stat).into(),
        )
    }))
}

#[napi(ts_return_type = "Promise<boolean>")]
pub fn remove_in_root<'env>(
    env: &'env Env,
    root: String,
    path: String,
    cancel: Option<&CancelToken>,
    owners: Option<RecordedOwners>,
) -> Result<Object<'env>> {
    let cancel = flag(cancel);
    let recording = owners.map(Recording::from);
    promise(
        env,
        move || {
            let root = sys::root::Root::open(Path::new(&root))?;
            Ok(with_ledger(recording.as_ref(), |ledger| {
                sys::remove::remove_in_root(&root, Path::new(&path), ledger, &cancel)
            })?)
        },
        |removed| removed,
    )
}

#[napi]
pub fn copy_attributes(source: String, target: String) -> Result<()> {
    sys::copy::copy_attributes(Path::new(&source), Path::new(&target)).map_err(fail)
}

#[napi]
pub fn set_mtime(path: String, mtime_ns: String) -> Result<()> {
    sys::copy::set_mtime(Path::new(&path), number_of(&mtime_ns)?).map_err(fail)
}

#[napi]
pub fn set_xattr(path: String, name: String, value: Buffer) -> Result<()> {
    sys::copy::set_xattr(Path::new(&path), &name, &value).map_err(fail)
}

#[napi(ts_return_type = "Promise<void>")]
pub fn remove_tree<'env>(
    env: &'env Env,
    path: String,
    cancel: Option<&CancelToken>,
) -> Result<Object<'env>> {
    let cancel = flag(cancel);
    promise(env, move || Ok(sys::remove::remove_tree(Path::new(&path), &cancel)?), |()| ())
}

/// [`remove_tree`] of a few files in memory, which takes less than to start a thread.
#[napi]
pub fn remove_small_tree(path: String) -> Result<()> {
    sys::remove::remove_tree(Path::new(&path), &flag(None)).map_err(fail)
}

#[napi]
pub fn mount_overlay(mount: OverlayMount) -> Result<()> {
    sys::mount::mount_overlay(&sys::mount::Overlay {
        lowers: mount.lowers.into_iter().map(PathBuf::from).collect(),
        upper: mount.upper.map(PathBuf::from),
        work: mount.work.map(PathBuf::from),
        target: PathBuf::from(mount.target),
        user_xattr: mount.user_xattr,
        volatile: mount.volatile.unwrap_or(false),
    })
    .map_err(fail)
}

#[napi]
pub fn mount_bind(source: String, target: String, read_only: bool, recursive: bool) -> Result<()> {
    sys::mount::mount_bind(Path::new(&source), Path::new(&target), read_only, recursive)
        .map_err(fail)
}

#[napi]
pub fn mount_tmpfs(
    target: String,
    mode: u32,
    size_bytes: Option<f64>,
    devices: Option<bool>,
) -> Result<()> {
    let size_bytes = size_bytes.map(|size| size as u64);
    sys::mount::mount_tmpfs(Path::new(&target), mode, size_bytes, devices.unwrap_or(false))
        .map_err(fail)
}

#[napi]
pub fn move_mount_within(from: String, root: String, path: String, directory: bool) -> Result<()> {
    let (from, root, path) = (Path::new(&from), Path::new(&root), Path::new(&path));
    sys::mount::move_within(from, root, path, directory).map_err(fail)
}

#[napi]
pub fn make_device_like(source: String, target: String) -> Result<()> {
    sys::mount::make_device_like(Path::new(&source), Path::new(&target)).map_err(fail)
}

#[napi]
pub fn unmount(target: String, detach: bool) -> Result<()> {
    sys::mount::unmount(Path::new(&target), detach).map_err(fail)
}

#[napi]
pub fn write_as_is(fd: i32) -> bool {
    sys::terminal::write_as_is(fd)
}

/// A lock that is held until it is released or the process ends.
#[napi]
pub struct NativeLock {
    held: Option<sys::lock::Lock>,
}

#[napi]
impl NativeLock {
    #[napi]
    pub fn release(&mut self) {
        self.held = None;
    }
}

#[napi]
pub fn try_lock(path: String, shared: bool) -> Result<Either<NativeLock, ()>> {
    let held = sys::lock::try_lock(Path::new(&path), shared).map_err(fail)?;
    Ok(held.map_or(Either::B(()), |held| Either::A(NativeLock { held: Some(held) })))
}

#[napi(ts_return_type = "Promise<NativeLock>")]
pub fn lock<'env>(
    env: &'env Env,
    path: String,
    shared: bool,
    cancel: Option<&CancelToken>,
) -> Result<Object<'env>> {
    let cancel = flag(cancel);
    promise(
        env,
        move || Ok(sys::lock::lock(Path::new(&path), shared, &cancel)?),
        |held| NativeLock { held: Some(held) },
    )
}
