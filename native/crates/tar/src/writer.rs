//! Entries to bytes: ustar where it fits, PAX records where it does not. The same entry always gives the same bytes.

use std::io::Write;

use crate::{
    entry::{Entry, EntryKind},
    error::Error,
    header::{
        BLOCK, DEVICE_MAJOR, DEVICE_MINOR, Field, GID, LINK, MAGIC, MODE, MTIME, NAME, PREFIX,
        SIZE, TYPE, UID, put_checksum, put_octal,
    },
    pax::{format_time, push_record},
    reader::MAX_EXTENDED,
};

/// Two blocks of zeros. A blocking factor is not needed.
pub const END_OF_ARCHIVE: [u8; 2 * BLOCK] = [0; 2 * BLOCK];

/// Zeros that follow `size` bytes of data up to the next block.
pub const fn padding(size: u64) -> usize {
    (BLOCK - (size % BLOCK as u64) as usize) % BLOCK
}

/// The name in the header of PAX records. A constant, since it may depend on nothing (GNU tar puts its process id there).
const PAX_NAME: &[u8] = b"PaxHeaders/entry";

/// Appends the header of `entry`, preceded by PAX records where ustar cannot hold it. Data follows it, then
/// [`padding`].
///
/// # Errors
/// [`Error::Unrepresentable`] for a NUL in a name, a `=` in an attribute's name, or more attributes than any reader takes.
pub fn encode_header(entry: &Entry, output: &mut Vec<u8>) -> Result<(), Error> {
    let mut path = entry.path.clone();
    if entry.kind == EntryKind::Directory && !path.ends_with(b"/") {
        path.push(b'/');
    }
    if path.is_empty() || path.contains(&0) || entry.link.contains(&0) {
        return Err(Error::Unrepresentable("a name that is empty or holds a NUL".into()));
    }

    let mut block = [0_u8; BLOCK];
    let mut records: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
    let mut record = |key: &[u8], value: Vec<u8>| records.push((key.to_vec(), value));

    match split_path(&path) {
        Some((prefix, name)) => {
            put_bytes(&mut block, PREFIX, prefix);
            put_bytes(&mut block, NAME, name);
        }
        None => {
            put_ascii(&mut block, NAME, &path);
            record(b"path", path.clone());
        }
    }
    if entry.link.len() <= LINK.1 && entry.link.is_ascii() {
        put_bytes(&mut block, LINK, &entry.link);
    } else {
        put_ascii(&mut block, LINK, &entry.link);
        record(b"linkpath", entry.link.clone());
    }
    // POSIX: values are UTF-8 unless this says otherwise. libarchive refuses such names without it.
    if std::str::from_utf8(&path).is_err() || std::str::from_utf8(&entry.link).is_err() {
        record(b"hdrcharset", b"BINARY".to_vec());
    }

    put_octal(&mut block, MODE, u64::from(entry.mode & 0o7777));
    for (field, key, value) in [(UID, &b"uid"[..], entry.uid), (GID, b"gid", entry.gid)] {
        if !put_octal(&mut block, field, value) {
            put_octal(&mut block, field, 0);
            record(key, value.to_string().into_bytes());
        }
    }
    let size = if entry.kind == EntryKind::File { entry.size } else { 0 };
    if !put_octal(&mut block, SIZE, size) {
        put_octal(&mut block, SIZE, 0);
        record(b"size", size.to_string().into_bytes());
    }
    let seconds = u64::try_from(entry.mtime.seconds).ok().filter(|_| entry.mtime.nanoseconds == 0);
    if !seconds.is_some_and(|seconds| put_octal(&mut block, MTIME, seconds)) {
        put_octal(&mut block, MTIME, 0);
        record(b"mtime", format_time(entry.mtime.seconds, entry.mtime.nanoseconds).into_bytes());
    }
    let device = matches!(entry.kind, EntryKind::CharDevice | EntryKind::BlockDevice);
    for (field, key, value) in [
        (DEVICE_MAJOR, &b"SCHILY.devmajor"[..], entry.device_major),
        (DEVICE_MINOR, b"SCHILY.devminor", entry.device_minor),
    ] {
        let value = if device { u64::from(value) } else { 0 };
        if !put_octal(&mut block, field, value) {
            put_octal(&mut block, field, 0);
            record(key, value.to_string().into_bytes());
        }
    }
    for (name, value) in &entry.xattrs {
        if name.is_empty() || name.contains(&b'=') || name.contains(&0) {
            return Err(Error::Unrepresentable(format!(
                "an extended attribute named '{}'",
                String::from_utf8_lossy(name)
            )));
        }
        record(&[b"SCHILY.xattr.", name.as_slice()].concat(), value.clone());
    }

    block[TYPE] = match entry.kind {
        EntryKind::File => b'0',
        EntryKind::HardLink => b'1',
        EntryKind::Symlink => b'2',
        EntryKind::CharDevice => b'3',
        EntryKind::BlockDevice => b'4',
        EntryKind::Directory => b'5',
        EntryKind::Fifo => b'6',
    };
    put_bytes(&mut block, MAGIC, b"ustar\x0000");

    if !records.is_empty() {
        records.sort();
        let mut body = Vec::new();
        for (key, value) in &records {
            push_record(&mut body, key, value);
        }
        if body.len() as u64 > MAX_EXTENDED {
            return Err(Error::Unrepresentable("its names and attributes exceed 1 MiB".into()));
        }
        push_pax_header(&body, output);
    }
    put_checksum(&mut block);
    output.extend_from_slice(&block);
    Ok(())
}

