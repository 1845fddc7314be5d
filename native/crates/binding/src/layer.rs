//! `crates/layer` for JavaScript.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::atomic::AtomicBool,
    thread,
};

use napi::{
    Env,
    bindgen_prelude::{Buffer, Function, Object},
};
use napi_derive::napi;
use tsbuild_layer::{
    ArchiveOptions, ArchiveSource, Compression, CopiedOptions, DiffOptions, Encoding, Error,
    ExpandLimits, ExportOptions, ExportTree, Exported as Sent, LayerOwnersOptions, OverlayXattrs,
    OwnersBelow, Previous, RecompressOptions, RecompressedLayer, ReconcileOptions, UnpackOptions,
    UnpackedArchive as UnpackedInto, UnpackedLayer as Unpacked, Watch, WriteOptions,
    WrittenLayer as Written,
};

use tsbuild_owners::Recording;

use crate::{
    cancel::CancelToken,
    copy_entries::copy_entries,
    error::Failure,
    fs::{Expectation, PathArgument, number_of, path_of},
    tree_index::NativeTreeIndex,
    work::{Progress, flag, promise},
};

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Failure {
            code: error.code.as_str(),
            errno: error.errno_name(),
            path: error.path.as_deref().map(|path| String::from_utf8_lossy(path).into_owned()),
            message: error.message,
        }
    }
}

fn bad_argument(message: String) -> napi::Error {
    napi::Error::new(napi::Status::InvalidArg, message)
}

fn overlay_xattrs(name: &str) -> napi::Result<OverlayXattrs> {
    match name {
        "user" => Ok(OverlayXattrs::User),
        "trusted" => Ok(OverlayXattrs::Trusted),
        other => Err(bad_argument(format!("overlayXattrs is 'user' or 'trusted', not '{other}'"))),
    }
}

fn paths(list: Vec<String>) -> Vec<PathBuf> {
    list.into_iter().map(PathBuf::from).collect()
}

#[napi(object)]
pub struct RecordedOwners {
    pub file: String,
    pub single: bool,
}

impl From<RecordedOwners> for Recording {
    fn from(owners: RecordedOwners) -> Self {
        Self { file: owners.file.into(), single: owners.single }
    }
}

#[napi(object)]
pub struct WriteLayerOptions {
    pub root: String,
    pub owners: Option<String>,
    pub lowers: Vec<String>,
    pub output: String,
    pub compression: String,
    pub level: u32,
    pub threads: Option<u32>,
    pub previous: Option<PreviousLayer>,
    pub clamp_mtime_seconds: Option<f64>,
}

#[napi(object)]
pub struct WrittenLayer {
    pub digest: String,
    pub size_bytes: f64,
    pub diff_id: String,
    pub uncompressed_size_bytes: f64,
    pub entry_count: f64,
    pub skipped_sockets: f64,
    pub annotations: HashMap<String, String>,
    pub frames: Buffer,
}

#[napi(object)]
pub struct PreviousLayer {
    pub blob: String,
    pub frames: Option<Buffer>,
}

impl From<PreviousLayer> for Previous {
    fn from(previous: PreviousLayer) -> Self {
        let frames = previous.frames.map(|frames| frames.to_vec()).unwrap_or_default();
        Self { blob: previous.blob.into(), frames }
    }
}

#[napi]
pub fn write_layer<'env>(
    env: &'env Env,
    options: WriteLayerOptions,
    cancel: Option<&CancelToken>,
    progress: Option<Function<'_, f64, ()>>,
) -> napi::Result<Object<'env>> {
    let options = WriteOptions {
        root: options.root.into(),
        owners: options.owners.map(PathBuf::from),
        lowers: paths(options.lowers),
        output: options.output.into(),
        compression: compression(&options.compression, options.level)?,
        threads: threads(options.threads),
        previous: options.previous.map(Previous::from),
        clamp_mtime_seconds: options.clamp_mtime_seconds.map(|seconds| seconds as i64),
    };
    let (flag, progress) = (flag(cancel), Progress::new(progress)?);
    promise(
        env,
        move || {
            let written = tsbuild_layer::write_layer(
                &options,
                Watch::new(&flag, &|done| progress.report(done)),
            )?;
            progress.finish();
            Ok(written)
        },
        WrittenLayer::from,
    )
}

