//! Where in the tar headers end and contents are, for formats whose readers fetch single files (`table.rs`).
//!
//! There a frame is cut into pieces, each compressed by itself: the content of a file, or a part of it where it goes on in the next
//! frame; and what is between two contents.

use std::ops::Range;

use crc::{CRC_64_GO_ISO, Crc, Table};
use sha2::{Digest, Sha256};
use tsbuild_tar::Entry;

use crate::table::TableKind;

/// Something in a frame, by offsets in it, in order.
pub(crate) enum Mark {
    /// Here the header of an entry ends.
    Header { end: usize, entry: Box<Entry> },
    /// Content of the file whose header was last.
    Content(Range<usize>),
}

/// The pieces of a frame of `length` bytes, in order, and whether they are content.
pub(crate) fn pieces(marks: &[Mark], length: usize) -> Vec<(Range<usize>, bool)> {
    let mut pieces = Vec::new();
    let mut done = 0;
    for mark in marks {
        if let Mark::Content(content) = mark {
            if content.start > done {
                pieces.push((done..content.start, false));
            }
            pieces.push((content.clone(), true));
            done = content.end;
        }
    }
    if length > done {
        pieces.push((done..length, false));
    }
    pieces
}

/// A piece as it is in the blob.
pub(crate) struct Piece {
    pub length: usize,
    /// Of content.
    pub sums: Option<Sums>,
}

/// What readers check content by.
#[derive(Clone, Copy)]
pub(crate) struct Sums {
    pub sha256: [u8; 32],
    pub crc64: Option<u64>,
}

/// tar-split's.
static CRC64: Crc<u64, Table<16>> = Crc::<u64, Table<16>>::new(&CRC_64_GO_ISO);

/// Makes [`Sums`] of content that comes in parts.
pub(crate) struct Summing {
    sha256: Sha256,
    /// Only tar-split asks for it.
    crc64: Option<crc::Digest<'static, u64, Table<16>>>,
}

impl Summing {
    pub fn new(kind: TableKind) -> Self {
        let crc64 = (kind == TableKind::ZstdChunked).then(|| CRC64.digest());
        Self { sha256: Sha256::new(), crc64 }
    }

    pub fn update(&mut self, bytes: &[u8]) {
        self.sha256.update(bytes);
        if let Some(crc64) = &mut self.crc64 {
            crc64.update(bytes);
        }
    }

    pub fn finish(self) -> Sums {
        Sums {
            sha256: self.sha256.finalize().into(),
            crc64: self.crc64.map(|crc64| crc64.finalize()),
        }
    }
}

pub(crate) fn sums_of(bytes: &[u8], kind: TableKind) -> Sums {
    let mut summing = Summing::new(kind);
    summing.update(bytes);
    summing.finish()
}
