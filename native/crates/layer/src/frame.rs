//! Where the tar stream is cut into frames.
//!
//! A layer is rebuilt far more often than it changes much, so the cuts must come back to the same places after a
//! change. They depend on nothing but the entries near them:
//!
//! - A file of [`LARGE_FILE`] or more begins a frame at its header, is cut at every [`LARGE_CUT`] of its content as long
//!   as another [`LARGE_FILE`] remains, and its end begins a new frame. So nothing around it moves its frames.
//! - Smaller entries share frames. One may begin a new frame at its header when the frame has at least [`MIN_FRAME`]
//!   and a hash of its path says so (one path in [`CUT_ONE_IN`]); at [`MAX_FRAME`] the next entry does whatever its
//!   hash. An entry that is added, removed or changed therefore moves the cuts up to the next path that cuts in both,
//!   and no further.
//!
//! The cuts are part of the format that a compressed digest pins: changing a number here changes the digests of all
//! layers (diffIDs stay).

use crate::{
    compress::{Buffers, Feed, Stopped},
    error::{Error, Result},
};

pub(crate) const LARGE_FILE: u64 = 1 << 20;
pub(crate) const LARGE_CUT: u64 = 4 << 20;
const MIN_FRAME: usize = 1 << 20;
const MAX_FRAME: usize = 4 << 20;
const CUT_ONE_IN: u64 = 16;
/// Of a buffer that nothing was in yet.
const FIRST_LENGTH: usize = 64 << 10;

/// The longest frame: one byte short of the maximum, then a header with 1 MiB of PAX records, then nearly 1 MiB of
/// data. A large file's frames stay below that too.
const FRAME_CAPACITY: usize = MAX_FRAME + 2 * (1 << 20) + LARGE_FILE as usize + 8 * 512;

/// Fills frames and hands them on.
pub(crate) struct Framer {
    feed: Feed,
    current: Option<Buffers>,
    length: usize,
    total: u64,
}

impl Framer {
    pub fn new(feed: Feed) -> Self {
        Self { feed, current: None, length: 0, total: 0 }
    }

    /// Bytes of the tar so far.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// Begins an entry with `size` bytes of data behind its header.
    pub fn begin(&mut self, path: &[u8], size: u64, header: &[u8]) -> Result<()> {
        let cut = size >= LARGE_FILE
            || self.length >= MAX_FRAME
            || (self.length >= MIN_FRAME && path_hash(path).is_multiple_of(CUT_ONE_IN));
        if cut {
            self.cut()?;
        }
        self.put(header)
    }

    /// A place for up to `wanted` bytes; [`advance`](Self::advance) says how many were written.
    pub fn space(&mut self, wanted: usize) -> Result<&mut [u8]> {
        if self.current.is_none() {
            self.current = Some(self.feed.buffers().map_err(|Stopped| Error::cancelled())?);
        }
        let buffers = self.current.as_mut().ok_or_else(Error::cancelled)?;
        let end = (self.length + wanted).min(FRAME_CAPACITY);
        if buffers.input.len() < end {
            let length = end.next_power_of_two().clamp(FIRST_LENGTH, FRAME_CAPACITY);
            buffers.input.resize(length, 0);
        }
        Ok(&mut buffers.input[self.length..end])
    }

    pub fn advance(&mut self, count: usize) {
        self.length += count;
        self.total += count as u64;
    }

    pub fn put(&mut self, bytes: &[u8]) -> Result<()> {
        let space = self.space(bytes.len())?;
        space.copy_from_slice(bytes);
        self.advance(bytes.len());
        Ok(())
    }

    pub fn put_zeros(&mut self, count: usize) -> Result<()> {
        self.space(count)?.fill(0);
        self.advance(count);
        Ok(())
    }

    /// Ends the current frame, if it holds anything.
    pub fn cut(&mut self) -> Result<()> {
        if self.length > 0
            && let Some(buffers) = self.current.take()
        {
            let length = std::mem::take(&mut self.length);
            self.feed.submit(buffers, length).map_err(|Stopped| Error::cancelled())?;
        }
        Ok(())
    }
}

/// FNV-1a, 64 bits, with its high bits folded in. Pinned: it decides the frames.
fn path_hash(path: &[u8]) -> u64 {
    let hash = path.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    hash ^ (hash >> 32)
}