impl From<Written> for WrittenLayer {
    fn from(written: Written) -> Self {
        Self {
            digest: written.digest,
            size_bytes: written.size as f64,
            diff_id: written.diff_id,
            uncompressed_size_bytes: written.uncompressed_size as f64,
            entry_count: written.entries as f64,
            frames: written.frames.into(),
            skipped_sockets: written.skipped_sockets as f64,
            annotations: written.annotations.into_iter().collect(),
        }
    }
}

#[napi(object)]
pub struct CopiedLayerOptions {
    pub entries: Buffer,
    pub lowers: Vec<String>,
    pub now_seconds: f64,
    pub output: String,
    pub compression: String,
    pub level: u32,
    pub threads: Option<u32>,
    pub previous: Option<PreviousLayer>,
    pub clamp_mtime_seconds: Option<f64>,
}

#[napi(ts_return_type = "Promise<WrittenLayer | null>")]
pub fn write_copied_layer<'env>(
    env: &'env Env,
    options: CopiedLayerOptions,
    cancel: Option<&CancelToken>,
    progress: Option<Function<'_, f64, ()>>,
    index: Option<&NativeTreeIndex>,
) -> napi::Result<Object<'env>> {
    // Taken apart on the other thread.
    let entries = options.entries.to_vec();
    let index = index.map(NativeTreeIndex::shared);
    let mut options = CopiedOptions {
        entries: Vec::new(),
        lowers: paths(options.lowers),
        now_seconds: options.now_seconds as i64,
        output: options.output.into(),
        compression: compression(&options.compression, options.level)?,
        threads: threads(options.threads),
        previous: options.previous.map(Previous::from),
        clamp_mtime_seconds: options.clamp_mtime_seconds.map(|seconds| seconds as i64),
    };
    let (flag, progress) = (flag(cancel), Progress::new(progress)?);
    promise(
        env,
        move || {
            options.entries = copy_entries(&entries, index.as_deref())?;
            let written = tsbuild_layer::write_copied_layer(
                &options,
                Watch::new(&flag, &|done| progress.report(done)),
            )?;
            progress.finish();
            Ok(written)
        },
        |written: Option<Written>| written.map(WrittenLayer::from),
    )
}

fn compression(name: &str, level: u32) -> napi::Result<Compression> {
    match name {
        "zstd" if (1..=19).contains(&level) => Ok(Compression::Zstd(level.cast_signed())),
        "gzip" if (1..=9).contains(&level) => Ok(Compression::Gzip(level)),
        "zstd:chunked" if (1..=19).contains(&level) => {
            Ok(Compression::ZstdChunked(level.cast_signed()))
        }
        "estargz" if (1..=9).contains(&level) => Ok(Compression::Estargz(level)),
        "none" => Ok(Compression::None),
        other => Err(bad_argument(format!("no compression '{other}' of level {level}"))),
    }
}

fn threads(wanted: Option<u32>) -> usize {
    wanted.map_or_else(
        || thread::available_parallelism().map_or(1, usize::from),
        |count| count as usize,
    )
}

#[napi(object)]
pub struct RecompressLayerOptions {
    pub blob: String,
    pub expected_diff_id: String,
    pub output: String,
    pub compression: String,
    pub level: u32,
    pub threads: Option<u32>,
}

