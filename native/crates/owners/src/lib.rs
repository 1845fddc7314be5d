//! Owners that the disk cannot carry, written down beside the tree.
//!
//! In a user namespace of one id the kernel refuses every other owner, and in any user namespace device nodes. Such a
//! file is 0:0 on disk, a device an empty regular file, and a [`Record`] says what it really is. The [`Owners`] of a
//! tree are a map from paths to records, and lie in a file beside the tree's directory: `snapshots/ID/owners` beside
//! `snapshots/ID/fs` ([`sidecar_of`]). Most trees have none: no file means that the disk says all.
//!
//! Rules that every reader and writer keeps:
//!
//! - Paths are bytes, relative to the tree's root, without a slash at either end; the empty path is the root.
//! - A record speaks for a path, not for an inode: every name of a file with several has the same record.
//! - A record's ids count where the disk says 0:0. Another owner on disk is real, and younger: it was set where that
//!   is possible ([`Record::owner_over`]).
//! - A record's device counts where the disk has an empty regular file.
//! - In a stack the topmost layer whose tree has the path decides, by its record or by having none: a directory in an
//!   upper layer without a record is 0:0 whatever the layers below record of it ([`Stack::owner_of`]).
//!
//! A *layer's* owners are of the paths in that layer's tree. A *merged* tree (`STEP/root`, mounted or copied together)
//! has owners of its own beside it, `STEP/owners`, of everything that can be seen in it ([`Stack::merged`]). Whoever
//! changes a merged tree changes these: copying up needs nothing then, and the layer's owners are what they say of the
//! paths in the upper directory ([`Owners::of_tree`]). Whoever knows only the upper directory's own owners puts them
//! on top of the stack and asks for the merged ones: `Stack::with_changes(upper, owners, lowers)?.merged()`.
//!
//! A sidecar is looked for beside a layer's directory only, which is called `fs` ([`Owners::of_layer`]): beside any other
//! directory may lie a file of an image's or of the user's.

mod file;
mod ledger;
mod owners;
mod record;
mod stack;

pub use ledger::{Ledger, Recording};
pub use owners::{Owners, sidecar_of};
pub use record::{Device, DeviceKind, Record};
pub use stack::Stack;

use std::{fmt, path::PathBuf};

/// Why owners could not be read, written or found.
#[derive(Debug)]
pub enum Error {
    /// A system call failed.
    Io {
        /// Completes "cannot …".
        doing: &'static str,
        /// What it was about.
        path: PathBuf,
        /// The kernel's reason.
        error: std::io::Error,
    },
    /// A sidecar is not what was written.
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: &'static str,
    },
}

/// What fails here.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    pub(crate) fn io(
        doing: &'static str,
        path: impl Into<PathBuf>,
        error: impl Into<std::io::Error>,
    ) -> Self {
        Self::Io { doing, path: path.into(), error: error.into() }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io { doing, path, error } => {
                write!(formatter, "cannot {doing} '{}': {error}", path.display())
            }
            Self::Damaged { path, reason } => {
                write!(formatter, "the record of owners '{}' is damaged: {reason}", path.display())
            }
        }
    }
}

impl std::error::Error for Error {}
