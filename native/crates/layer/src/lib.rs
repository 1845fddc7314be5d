//! Layers: a directory in overlayfs form to a compressed tar and back, and what else must know both forms.
//!
//! Directories are walked and filled by descriptor, never through a link; what an archive says is never believed.

mod archive;
mod clamp;
mod compress;
mod copied;
mod copy;
mod decompress;
mod diff;
mod digest;
mod disk;
mod error;
mod export;
mod flatten;
mod frame;
mod gzip;
mod hex;
mod inside;
mod late;
mod layer_tar;
mod outline;
mod owners;
mod recompress;
mod reconcile;
mod remove;
mod reuse;
mod same;
mod settle;
mod table;
mod union;
mod unpack;
mod watch;
mod whiteout;
mod write;
mod xattr;

pub use archive::{ArchiveOptions, ArchiveSource, UnpackedArchive, is_archive, unpack_archive};
pub use clamp::clamp_times;
pub use compress::Compression;
pub use copied::{CopiedOptions, write_copied_layer};
pub use decompress::{ArrivingBlob, Encoding, ExpandLimits};
pub use diff::{DiffOptions, diff_tree};
pub use digest::{OwnersBelow, tree_digest};
pub use error::{Code, Error, Result};
pub use export::{ExportOptions, ExportTree, Exported, export_trees};
pub use flatten::flatten_layers;
pub use owners::{LayerOwnersOptions, merge_owners, prune_owners, write_layer_owners};
pub use recompress::{RecompressOptions, RecompressedLayer, recompress_layer};
pub use reconcile::{ReconcileOptions, reconcile_layer};
pub use reuse::Previous;
pub use settle::{mark_opaque_for, settle_owners};
pub use unpack::{UnpackOptions, UnpackedLayer, unpack_layer};
pub use watch::Watch;
pub use write::{WriteOptions, WrittenLayer, write_layer};
pub use xattr::OverlayXattrs;