#[napi]
pub fn recompress_layer<'env>(
    env: &'env Env,
    options: RecompressLayerOptions,
    cancel: Option<&CancelToken>,
    progress: Option<Function<'_, f64, ()>>,
) -> napi::Result<Object<'env>> {
    let options = RecompressOptions {
        blob: options.blob.into(),
        expected_diff_id: options.expected_diff_id,
        output: options.output.into(),
        compression: compression(&options.compression, options.level)?,
        threads: threads(options.threads),
        limits: ExpandLimits { bytes: MAX_UNCOMPRESSED_BYTES as u64, ratio: MAX_RATIO as u64 },
    };
    let (flag, progress) = (flag(cancel), Progress::new(progress)?);
    promise(
        env,
        move || {
            let written = tsbuild_layer::recompress_layer(
                &options,
                Watch::new(&flag, &|done| progress.report(done)),
            )?;
            progress.finish();
            Ok(written)
        },
        |written: RecompressedLayer| RecompressedBlob {
            digest: written.digest,
            size_bytes: written.size as f64,
            diff_id: written.diff_id,
            uncompressed_size_bytes: written.uncompressed_size as f64,
            annotations: written.annotations.into_iter().collect(),
        },
    )
}

#[napi(object)]
pub struct RecompressedBlob {
    pub digest: String,
    pub size_bytes: f64,
    pub diff_id: String,
    pub uncompressed_size_bytes: f64,
    pub annotations: HashMap<String, String>,
}

#[napi(object)]
pub struct ArrivingBlob {
    pub path: String,
    pub size_bytes: f64,
}

#[napi(object)]
pub struct UnpackLayerOptions {
    pub blob: String,
    pub arriving: Option<ArrivingBlob>,
    pub compression: String,
    pub root: String,
    pub expected_digest: Option<String>,
    pub expected_diff_id: Option<String>,
    pub max_uncompressed_bytes: Option<f64>,
    pub max_ratio: Option<f64>,
    pub max_entries: Option<f64>,
    pub overlay_xattrs: String,
    pub devices: String,
    pub owners: Option<RecordedOwners>,
}

#[napi(object)]
pub struct UnpackedLayer {
    pub digest: Option<String>,
    pub diff_id: String,
    pub uncompressed_size_bytes: f64,
    pub entry_count: f64,
    pub implicit_directories: Vec<Buffer>,
    pub recorded_devices: Vec<Buffer>,
}

const MAX_UNCOMPRESSED_BYTES: f64 = 1_099_511_627_776.0;
const MAX_RATIO: f64 = 1000.0;
const MAX_ENTRIES: f64 = 10_000_000.0;

#[napi]
pub fn unpack_layer<'env>(
    env: &'env Env,
    options: UnpackLayerOptions,
    cancel: Option<&CancelToken>,
    progress: Option<Function<'_, f64, ()>>,
) -> napi::Result<Object<'env>> {
    let options = UnpackOptions {
        blob: options.blob.into(),
        arriving: options.arriving.map(|blob| tsbuild_layer::ArrivingBlob {
            path: blob.path.into(),
            size: blob.size_bytes as u64,
        }),
        encoding: match options.compression.as_str() {
            "auto" => Encoding::Auto,
            "zstd" => Encoding::Zstd,
            "gzip" => Encoding::Gzip,
            "none" => Encoding::None,
            other => return Err(bad_argument(format!("no compression '{other}'"))),
        },
        root: options.root.into(),
        expected_digest: options.expected_digest,
        expected_diff_id: options.expected_diff_id,
        limits: ExpandLimits {
            bytes: options.max_uncompressed_bytes.unwrap_or(MAX_UNCOMPRESSED_BYTES) as u64,
            ratio: options.max_ratio.unwrap_or(MAX_RATIO) as u64,
        },
        max_entries: options.max_entries.unwrap_or(MAX_ENTRIES) as u64,
        overlay_xattrs: overlay_xattrs(&options.overlay_xattrs)?,
        create_devices: create_devices(&options.devices)?,
        owners: options.owners.map(Recording::from),
    };
    let (flag, progress) = (flag(cancel), Progress::new(progress)?);
    promise(
        env,
        move || {
            let unpacked = tsbuild_layer::unpack_layer(
                &options,
                Watch::new(&flag, &|done| progress.report(done)),
            )?;
            progress.finish();
            Ok(unpacked)
        },
        |unpacked: Unpacked| UnpackedLayer {
            digest: unpacked.digest,
            diff_id: unpacked.diff_id,
            uncompressed_size_bytes: unpacked.uncompressed_size as f64,
            entry_count: unpacked.entries as f64,
            implicit_directories: unpacked
                .implicit_directories
                .into_iter()
                .map(Buffer::from)
                .collect(),
            recorded_devices: unpacked.recorded_devices.into_iter().map(Buffer::from).collect(),
        },
    )
}

