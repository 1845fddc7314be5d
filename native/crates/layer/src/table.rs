//! The table of contents of a layer whose readers fetch single files: zstd:chunked (of containers/storage) and eStargz (of
//! stargz-snapshotter). docs/reference/outputs.md says what of the formats is written.
//!
//! Both list the same members of the same entries. In zstd:chunked the table is behind the tar, in frames that other readers skip,
//! with what is left of the tar without contents (tar-split), by which a reader that fetched only some files has the tar's digest.
//! In eStargz it is the tar's last file.

use std::io::{self, Write};

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use sha2::{Digest, Sha256};
use tsbuild_tar::{END_OF_ARCHIVE, Entry, EntryKind, Timestamp, encode_header, padding};

use crate::{
    error::{Code, Error, Result, show},
    gzip::Gzip,
    hex::{digest_of, digest_text},
    outline::{Mark, Piece, Summing, Sums},
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TableKind {
    Estargz,
    ZstdChunked,
}

/// Names at the root that eStargz has for itself; the first is how our layers begin, since they name no files to be fetched first.
pub(crate) const ESTARGZ_NAMES: [&[u8]; 3] = [NO_PREFETCH, b".prefetch.landmark", ESTARGZ_TABLE];
const NO_PREFETCH: &[u8] = b".no.prefetch.landmark";
const ESTARGZ_TABLE: &[u8] = b"stargz.index.json";

/// The first entry of an eStargz layer, and its content.
pub(crate) fn landmark() -> (Entry, &'static [u8]) {
    (Entry::new(NO_PREFETCH, EntryKind::File).with_size(1), &[0x0f])
}

/// What comes behind the frames.
#[derive(Default)]
pub(crate) struct Tail {
    /// More of the tar.
    pub tar: Vec<u8>,
    /// More of the blob.
    pub blob: Vec<u8>,
    /// Of the layer's descriptor.
    pub annotations: Vec<(String, String)>,
}

pub(crate) struct Table {
    kind: TableKind,
    level: u32,
    /// JSON, with a comma behind each.
    entries: Vec<u8>,
    file: Option<File>,
    split: Option<TarSplit>,
}

/// A file whose content is not complete.
struct File {
    entry: Box<Entry>,
    chunks: Vec<Chunk>,
    done: u64,
    /// Of all, where there are several chunks.
    summing: Option<Summing>,
}

struct Chunk {
    offset: u64,
    end: u64,
    begin: u64,
    size: u64,
    sums: Sums,
}

impl Table {
    pub fn new(kind: TableKind, level: u32) -> io::Result<Self> {
        let split = match kind {
            TableKind::ZstdChunked => Some(TarSplit::new(level)?),
            TableKind::Estargz => None,
        };
        Ok(Self { kind, level, entries: Vec::new(), file: None, split })
    }

    /// Takes what is in the next frame, which the blob has at `offset`.
    pub fn add(
        &mut self,
        bytes: &[u8],
        marks: &[Mark],
        pieces: &[Piece],
        mut offset: u64,
    ) -> Result<()> {
        let mut pieces = pieces.iter();
        let (mut done, mut cut) = (0, 0);
        for mark in marks {
            match mark {
                Mark::Header { end, entry } => {
                    if let Some(split) = &mut self.split {
                        split.segment.extend_from_slice(&bytes[done..*end]);
                        split.put_segment().map_err(|error| failed(&error))?;
                    }
                    done = *end;
                    self.begin(entry)?;
                }
                Mark::Content(content) => {
                    if content.start > cut {
                        offset += pieces.next().map_or(0, |piece| piece.length as u64);
                    }
                    if let Some(Piece { length, sums: Some(sums) }) = pieces.next() {
                        let end = offset + *length as u64;
                        self.content(&bytes[content.clone()], *sums, offset, end)?;
                        offset = end;
                    }
                    (done, cut) = (content.end, content.end);
                }
            }
        }
        if let Some(split) = &mut self.split {
            split.segment.extend_from_slice(&bytes[done..]);
        }
        Ok(())
    }

    fn begin(&mut self, entry: &Entry) -> Result<()> {
        let names = entry.xattrs.iter().map(|(name, _)| name);
        for name in [&entry.path, &entry.link].into_iter().chain(names) {
            if std::str::from_utf8(name).is_err() {
                return Err(Error::new(
                    Code::LayerUnrepresentable,
                    &entry.path,
                    format!(
                        "'{}' has a name that is not UTF-8, which the table of contents of this compression cannot hold",
                        show(&entry.path)
                    ),
                ));
            }
        }
        let file =
            File { entry: Box::new(entry.clone()), chunks: Vec::new(), done: 0, summing: None };
        self.file = Some(file);
        if entry.kind != EntryKind::File || entry.size == 0 { self.complete() } else { Ok(()) }
    }

    fn content(&mut self, bytes: &[u8], sums: Sums, offset: u64, end: u64) -> Result<()> {
        let Some(file) = &mut self.file else { return Ok(()) };
        let size = bytes.len() as u64;
        if size < file.entry.size {
            file.summing.get_or_insert_with(|| Summing::new(self.kind)).update(bytes);
        }
        file.chunks.push(Chunk { offset, end, begin: file.done, size, sums });
        file.done += size;
        if file.done == file.entry.size { self.complete() } else { Ok(()) }
    }

    /// Everything of the entry is known.
    fn complete(&mut self) -> Result<()> {
        let Some(File { entry, chunks, summing, .. }) = self.file.take() else { return Ok(()) };
        let sums = summing.map(Summing::finish).or(chunks.first().map(|chunk| chunk.sums));
        if let Some(split) = &mut self.split {
            split.put_file(&entry, sums).map_err(|error| failed(&error))?;
        }
        let mut json = Members::begin(&mut self.entries);
        describe(&mut json, &entry);
        if let Some(sums) = &sums {
            json.text("digest", &digest_of(&sums.sha256));
        }
        for (index, chunk) in chunks.iter().enumerate() {
            if index > 0 {
                json.end();
                json = Members::begin(&mut self.entries);
                json.text("type", "chunk");
                json.text("name", &String::from_utf8_lossy(&name_of(&entry)));
            }
            json.number("offset", chunk.offset);
            if self.kind == TableKind::ZstdChunked && index == 0 {
                json.number("endOffset", chunks.last().map_or(0, |last| last.end));
            }
            if chunks.len() > 1 {
                json.number("chunkOffset", chunk.begin);
                json.number("chunkSize", chunk.size);
            }
            if chunks.len() > 1 || self.kind == TableKind::Estargz {
                json.text("chunkDigest", &digest_of(&chunk.sums.sha256));
            }
        }
        json.end();
        Ok(())
    }

    /// The end of a blob whose frames have `offset` bytes.
    pub fn finish(mut self, offset: u64) -> Result<Tail> {
        self.entries.pop();
        match self.split.take() {
            Some(split) => self.zstd_chunked(split, offset),
            None => self.estargz(offset),
        }
        .map_err(|error| failed(&error))
    }

    fn estargz(self, offset: u64) -> io::Result<Tail> {
        let table = [br#"{"version":1,"entries":["#, self.entries.as_slice(), b"]}"].concat();
        let entry = Entry::new(ESTARGZ_TABLE, EntryKind::File).with_size(table.len() as u64);
        let mut tar = Vec::new();
        encode_header(&entry, &mut tar).map_err(io::Error::other)?;
        tar.extend_from_slice(&table);
        tar.resize(tar.len() + padding(entry.size), 0);
        tar.extend_from_slice(&END_OF_ARCHIVE);
        let blob = Gzip::new(self.level)?.single(&tar)?;
        let annotation = ("containerd.io/snapshot/stargz/toc.digest".to_owned(), digest(&table));
        Ok(Tail {
            tar,
            blob: [blob, estargz_footer(offset)].concat(),
            annotations: vec![annotation],
        })
    }

    fn zstd_chunked(self, split: TarSplit, offset: u64) -> io::Result<Tail> {
        let (split, split_size) = split.finish()?;
        let split_digest = digest(&split);
        let table = [
            br#"{"version":1,"entries":["#,
            self.entries.as_slice(),
            br#"],"tarSplitDigest":""#,
            split_digest.as_bytes(),
            br#""}"#,
        ]
        .concat();
        let compressed = zstd::bulk::compress(&table, self.level.cast_signed())?;
        let at = offset + SKIPPABLE_HEADER;
        let split_at = at + compressed.len() as u64 + SKIPPABLE_HEADER;
        let footer: Vec<u8> = [
            at,
            compressed.len() as u64,
            table.len() as u64,
            TABLE_OF_CRFS,
            split_at,
            split.len() as u64,
            split_size,
        ]
        .iter()
        .flat_map(|number| number.to_le_bytes())
        .chain(*ZSTD_CHUNKED_MAGIC)
        .collect();
        let mut blob = Vec::new();
        for content in [&compressed, &split, &footer] {
            put_skippable(&mut blob, content)?;
        }
        let positions = [
            ("manifest-checksum", digest(&compressed)),
            (
                "manifest-position",
                format!("{at}:{}:{}:{TABLE_OF_CRFS}", compressed.len(), table.len()),
            ),
            ("tarsplit-checksum", split_digest),
            ("tarsplit-position", format!("{split_at}:{}:{split_size}", split.len())),
        ];
        let annotations = positions
            .map(|(name, value)| (format!("io.github.containers.zstd-chunked.{name}"), value))
            .into();
        Ok(Tail { tar: Vec::new(), blob, annotations })
    }
}

fn failed(error: &io::Error) -> Error {
    Error::new(Code::Io, b"", format!("cannot write the layer's table of contents: {error}"))
}

fn digest(bytes: &[u8]) -> String {
    digest_text(Sha256::new_with_prefix(bytes))
}

/// An empty member whose extra field says where the table is.
fn estargz_footer(offset: u64) -> Vec<u8> {
    let mut footer = vec![0x1f, 0x8b, 8, 4, 0, 0, 0, 0, 0, 255, 26, 0, b'S', b'G', 22, 0];
    footer.extend_from_slice(format!("{offset:016x}STARGZ").as_bytes());
    // A last stored block with nothing in it, its sum and its length.
    footer.extend_from_slice(&[1, 0, 0, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 0]);
    footer
}

/// Magic and length of a frame that readers skip (RFC 8878, 3.1.2).
const SKIPPABLE_HEADER: u64 = 8;
const SKIPPABLE_MAGIC: [u8; 4] = [0x50, 0x2a, 0x4d, 0x18];
const ZSTD_CHUNKED_MAGIC: &[u8; 8] = b"GNUlInUx";
/// The only type of table there is.
const TABLE_OF_CRFS: u64 = 1;

fn put_skippable(blob: &mut Vec<u8>, content: &[u8]) -> io::Result<()> {
    let length = u32::try_from(content.len()).map_err(io::Error::other)?;
    blob.extend_from_slice(&SKIPPABLE_MAGIC);
    blob.extend_from_slice(&length.to_le_bytes());
    blob.extend_from_slice(content);
    Ok(())
}

/// The tar without contents, as vbatts/tar-split writes it: a line of JSON for each header, with the padding before it, and one for
/// each file with the sum of its content.
struct TarSplit {
    encoder: zstd::stream::write::Encoder<'static, Vec<u8>>,
    segment: Vec<u8>,
    position: u64,
    size: u64,
}

const SPLIT_FILE: u64 = 1;
const SPLIT_SEGMENT: u64 = 2;

impl TarSplit {
    fn new(level: u32) -> io::Result<Self> {
        let encoder = zstd::stream::write::Encoder::new(Vec::new(), level.cast_signed())?;
        Ok(Self { encoder, segment: Vec::new(), position: 0, size: 0 })
    }

    fn put_segment(&mut self) -> io::Result<()> {
        let payload = BASE64.encode(std::mem::take(&mut self.segment));
        self.put(SPLIT_SEGMENT, None, Some(&payload))
    }

    fn put_file(&mut self, entry: &Entry, sums: Option<Sums>) -> io::Result<()> {
        let crc64 = sums.and_then(|sums| sums.crc64);
        let payload = crc64.map(|crc64| BASE64.encode(crc64.to_be_bytes()));
        self.put(SPLIT_FILE, Some(entry), payload.as_deref())
    }

    fn put(&mut self, kind: u64, entry: Option<&Entry>, payload: Option<&str>) -> io::Result<()> {
        let mut line = Vec::new();
        let mut json = Members::begin(&mut line);
        json.number("type", kind);
        if let Some(entry) = entry {
            json.text("name", &String::from_utf8_lossy(&name_of(entry)));
            json.number("size", entry.size);
        }
        match payload {
            Some(payload) => json.text("payload", payload),
            None => json.raw("payload", "null"),
        }
        json.raw("position", &self.position.to_string());
        json.end();
        if let Some(last) = line.last_mut() {
            *last = b'\n';
        }
        self.position += 1;
        self.size += line.len() as u64;
        self.encoder.write_all(&line)
    }

    /// Compressed, and its size before that.
    fn finish(mut self) -> io::Result<(Vec<u8>, u64)> {
        if !self.segment.is_empty() {
            self.put_segment()?;
        }
        Ok((self.encoder.finish()?, self.size))
    }
}

/// As the header has it.
fn name_of(entry: &Entry) -> Vec<u8> {
    let mut name = entry.path.clone();
    if entry.kind == EntryKind::Directory && !name.ends_with(b"/") {
        name.push(b'/');
    }
    name
}

fn describe(json: &mut Members<'_>, entry: &Entry) {
    json.text(
        "type",
        match entry.kind {
            EntryKind::File => "reg",
            EntryKind::HardLink => "hardlink",
            EntryKind::Symlink => "symlink",
            EntryKind::Directory => "dir",
            EntryKind::CharDevice => "char",
            EntryKind::BlockDevice => "block",
            EntryKind::Fifo => "fifo",
        },
    );
    json.text("name", &String::from_utf8_lossy(&name_of(entry)));
    if !entry.link.is_empty() {
        json.text("linkName", &String::from_utf8_lossy(&entry.link));
    }
    json.number("mode", u64::from(entry.mode));
    json.number("size", entry.size);
    json.number("uid", entry.uid);
    json.number("gid", entry.gid);
    json.text("modtime", &rfc3339(entry.mtime));
    json.number("devMajor", u64::from(entry.device_major));
    json.number("devMinor", u64::from(entry.device_minor));
    if !entry.xattrs.is_empty() {
        let mut inner = Vec::new();
        let mut members = Members::begin(&mut inner);
        let mut sorted: Vec<_> = entry.xattrs.iter().collect();
        sorted.sort();
        for (name, value) in sorted {
            members.text(&String::from_utf8_lossy(name), &BASE64.encode(value));
        }
        members.end();
        inner.pop();
        json.raw("xattrs", &String::from_utf8_lossy(&inner));
    }
}

/// The members of a JSON object, with a comma behind it.
struct Members<'a> {
    out: &'a mut Vec<u8>,
    first: bool,
}

impl<'a> Members<'a> {
    fn begin(out: &'a mut Vec<u8>) -> Self {
        out.push(b'{');
        Self { out, first: true }
    }

    fn raw(&mut self, name: &str, value: &str) {
        if !self.first {
            self.out.push(b',');
        }
        self.first = false;
        put_text(self.out, name);
        self.out.push(b':');
        self.out.extend_from_slice(value.as_bytes());
    }

    fn text(&mut self, name: &str, value: &str) {
        self.raw(name, "");
        put_text(self.out, value);
    }

    /// Zero is left out, as both formats do.
    fn number(&mut self, name: &str, value: u64) {
        if value != 0 {
            self.raw(name, &value.to_string());
        }
    }

    fn end(self) {
        self.out.extend_from_slice(b"},");
    }
}

/// RFC 8259, section 7.
fn put_text(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    for byte in text.bytes() {
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
            0..0x20 => out.extend_from_slice(format!("\\u{byte:04x}").as_bytes()),
            _ => out.push(byte),
        }
    }
    out.push(b'"');
}

