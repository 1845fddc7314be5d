//! An index as a file. Little-endian, and ends with the SHA-256 of all that precedes it; nobody but this file reads it.

use std::{
    ffi::OsStr,
    fs::{self, File},
    io::Write,
    os::unix::ffi::OsStrExt,
    path::Path,
};

use sha2::{Digest, Sha256};

use super::{Content, IndexEntry, TreeIndex};
use crate::{Error, Result, scan::ScanEntry};

const MAGIC: &[u8] = b"tsbuild tree index 1\n";
const DIGEST_BYTES: usize = 32;
const KINDS: [&str; 7] = ["file", "directory", "symlink", "fifo", "socket", "char", "block"];
/// Bits beside the number of the kind.
const HAS_LINK: u8 = 0x10;
const HAS_CONTENT: u8 = 0x20;
const IS_SETTLED: u8 = 0x40;

/// Which contents are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Contents {
    /// All that are known, for a reader of the same build.
    All,
    /// Those that a later walk may trust.
    Settled,
}

impl TreeIndex {
    /// Makes a file.
    ///
    /// # Errors
    /// `IO`.
    pub fn save(&self, path: &Path, contents: Contents) -> Result<()> {
        let mut bytes = MAGIC.to_vec();
        push(&mut bytes, self.root.as_os_str().as_bytes());
        push_count(&mut bytes, self.denied.len());
        for directory in &self.denied {
            push(&mut bytes, directory);
        }
        push_count(&mut bytes, self.entries.len());
        for IndexEntry { entry, content } in &self.entries {
            let written =
                content.as_ref().filter(|each| contents == Contents::All || each.is_settled);
            let kind = KINDS.iter().position(|kind| *kind == entry.kind).unwrap_or_default();
            bytes.push(
                kind as u8
                    | if entry.link.is_some() { HAS_LINK } else { 0 }
                    | if written.is_some() { HAS_CONTENT } else { 0 }
                    | if written.is_some_and(|each| each.is_settled) { IS_SETTLED } else { 0 },
            );
            bytes.extend_from_slice(&entry.mode.to_le_bytes());
            for number in [entry.size, entry.dev, entry.ino, entry.links] {
                bytes.extend_from_slice(&number.to_le_bytes());
            }
            for time in [entry.mtime_ns, entry.ctime_ns] {
                bytes.extend_from_slice(&time.to_le_bytes());
            }
            push(&mut bytes, &entry.path);
            if let Some(link) = &entry.link {
                push(&mut bytes, link);
            }
            if let Some(content) = written {
                push(&mut bytes, content.sha256.as_bytes());
            }
        }
        let digest = Sha256::digest(&bytes);
        bytes.extend_from_slice(&digest);
        File::create(path)
            .and_then(|mut file| file.write_all(&bytes))
            .map_err(|error| Error::io("write", path, error))
    }

    /// Reads a file that [`save`](Self::save) made.
    ///
    /// # Errors
    /// `IO`; `DAMAGED_INDEX` for any other content.
    pub fn open(path: &Path) -> Result<Self> {
        let bytes = fs::read(path).map_err(|error| Error::io("read", path, error))?;
        parse(&bytes).ok_or_else(|| {
            Error::of("DAMAGED_INDEX", path, format!("'{}' is damaged", path.display()))
        })
    }
}

fn parse(bytes: &[u8]) -> Option<TreeIndex> {
    let (bytes, digest) = bytes.split_at_checked(bytes.len().checked_sub(DIGEST_BYTES)?)?;
    if Sha256::digest(bytes).as_slice() != digest {
        return None;
    }
    let mut rest = bytes.strip_prefix(MAGIC)?;
    let root = OsStr::from_bytes(take(&mut rest)?).into();
    let denied = (0..take_count(&mut rest)?)
        .map(|_| take(&mut rest).map(<[u8]>::to_vec))
        .collect::<Option<_>>()?;
    let count = take_count(&mut rest)?;
    // What a file claims is not yet there.
    let mut entries = Vec::with_capacity(count.min(rest.len() / DIGEST_BYTES));
    for _ in 0..count {
        let [flags] = take_array(&mut rest)?;
        let kind = KINDS.get(usize::from(flags & 0x0f))?;
        let mode = u32::from_le_bytes(take_array(&mut rest)?);
        let size = u64::from_le_bytes(take_array(&mut rest)?);
        let dev = u64::from_le_bytes(take_array(&mut rest)?);
        let ino = u64::from_le_bytes(take_array(&mut rest)?);
        let links = u64::from_le_bytes(take_array(&mut rest)?);
        let mtime_ns = i128::from_le_bytes(take_array(&mut rest)?);
        let ctime_ns = i128::from_le_bytes(take_array(&mut rest)?);
        let path = take(&mut rest)?.to_vec();
        let link = if flags & HAS_LINK == 0 { None } else { Some(take(&mut rest)?.to_vec()) };
        let content = if flags & HAS_CONTENT == 0 {
            None
        } else {
            let sha256 = std::str::from_utf8(take(&mut rest)?).ok()?.to_owned();
            Some(Content { sha256, is_settled: flags & IS_SETTLED != 0 })
        };
        let entry = ScanEntry { path, kind, mode, size, dev, ino, links, mtime_ns, ctime_ns, link };
        entries.push(IndexEntry { entry, content });
    }
    rest.is_empty().then_some(TreeIndex { root, denied, entries })
}

fn push_count(bytes: &mut Vec<u8>, count: usize) {
    bytes.extend_from_slice(&(count as u64).to_le_bytes());
}

fn push(bytes: &mut Vec<u8>, field: &[u8]) {
    push_count(bytes, field.len());
    bytes.extend_from_slice(field);
}

fn take_array<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, after) = rest.split_first_chunk()?;
    *rest = after;
    Some(*taken)
}

fn take_count(rest: &mut &[u8]) -> Option<usize> {
    usize::try_from(u64::from_le_bytes(take_array(rest)?)).ok()
}

fn take<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let count = take_count(rest)?;
    let (taken, after) = rest.split_at_checked(count)?;
    *rest = after;
    Some(taken)
}