#[napi(object)]
pub struct ArchiveFile {
    pub path: PathArgument,
    pub expect: Option<Expectation>,
    pub max_uncompressed_bytes: Option<f64>,
    pub max_ratio: Option<f64>,
}

impl TryFrom<ArchiveFile> for ArchiveSource {
    type Error = napi::Error;

    fn try_from(file: ArchiveFile) -> napi::Result<Self> {
        Ok(Self {
            path: path_of(file.path),
            expect: file.expect.map(TryInto::try_into).transpose()?,
            limits: ExpandLimits {
                bytes: file.max_uncompressed_bytes.unwrap_or(MAX_UNCOMPRESSED_BYTES) as u64,
                ratio: file.max_ratio.unwrap_or(MAX_RATIO) as u64,
            },
        })
    }
}

#[napi]
pub fn is_archive<'env>(
    env: &'env Env,
    archive: ArchiveFile,
    cancel: Option<&CancelToken>,
) -> napi::Result<Object<'env>> {
    let source = ArchiveSource::try_from(archive)?;
    let flag = flag(cancel);
    promise(env, move || Ok(tsbuild_layer::is_archive(&source, quiet(&flag))?), |found: bool| found)
}

#[napi(object)]
pub struct UnpackArchiveOptions {
    pub archive: ArchiveFile,
    pub root: String,
    pub directory: PathArgument,
    pub uid: Option<u32>,
    pub gid: Option<u32>,
    pub made_at_ns: String,
    pub max_entries: Option<f64>,
    pub devices: String,
    pub owners: Option<RecordedOwners>,
}

#[napi(object)]
pub struct UnpackedArchive {
    pub entry_count: f64,
    pub recorded_devices: f64,
}

#[napi]
pub fn unpack_archive<'env>(
    env: &'env Env,
    options: UnpackArchiveOptions,
    cancel: Option<&CancelToken>,
    progress: Option<Function<'_, f64, ()>>,
) -> napi::Result<Object<'env>> {
    let options = ArchiveOptions {
        source: options.archive.try_into()?,
        root: options.root.into(),
        directory: path_of(options.directory).into_os_string().into_encoded_bytes(),
        owner: options.uid.zip(options.gid),
        made_at_ns: number_of(&options.made_at_ns)?,
        max_entries: options.max_entries.unwrap_or(MAX_ENTRIES) as u64,
        create_devices: create_devices(&options.devices)?,
        owners: options.owners.map(Recording::from),
    };
    let (flag, progress) = (flag(cancel), Progress::new(progress)?);
    promise(
        env,
        move || {
            let unpacked = tsbuild_layer::unpack_archive(
                &options,
                Watch::new(&flag, &|done| progress.report(done)),
            )?;
            progress.finish();
            Ok(unpacked)
        },
        |unpacked: UnpackedInto| UnpackedArchive {
            entry_count: unpacked.entries as f64,
            recorded_devices: unpacked.recorded_devices as f64,
        },
    )
}

fn create_devices(word: &str) -> napi::Result<bool> {
    match word {
        "create" => Ok(true),
        "record" => Ok(false),
        other => Err(bad_argument(format!("devices is 'create' or 'record', not '{other}'"))),
    }
}

/// Work that reports nothing.
fn quiet(flag: &AtomicBool) -> Watch<'_> {
    Watch::new(flag, &|_| {})
}