/// In UTC. Go's readers know the years 0 to 9999.
fn rfc3339(time: Timestamp) -> String {
    let seconds = time.seconds.clamp(-62_167_219_200, 253_402_300_799);
    let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let (year, month, day) = civil(days);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    let fraction = match time.nanoseconds {
        0 => String::new(),
        nanoseconds => format!(".{nanoseconds:09}").trim_end_matches('0').to_owned(),
    };
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}{fraction}Z")
}

/// Year, month and day of a day since 1970, in the Gregorian calendar: years that begin in March, in eras of 400.
fn civil(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let (era, day_of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (era * 400 + year_of_era + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_those_of_the_calendar() {
        let text = |seconds, nanoseconds| rfc3339(Timestamp { seconds, nanoseconds });
        assert_eq!(text(0, 0), "1970-01-01T00:00:00Z");
        assert_eq!(text(951_782_400, 0), "2000-02-29T00:00:00Z");
        assert_eq!(text(1_709_251_199, 120_000_000), "2024-02-29T23:59:59.12Z");
        assert_eq!(text(-1, 0), "1969-12-31T23:59:59Z");
        assert_eq!(text(i64::MAX, 0), "9999-12-31T23:59:59Z");
        assert_eq!(text(i64::MIN, 0), "0000-01-01T00:00:00Z");
    }

    #[test]
    fn names_are_quoted() {
        let mut out = Vec::new();
        put_text(&mut out, "a\"b\\c\n\u{e9}\u{2028}");
        assert_eq!(String::from_utf8(out).unwrap(), "\"a\\\"b\\\\c\\u000a\u{e9}\u{2028}\"");
    }

    #[test]
    fn a_footer_of_estargz_has_51_bytes() {
        assert_eq!(estargz_footer(0x1234).len(), 51);
    }
}
