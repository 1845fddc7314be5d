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

use std::sync::Arc;

use crate::{
    compress::{Buffers, Feed, Stopped},
    error::{Code, Error, Result},
    late::{Hole, LateFile},
    outline::Mark,
    table,
};

use tsbuild_tar::{Entry, encode_header, padding};

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

const LONG_HEADER: usize = 2 << 20;

/// Fills frames and hands them on.
pub(crate) struct Framer {
    feed: Feed,
    current: Option<Buffers>,
    length: usize,
    total: u64,
    /// Of the current frame, where there is to be a table of contents.
    marks: Option<Vec<Mark>>,
    /// Of the current frame.
    holes: Vec<Hole>,
}

impl Framer {
    /// With `marked` it is noted where entries and their contents are.
    pub fn new(feed: Feed, marked: bool) -> Self {
        let marks = marked.then(Vec::new);
        Self { feed, current: None, length: 0, total: 0, marks, holes: Vec::new() }
    }

    /// Bytes of the tar so far.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// Begins an entry.
    pub fn begin(&mut self, entry: &Entry, header: &[u8]) -> Result<()> {
        let cut = entry.size >= LARGE_FILE
            || self.length >= MAX_FRAME
            || (self.length >= MIN_FRAME && path_hash(&entry.path).is_multiple_of(CUT_ONE_IN));
        if cut {
            self.cut()?;
        }
        self.put(header)?;
        if let Some(marks) = &mut self.marks {
            marks.push(Mark::Header { end: self.length, entry: Box::new(entry.clone()) });
        }
        // Somebody else's: ours are never that long, and what follows must have room.
        if header.len() > LONG_HEADER { self.cut() } else { Ok(()) }
    }

    /// How much of a file's content goes in before [`content`](Self::content) may cut: up to the next cut, or to the end where what would
    /// remain is not worth a frame.
    pub fn until_cut(size: u64, done: u64) -> u64 {
        let wanted = size - done;
        let to_cut = LARGE_CUT - done % LARGE_CUT;
        if size >= LARGE_FILE && wanted - to_cut.min(wanted) >= LARGE_FILE {
            to_cut
        } else {
            wanted
        }
    }

    /// [`advance`](Self::advance) with content of a file of `size`, which has `done` bytes with these.
    pub fn content(&mut self, count: usize, size: u64, done: u64) -> Result<()> {
        let begin = self.length;
        self.advance(count);
        if let Some(marks) = &mut self.marks {
            match marks.last_mut() {
                Some(Mark::Content(content)) if content.end == begin => content.end = self.length,
                _ => marks.push(Mark::Content(begin..self.length)),
            }
        }
        if size >= LARGE_FILE && done.is_multiple_of(LARGE_CUT) && size - done >= LARGE_FILE {
            self.cut()?;
        }
        Ok(())
    }

    /// Leaves a hole for up to `wanted` bytes of a file, from `offset` on, and says of how many. [`content`](Self::content) is to follow.
    pub fn hole(&mut self, wanted: usize, file: &Arc<LateFile>, offset: u64) -> Result<usize> {
        let count = self.space(wanted)?.len();
        let place = self.length..self.length + count;
        self.holes.push(Hole { place, file: Arc::clone(file), offset });
        Ok(count)
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

    /// Cuts where there is no more room, which is only so with what others wrote.
    pub fn put(&mut self, mut bytes: &[u8]) -> Result<()> {
        while !bytes.is_empty() {
            let space = self.space(bytes.len())?;
            let count = space.len();
            if count == 0 {
                self.cut()?;
                continue;
            }
            space.copy_from_slice(&bytes[..count]);
            self.advance(count);
            bytes = &bytes[count..];
        }
        Ok(())
    }

    /// How an eStargz layer begins.
    pub fn put_landmark(&mut self) -> Result<()> {
        let (entry, content) = table::landmark();
        let mut header = Vec::new();
        encode_header(&entry, &mut header).map_err(|error| {
            Error::new(Code::LayerUnrepresentable, &entry.path, error.to_string())
        })?;
        self.begin(&entry, &header)?;
        let space = self.space(content.len())?;
        space.copy_from_slice(content);
        self.content(content.len(), entry.size, entry.size)?;
        self.put_zeros(padding(entry.size))
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
            let marks = self.marks.as_mut().map(std::mem::take).unwrap_or_default();
            let holes = std::mem::take(&mut self.holes);
            self.feed
                .submit(buffers, length, marks, holes)
                .map_err(|Stopped| Error::cancelled())?;
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