#[napi(object)]
pub struct ReconcileLayerOptions {
    pub root: String,
    pub lowers: Vec<String>,
    pub implicit_directories: Vec<Buffer>,
    pub overlay_xattrs: String,
    pub owners: Option<String>,
}

#[napi(object)]
pub struct ReconciledLayer {
    pub changed: f64,
}

#[napi]
pub fn reconcile_layer<'env>(
    env: &'env Env,
    options: ReconcileLayerOptions,
) -> napi::Result<Object<'env>> {
    let options = ReconcileOptions {
        root: options.root.into(),
        lowers: paths(options.lowers),
        implicit_directories: options
            .implicit_directories
            .iter()
            .map(|path| path.to_vec())
            .collect(),
        overlay_xattrs: overlay_xattrs(&options.overlay_xattrs)?,
        owners: options.owners.map(PathBuf::from),
    };
    promise(
        env,
        move || Ok(tsbuild_layer::reconcile_layer(&options)?),
        |changed: u64| ReconciledLayer { changed: changed as f64 },
    )
}

#[napi(object)]
pub struct DigestOwners {
    pub file: String,
    pub path: PathArgument,
}

#[napi]
pub fn tree_digest<'env>(
    env: &'env Env,
    root: String,
    owners: Option<DigestOwners>,
    cancel: Option<&CancelToken>,
) -> napi::Result<Object<'env>> {
    let flag = flag(cancel);
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let owners = owners.map(|owners| OwnersBelow {
        file: owners.file.into(),
        path: path_of(owners.path).into_os_string().into_encoded_bytes(),
    });
    promise(
        env,
        move || {
            let root = root.as_ref();
            Ok(tsbuild_layer::tree_digest(root, owners.as_ref(), threads, quiet(&flag))?)
        },
        |digest: String| digest,
    )
}

#[napi]
pub fn clamp_times<'env>(
    env: &'env Env,
    root: String,
    epoch_seconds: f64,
    cancel: Option<&CancelToken>,
) -> napi::Result<Object<'env>> {
    let flag = flag(cancel);
    promise(
        env,
        move || Ok(tsbuild_layer::clamp_times(root.as_ref(), epoch_seconds as i64, quiet(&flag))?),
        |changed: u64| changed as f64,
    )
}

#[napi(object)]
pub struct FlattenLayersOptions {
    pub lowers: Vec<String>,
    pub target: String,
    pub owners: Option<String>,
}

#[napi]
pub fn flatten_layers<'env>(
    env: &'env Env,
    options: FlattenLayersOptions,
    cancel: Option<&CancelToken>,
) -> napi::Result<Object<'env>> {
    let flag = flag(cancel);
    promise(
        env,
        move || {
            Ok(tsbuild_layer::flatten_layers(
                &paths(options.lowers),
                options.target.as_ref(),
                options.owners.as_deref().map(Path::new),
                quiet(&flag),
            )?)
        },
        |done: ()| done,
    )
}

#[napi(object)]
pub struct ExportTreesTree {
    pub lowers: Vec<String>,
    pub prefix: String,
}

#[napi(object)]
pub struct ExportTreesOptions {
    pub trees: Vec<ExportTreesTree>,
    pub target: String,
    pub delete: bool,
    pub uid: Option<u32>,
    pub gid: Option<u32>,
    pub own_root: bool,
    pub clamp_mtime_seconds: Option<f64>,
    pub owners: Option<String>,
}

#[napi(object)]
pub struct ExportedTrees {
    pub written: f64,
    pub unchanged: f64,
    pub removed: f64,
    pub size_bytes: f64,
}