fn push_pax_header(body: &[u8], output: &mut Vec<u8>) {
    let mut block = [0_u8; BLOCK];
    put_bytes(&mut block, NAME, PAX_NAME);
    put_octal(&mut block, MODE, 0o644);
    for field in [UID, GID, MTIME, DEVICE_MAJOR, DEVICE_MINOR] {
        put_octal(&mut block, field, 0);
    }
    put_octal(&mut block, SIZE, body.len() as u64);
    block[TYPE] = b'x';
    put_bytes(&mut block, MAGIC, b"ustar\x0000");
    put_checksum(&mut block);
    output.extend_from_slice(&block);
    output.extend_from_slice(body);
    output.resize(output.len() + padding(body.len() as u64), 0);
}

fn put_bytes(block: &mut [u8; BLOCK], field: Field, bytes: &[u8]) {
    block[field.0..field.0 + bytes.len()].copy_from_slice(bytes);
}

/// What a reader without PAX gets to see.
fn put_ascii(block: &mut [u8; BLOCK], field: Field, bytes: &[u8]) {
    for (slot, byte) in block[field.0..field.0 + field.1].iter_mut().zip(bytes) {
        *slot = if byte.is_ascii() { *byte } else { b'_' };
    }
}

/// The path as ustar's prefix and name, cut at a slash; `None` where it does not fit or is not ASCII.
fn split_path(path: &[u8]) -> Option<(&[u8], &[u8])> {
    if !path.is_ascii() {
        return None;
    }
    if path.len() <= NAME.1 {
        return Some((b"", path));
    }
    // The slash may not be the last byte, or the name would be empty.
    let searched = path.len().min(PREFIX.1 + 1).min(path.len() - 1);
    let slash = path[..searched].iter().rposition(|byte| *byte == b'/')?;
    let (prefix, name) = (&path[..slash], &path[slash + 1..]);
    (!prefix.is_empty() && name.len() <= NAME.1).then_some((prefix, name))
}

/// Writes an archive.
pub struct Writer<W> {
    inner: W,
    buffer: Vec<u8>,
    /// Data that the current entry still has to get.
    pending: u64,
    padding: usize,
}

impl<W: Write> Writer<W> {
    /// Nothing is written before the first entry.
    pub fn new(inner: W) -> Self {
        Self { inner, buffer: Vec::new(), pending: 0, padding: 0 }
    }

    /// Begins an entry; a file's `size` bytes of [`data`](Self::data) must follow.
    ///
    /// # Errors
    /// [`Error::Unrepresentable`] when the entry before is not complete, or see [`encode_header`].
    pub fn entry(&mut self, entry: &Entry) -> Result<(), Error> {
        self.end_entry()?;
        self.buffer.clear();
        encode_header(entry, &mut self.buffer)?;
        self.inner.write_all(&self.buffer)?;
        if entry.kind == EntryKind::File {
            self.pending = entry.size;
            self.padding = padding(entry.size);
        }
        Ok(())
    }

    /// Content of the current entry.
    ///
    /// # Errors
    /// [`Error::Unrepresentable`] when it is more than the entry's size.
    pub fn data(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.pending = self
            .pending
            .checked_sub(bytes.len() as u64)
            .ok_or_else(|| Error::Unrepresentable("more data than its size".into()))?;
        self.inner.write_all(bytes)?;
        Ok(())
    }

    /// Writes the end marker and hands the writer back.
    ///
    /// # Errors
    /// When the last entry is not complete, or writing fails.
    pub fn finish(mut self) -> Result<W, Error> {
        self.end_entry()?;
        self.inner.write_all(&END_OF_ARCHIVE)?;
        Ok(self.inner)
    }

    fn end_entry(&mut self) -> Result<(), Error> {
        if self.pending != 0 {
            return Err(Error::Unrepresentable("less data than its size".into()));
        }
        self.inner.write_all(&[0; BLOCK][..self.padding])?;
        self.padding = 0;
        Ok(())
    }
}
