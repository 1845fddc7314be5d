//! How long work is watched from outside: a flag that ends it, and a count of what was done.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::error::{Error, Result};

/// Given to everything that may take long.
#[derive(Clone, Copy)]
pub struct Watch<'a> {
    cancel: &'a AtomicBool,
    progress: &'a (dyn Fn(u64) + Sync),
}

impl<'a> Watch<'a> {
    /// `progress` gets the bytes done so far, often; whoever wants it less often skips calls.
    pub fn new(cancel: &'a AtomicBool, progress: &'a (dyn Fn(u64) + Sync)) -> Self {
        Self { cancel, progress }
    }

    /// # Errors
    /// `CANCELLED` once the flag is set.
    pub fn poll(&self) -> Result<()> {
        if self.cancel.load(Ordering::Relaxed) { Err(Error::cancelled()) } else { Ok(()) }
    }

    pub(crate) fn report(&self, done: u64) {
        (self.progress)(done);
    }
}
