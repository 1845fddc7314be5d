//! A blob to a blob of another compression. The tar between them stays byte for byte: its digest names the layer. eStargz alone has
//! more entries, and so another tar.

use std::{
    cell::RefCell,
    fs::File,
    io::{self, Read},
    path::PathBuf,
    rc::Rc,
};

use tsbuild_tar::{Reader, padding};

use crate::{
    compress::{BlobFile, Compression, Written},
    decompress::{self, Encoding, ExpandLimits, Expected, TarStream},
    error::{Code, Error, Result, show},
    frame::{Framer, LARGE_CUT, LARGE_FILE},
    table::{ESTARGZ_NAMES, TableKind},
    watch::Watch,
};

/// What to read and what to write.
#[derive(Clone, Debug)]
pub struct RecompressOptions {
    /// A blob of any compression.
    pub blob: PathBuf,
    /// Digest that its tar must have.
    pub expected_diff_id: String,
    /// The file to make.
    pub output: PathBuf,
    /// Algorithm and level of the new blob.
    pub compression: Compression,
    /// Compressor threads; the bytes do not depend on it.
    pub threads: usize,
    /// Bounds on the tar.
    pub limits: ExpandLimits,
}

/// The blob that was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecompressedLayer {
    /// Of the file.
    pub digest: String,
    /// Of the file.
    pub size: u64,
    /// Digest of the tar, as it was expected; of eStargz that of the new one.
    pub diff_id: String,
    /// Of the tar.
    pub uncompressed_size: u64,
    /// That the blob's descriptor is to have.
    pub annotations: Vec<(String, String)>,
}

/// Writes the blob again. Entries are not looked at, so frames are cut by length alone. Reports the bytes read.
///
/// # Errors
/// `DIGEST_MISMATCH`, `BAD_ARCHIVE`, `ARCHIVE_LIMIT`, `IO`, `CANCELLED`. The output file is removed then.
pub fn recompress_layer(
    options: &RecompressOptions,
    watch: Watch<'_>,
) -> Result<RecompressedLayer> {
    let blob = BlobFile {
        path: &options.output,
        compression: options.compression,
        threads: options.threads,
        previous: None,
    };
    blob.make(|file| recompress(options, &blob, file, watch))
}

fn recompress(
    options: &RecompressOptions,
    target: &BlobFile<'_>,
    file: &File,
    watch: Watch<'_>,
) -> Result<RecompressedLayer> {
    let blob = options.blob.as_os_str().as_encoded_bytes();
    let expected = Expected { digest: None, diff_id: Some(&options.expected_diff_id) };
    let (written, _) = decompress::run(
        &options.blob,
        None,
        Encoding::Auto,
        options.limits,
        watch,
        expected,
        |stream| {
            target.write_to(file, |feed| {
                let kind = options.compression.table();
                let framer = Framer::new(feed, kind.is_some());
                match kind {
                    Some(kind) => pour_entries(stream, framer, kind, blob, watch),
                    None => pour(stream, framer, blob),
                }
            })
        },
    )?;
    let Written { digest, size, diff_id, uncompressed_size, annotations, .. } = written;
    Ok(RecompressedLayer { digest, size, diff_id, uncompressed_size, annotations })
}

fn pour(stream: &mut TarStream, mut framer: Framer, blob: &[u8]) -> Result<()> {
    loop {
        let left = LARGE_CUT - framer.total() % LARGE_CUT;
        let space = framer.space(usize::try_from(left).unwrap_or(usize::MAX))?;
        let count = stream.read(space).map_err(|error| cannot_read(&error, blob))?;
        framer.advance(count);
        if count == 0 || framer.total().is_multiple_of(LARGE_CUT) {
            framer.cut()?;
        }
        if count == 0 {
            return Ok(());
        }
    }
}

fn cannot_read(error: &io::Error, blob: &[u8]) -> Error {
    Error::std_io("cannot decompress", blob, error)
}

/// The same, by entries, for a table of contents. Everything but contents goes on as it was read.
fn pour_entries(
    stream: &mut TarStream,
    mut framer: Framer,
    kind: TableKind,
    blob: &[u8],
    watch: Watch<'_>,
) -> Result<()> {
    let bad = |error: tsbuild_tar::Error| {
        let message = format!("cannot read the layer '{}': {error}", show(blob));
        Error::new(Code::BadArchive, blob, message)
    };
    let read = Rc::new(RefCell::new(Vec::new()));
    let mut reader = Reader::new(Copying { inner: stream, copy: Rc::clone(&read) });
    let estargz = kind == TableKind::Estargz;
    if estargz {
        framer.put_landmark()?;
    }
    // Of the content in front of the next header.
    let mut size = 0;
    loop {
        watch.poll()?;
        let entry = reader.next_entry().map_err(bad)?;
        let before = read.take();
        let (pad, header) = before.split_at(padding(size).min(before.len()));
        if estargz {
            // Whatever it was: an entry may be left out, and the tar goes on behind the last one.
            framer.put_zeros(padding(framer.total()))?;
        } else {
            framer.put(pad)?;
        }
        if size >= LARGE_FILE {
            framer.cut()?;
        }
        let Some(entry) = entry else {
            if !estargz {
                framer.put(header)?;
            }
            break;
        };
        size = entry.size;
        let name = entry.path.strip_prefix(b"./").unwrap_or(&entry.path);
        if estargz && ESTARGZ_NAMES.contains(&name) {
            io::copy(&mut reader, &mut io::sink()).map_err(|error| cannot_read(&error, blob))?;
            read.take();
            continue;
        }
        framer.begin(&entry, header)?;
        let mut done = 0;
        while done < entry.size {
            let wanted = Framer::until_cut(entry.size, done).min(READ_AT_ONCE);
            let space = framer.space(usize::try_from(wanted).unwrap_or(usize::MAX))?;
            let segment = reader.read_segment(space).map_err(|error| cannot_read(&error, blob))?;
            read.take();
            let Some((_, count)) = segment.filter(|(offset, _)| *offset == done) else {
                let message = format!(
                    "'{}' is stored with holes, which a table of contents has no words for",
                    show(&entry.path)
                );
                return Err(Error::new(Code::LayerUnrepresentable, &entry.path, message));
            };
            done += count as u64;
            framer.content(count, entry.size, done)?;
        }
    }
    let stream = reader.into_inner().inner;
    if estargz { framer.cut() } else { pour(stream, framer, blob) }
}

const READ_AT_ONCE: u64 = 1 << 20;

/// Keeps what is read.
struct Copying<R> {
    inner: R,
    copy: Rc<RefCell<Vec<u8>>>,
}

impl<R: Read> Read for Copying<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.copy.borrow_mut().extend_from_slice(&buffer[..count]);
        Ok(count)
    }
}
