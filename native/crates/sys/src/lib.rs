//! What tsbuild asks of the kernel: paths that stay inside a root, mounts, locks, tree walks and copies, and the
//! processes of the launcher. The only crate that may use `unsafe`.

pub mod ahead;
pub mod copy;
pub mod error;
pub mod exit;
mod fingerprint;
pub mod hash;
pub mod hashed_file;
pub mod landlock;
pub mod lock;
pub mod mount;
pub mod network;
pub mod process;
pub mod random;
pub mod remove;
pub mod root;
pub mod scan;
pub mod scan_json;
pub mod seccomp;
pub mod sha256;
pub mod socket;
pub mod spawn;
pub mod terminal;
pub mod tracee;
pub mod tree_index;
mod walk;

pub use error::{Error, Result};

use std::sync::atomic::{AtomicBool, Ordering};

/// Fails with `CANCELLED` once `cancel` is set.
///
/// # Errors
/// `CANCELLED`.
pub fn check_cancel(cancel: &AtomicBool) -> Result<()> {
    if cancel.load(Ordering::Relaxed) { Err(Error::cancelled()) } else { Ok(()) }
}
