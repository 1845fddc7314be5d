//! The tar format: headers, PAX records, a streaming reader and an encoder. No I/O beyond `Read` and `Write`.
//!
//! Read: v7, ustar, star, PAX (extended and global), GNU (long names, sparse 0.0, 0.1, 1.0 and the old form, base-256).
//! Written: ustar where an entry fits, PAX records where it does not, nothing else.
//!
//! Names and attribute values are bytes throughout; nothing here requires UTF-8. The reader takes archives from
//! strangers: every length is bounded before memory is reserved, and a path is handed out as it is written, so whoever
//! makes files of it must keep it inside a root.
//!
//! ```
//! use std::io::Read;
//! use tsbuild_tar::{Entry, EntryKind, Reader, Writer};
//!
//! let mut writer = Writer::new(Vec::new());
//! writer.entry(&Entry::new(b"hello", EntryKind::File).with_size(2))?;
//! writer.data(b"hi")?;
//! let archive = writer.finish()?;
//!
//! let mut reader = Reader::new(archive.as_slice());
//! while let Some(entry) = reader.next_entry()? {
//!     let mut content = Vec::new();
//!     reader.read_to_end(&mut content)?;
//!     assert_eq!((entry.path.as_slice(), content.as_slice()), (&b"hello"[..], &b"hi"[..]));
//! }
//! # Ok::<(), tsbuild_tar::Error>(())
//! ```

mod entry;
mod error;
mod header;
mod pax;
mod reader;
mod sparse;
mod writer;

pub use entry::{Entry, EntryKind, Timestamp};
pub use error::Error;
pub use header::BLOCK;
pub use reader::{Limits, Reader};
pub use sparse::Segment;
pub use writer::{END_OF_ARCHIVE, Writer, encode_header, padding};