#[napi]
pub fn export_trees<'env>(
    env: &'env Env,
    options: ExportTreesOptions,
    cancel: Option<&CancelToken>,
) -> napi::Result<Object<'env>> {
    let flag = flag(cancel);
    let options = ExportOptions {
        trees: options
            .trees
            .into_iter()
            .map(|tree| ExportTree { lowers: paths(tree.lowers), prefix: tree.prefix.into_bytes() })
            .collect(),
        target: options.target.into(),
        delete: options.delete,
        owner: options.uid.zip(options.gid),
        own_root: options.own_root,
        clamp_mtime_seconds: options.clamp_mtime_seconds.map(|seconds| seconds as i64),
        owners: options.owners.map(PathBuf::from),
    };
    promise(
        env,
        move || Ok(tsbuild_layer::export_trees(&options, quiet(&flag))?),
        |sent: Sent| ExportedTrees {
            written: sent.written as f64,
            unchanged: sent.unchanged as f64,
            removed: sent.removed as f64,
            size_bytes: sent.size_bytes as f64,
        },
    )
}

#[napi(object)]
pub struct DiffTreeOptions {
    pub lowers: Vec<String>,
    pub changed: String,
    pub owners: Option<String>,
    pub upper: String,
    pub overlay_xattrs: String,
}

#[napi]
pub fn diff_tree<'env>(
    env: &'env Env,
    options: DiffTreeOptions,
    cancel: Option<&CancelToken>,
) -> napi::Result<Object<'env>> {
    let flag = flag(cancel);
    let options = DiffOptions {
        lowers: paths(options.lowers),
        changed: options.changed.into(),
        owners: options.owners.map(PathBuf::from),
        upper: options.upper.into(),
        overlay_xattrs: overlay_xattrs(&options.overlay_xattrs)?,
    };
    promise(env, move || Ok(tsbuild_layer::diff_tree(&options, quiet(&flag))?), |done: ()| done)
}

#[napi]
pub fn merge_owners<'env>(
    env: &'env Env,
    lowers: Vec<String>,
    file: String,
) -> napi::Result<Object<'env>> {
    let lowers = paths(lowers);
    promise(env, move || Ok(tsbuild_layer::merge_owners(&lowers, file.as_ref())?), |done: ()| done)
}

#[napi(object)]
pub struct WriteLayerOwnersOptions {
    pub merged: String,
    pub tree: String,
    pub lowers: Vec<String>,
    pub output: String,
}

#[napi]
pub fn write_layer_owners<'env>(
    env: &'env Env,
    options: WriteLayerOwnersOptions,
) -> napi::Result<Object<'env>> {
    let options = LayerOwnersOptions {
        merged: options.merged.into(),
        tree: options.tree.into(),
        lowers: paths(options.lowers),
        output: options.output.into(),
    };
    promise(
        env,
        move || Ok(tsbuild_layer::write_layer_owners(&options)?),
        |root_changed: bool| root_changed,
    )
}

#[napi]
pub fn prune_owners<'env>(
    env: &'env Env,
    tree: String,
    file: String,
) -> napi::Result<Object<'env>> {
    promise(
        env,
        move || Ok(tsbuild_layer::prune_owners(tree.as_ref(), file.as_ref())?),
        |done: ()| done,
    )
}

#[napi]
pub fn settle_owners<'env>(
    env: &'env Env,
    tree: String,
    sidecar: String,
    overlay_xattrs_name: String,
    cancel: Option<&CancelToken>,
) -> napi::Result<Object<'env>> {
    let flag = flag(cancel);
    let overlay = overlay_xattrs(&overlay_xattrs_name)?;
    promise(
        env,
        move || {
            let (tree, sidecar) = (tree.as_ref(), sidecar.as_ref());
            Ok(tsbuild_layer::settle_owners(tree, sidecar, overlay, quiet(&flag))?)
        },
        |settled: u64| settled as f64,
    )
}

#[napi]
pub fn mark_opaque_for<'env>(
    env: &'env Env,
    tree: String,
    overlay_xattrs_name: String,
    cancel: Option<&CancelToken>,
) -> napi::Result<Object<'env>> {
    let flag = flag(cancel);
    let overlay = overlay_xattrs(&overlay_xattrs_name)?;
    promise(
        env,
        move || Ok(tsbuild_layer::mark_opaque_for(tree.as_ref(), overlay, quiet(&flag))?),
        |marked: u64| marked as f64,
    )
}
