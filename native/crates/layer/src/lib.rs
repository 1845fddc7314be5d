//! Layers: a directory in overlayfs form to a compressed tar and back, and what else must know both forms.
//!
//! Directories are walked and filled by descriptor, never through a link; what an archive says is never believed.

mod compress;
mod decompress;
mod disk;
mod error;
mod frame;
mod hex;
mod inside;
mod remove;
mod same;
mod union;
mod unpack;
mod watch;
mod whiteout;
mod write;
mod xattr;

pub use compress::Compression;
pub use decompress::{Encoding, ExpandLimits};
pub use error::{Code, Error, Result};
pub use unpack::{UnpackOptions, UnpackedLayer, unpack_layer};
pub use watch::Watch;
pub use write::{WriteOptions, WrittenLayer, write_layer};
pub use xattr::OverlayXattrs;
