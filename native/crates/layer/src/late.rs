//! Files of the user's whose content is known and need not be read before their frame is compressed; and not at all where the blob of an
//! earlier state of the layer has a frame of the same ones (`reuse.rs`).
//!
//! The producer lays out a frame with a hole for each such content. Cuts depend on paths and sizes alone (`frame.rs`), so that nothing is
//! missing to decide them. What is around the holes, and the digests of what belongs into them, is the recipe of the frame.

use std::{
    ops::Range,
    os::fd::OwnedFd,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use rustix::{
    fs::{Mode, OFlags},
    io::Errno,
};
use sha2::{Digest, Sha256};
use tsbuild_sys::copy::Expectation;

use crate::{
    disk::Facts,
    error::{Code, Error, Result, show},
};

/// A file that is read later.
#[derive(Debug)]
pub(crate) struct LateFile {
    /// An absolute path of the host.
    pub source: PathBuf,
    /// As that of a `CopyEntry`.
    pub follow: bool,
    pub expect: Expectation,
    /// Lower-case hex, of all of it.
    pub sha256: String,
}

/// Where in a frame a part of a file belongs.
#[derive(Debug)]
pub(crate) struct Hole {
    pub place: Range<usize>,
    pub file: Arc<LateFile>,
    /// In the file.
    pub offset: u64,
}

/// What a frame is made of.
#[derive(Debug)]
pub(crate) struct Recipe {
    pub digest: [u8; 32],
    /// The bytes around the holes.
    fixed: Vec<u8>,
}

impl Recipe {
    /// `None` for a frame that has no holes.
    pub fn of(frame: &[u8], holes: &[Hole]) -> Option<Self> {
        if holes.is_empty() {
            return None;
        }
        let (mut hash, mut fixed) = (Sha256::new(), Vec::new());
        let mut around = gaps(holes, frame.len());
        for hole in holes.iter().map(Some).chain([None]) {
            let bytes = &frame[around.next().unwrap_or_default()];
            hash.update((bytes.len() as u64).to_le_bytes());
            hash.update(bytes);
            fixed.extend_from_slice(bytes);
            if let Some(Hole { place, file, offset }) = hole {
                hash.update((place.len() as u64).to_le_bytes());
                hash.update(offset.to_le_bytes());
                hash.update(file.sha256.as_bytes());
            }
        }
        Some(Self { digest: hash.finalize().into(), fixed })
    }

    /// Whether a frame has what is to be around the holes.
    pub fn fits(&self, frame: &[u8], holes: &[Hole]) -> bool {
        let mut fixed = self.fixed.as_slice();
        gaps(holes, frame.len()).all(|gap| {
            let (bytes, rest) = fixed.split_at(gap.len());
            fixed = rest;
            frame[gap] == *bytes
        })
    }

    /// Puts it there.
    pub fn lay(&self, frame: &mut [u8], holes: &[Hole]) {
        let mut fixed = self.fixed.as_slice();
        for gap in gaps(holes, frame.len()) {
            let (bytes, rest) = fixed.split_at(gap.len());
            fixed = rest;
            frame[gap].copy_from_slice(bytes);
        }
    }
}

/// What is before each hole, and behind the last.
fn gaps(holes: &[Hole], length: usize) -> impl Iterator<Item = Range<usize>> + '_ {
    let starts = [0].into_iter().chain(holes.iter().map(|hole| hole.place.end));
    let ends = holes.iter().map(|hole| hole.place.start).chain([length]);
    starts.zip(ends).map(|(start, end)| start..end)
}

impl Hole {
    /// Reads what belongs into it.
    ///
    /// # Errors
    /// `SOURCE_CHANGED` where the file is not what it was when its content became known. `IO`.
    pub fn fill(&self, frame: &mut [u8]) -> Result<()> {
        let file = self.file.open()?;
        let mut space = &mut frame[self.place.clone()];
        let mut offset = self.offset;
        while !space.is_empty() {
            match rustix::io::pread(&file, &mut *space, offset) {
                Ok(0) => return Err(source_changed(&self.file.source)),
                Ok(count) => {
                    space = &mut space[count..];
                    offset += count as u64;
                }
                Err(Errno::INTR) => {}
                Err(errno) => return Err(source_error(&self.file.source, true, errno)),
            }
        }
        self.file.check(&file)
    }
}

impl LateFile {
    fn open(&self) -> Result<OwnedFd> {
        let file = open_source(&self.source, self.follow)
            .map_err(|errno| source_error(&self.source, true, errno))?;
        self.check(&file)?;
        Ok(file)
    }

    fn check(&self, file: &OwnedFd) -> Result<()> {
        let stat =
            rustix::fs::fstat(file).map_err(|errno| source_error(&self.source, true, errno))?;
        if Facts::new(&stat).is_file() && self.expect.holds(&stat) {
            Ok(())
        } else {
            Err(source_changed(&self.source))
        }
    }
}

/// As the copier opens it: neither a FIFO in its place nor a terminal may hold us.
pub(crate) fn open_source(source: &Path, follow: bool) -> std::result::Result<OwnedFd, Errno> {
    let follow = if follow { OFlags::empty() } else { OFlags::NOFOLLOW };
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC | follow;
    rustix::fs::open(source, flags, Mode::empty())
}

pub(crate) fn source_changed(source: &Path) -> Error {
    let source = source.as_os_str().as_bytes();
    Error::new(
        Code::SourceChanged,
        source,
        format!("'{}' changed while the build read it", show(source)),
    )
}

/// `is_expected`: it was there when it was hashed.
pub(crate) fn source_error(source: &Path, is_expected: bool, errno: Errno) -> Error {
    match errno {
        Errno::NOENT | Errno::LOOP | Errno::NOTDIR if is_expected => source_changed(source),
        _ => Error::io("cannot read", source.as_os_str().as_bytes(), errno),
    }
}
