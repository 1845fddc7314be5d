//! A blob to a tar stream, with both digests taken on the way.
//!
//! ```text
//! file ─► blob chunks ─┬─► hasher (blob digest)
//!                      └─► decompressor ─► tar chunks ─┬─► hasher (diffID)
//!                                                      └─► whoever reads
//! ```
//!
//! Channels are short, so the slowest of them sets the pace and the memory is bounded. Everything to the last byte of
//! the blob passes both hashers, also what lies behind the end of the archive.
//!
//! The file may still be growing: whoever downloads it takes its digest, and cancels when it will not be complete.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Read},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use crossbeam_channel::{Receiver, Sender, bounded};
use sha2::{Digest, Sha256};
use zstd::zstd_safe::{self, DCtx, DParameter, InBuffer, OutBuffer};

use crate::{
    error::{Code, Error, Result, show},
    hex::digest_text,
    watch::Watch,
};

/// How a blob is said to be compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// By its first bytes.
    Auto,
    /// zstd frames, skippable ones among them.
    Zstd,
    /// gzip members.
    Gzip,
    /// A tar.
    None,
}

/// Bounds on what a blob may become.
#[derive(Clone, Copy, Debug)]
pub struct ExpandLimits {
    /// Bytes of tar.
    pub bytes: u64,
    /// Bytes of tar for each byte of blob; counts beyond [`RATIO_FREE`] only.
    pub ratio: u64,
}

impl ExpandLimits {
    /// Whether `expanded` bytes from a blob of `size` are too many.
    pub(crate) fn check(&self, expanded: u64, size: u64, path: &[u8]) -> Result<()> {
        let by_ratio = size.saturating_mul(self.ratio).max(RATIO_FREE);
        if expanded > self.bytes.min(by_ratio) {
            return Err(Error::new(
                Code::ArchiveLimit,
                path,
                format!(
                    "the archive of {size} bytes expands to more than {} bytes",
                    self.bytes.min(by_ratio)
                ),
            ));
        }
        Ok(())
    }
}

/// A small layer of zeros has a huge ratio and harms nobody.
const RATIO_FREE: u64 = 64 << 20;

/// A blob that somebody is writing, in order.
#[derive(Clone, Debug)]
pub struct ArrivingBlob {
    /// Where it is as long as it is not complete.
    pub path: PathBuf,
    /// Of the complete blob.
    pub size: u64,
}

/// What was asked for.
#[derive(Clone, Copy, Default)]
pub(crate) struct Expected<'a> {
    pub digest: Option<&'a str>,
    pub diff_id: Option<&'a str>,
}

/// Both digests and the size of the tar.
#[derive(Clone, Debug)]
pub(crate) struct Digests {
    /// Of a blob that was complete.
    pub blob: Option<String>,
    pub diff_id: String,
    pub uncompressed_size: u64,
}

const CHUNK: usize = 1 << 20;
/// Between looks at a file that has not grown. A chunk takes about as long to unpack.
const GROWTH_INTERVAL: Duration = Duration::from_millis(2);
/// Chunks of the blob between two stages.
const DEPTH: usize = 4;
/// Chunks of the tar between two stages, which may be [`DIRECT_MOST`] long.
const TAR_DEPTH: usize = 2;
/// zstd's own default for what a decoder accepts: 128 MiB of window.
pub(crate) const ZSTD_WINDOW_LOG: u32 = 27;

/// A frame that says that it holds so much is decompressed into one chunk, without a window whose content is copied. Ours do (frame.rs).
const DIRECT_MOST: u64 = 8 << 20;
/// Smaller ones share chunks: handing each of them on would cost more.
const DIRECT_LEAST: u64 = 256 << 10;
/// The longest header of a zstd frame (RFC 8878, section 3.1.1).
const FRAME_HEADER_MOST: usize = 18;

/// Goes back on the shelf when the last one who reads it is done.
#[derive(Default)]
pub(crate) struct Memory {
    bytes: Vec<u8>,
    shelf: Arc<Shelf>,
}

type Chunk = Arc<Memory>;

impl Drop for Memory {
    fn drop(&mut self) {
        self.shelf.put(std::mem::take(&mut self.bytes));
    }
}

/// Memory for the next chunk: asking the system for each of them means that it has to clear their pages.
#[derive(Default)]
struct Shelf(Mutex<Vec<Vec<u8>>>);

/// As many as a stage is behind the one before it.
const SHELF_MOST: usize = DEPTH + 2;

impl Shelf {
    /// An empty one that takes so much.
    fn take(&self, capacity: usize) -> Vec<u8> {
        let mut free = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match free.iter().position(|bytes| bytes.capacity() >= capacity) {
            Some(at) => free.swap_remove(at),
            None => {
                // Those that are too small would stay.
                free.pop();
                Vec::with_capacity(capacity)
            }
        }
    }

    fn put(&self, mut bytes: Vec<u8>) {
        let mut free = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if bytes.capacity() > 0 && free.len() < SHELF_MOST {
            bytes.clear();
            free.push(bytes);
        }
    }
}

/// Runs `consume` on the tar of the blob. What `consume` leaves is read to the end.
pub(crate) fn run<T>(
    path: &Path,
    arriving: Option<&ArrivingBlob>,
    encoding: Encoding,
    limits: ExpandLimits,
    watch: Watch<'_>,
    expected: Expected<'_>,
    consume: impl FnOnce(&mut TarStream) -> Result<T>,
) -> Result<(T, Digests)> {
    let shown = path.as_os_str().as_encoded_bytes();
    let mut file =
        open(path, arriving).map_err(|error| Error::std_io("cannot open", shown, &error))?;
    let size = match arriving {
        Some(blob) => blob.size,
        None => {
            file.metadata().map_err(|error| Error::std_io("cannot examine", shown, &error))?.len()
        }
    };

    let (to_blob_hasher, blob_hasher_input) = bounded::<Chunk>(DEPTH);
    let (to_decoder, decoder_input) = bounded::<Chunk>(DEPTH);
    let (to_tar_hasher, tar_hasher_input) = bounded::<Chunk>(TAR_DEPTH);
    let (to_consumer, consumer_input) = bounded::<Chunk>(TAR_DEPTH);

    // What a stranger only promises bounds nothing.
    let arrived = AtomicU64::new(if arriving.is_some() { 0 } else { size });
    let arrived = &arrived;
    let stop = AtomicBool::new(false);
    let stop = &stop;
    thread::scope(|scope| {
        let blob_hasher = match arriving {
            None => Some(scope.spawn(move || hash_chunks(blob_hasher_input))),
            Some(_) => {
                drop(blob_hasher_input);
                None
            }
        };
        let hashes_blob = blob_hasher.is_some();
        let tar_hasher = scope.spawn(move || hash_chunks(tar_hasher_input));
        let reader = scope.spawn(move || -> Result<()> {
            let mut done = 0;
            let shelf = Arc::new(Shelf::default());
            loop {
                watch.poll()?;
                let mut chunk = shelf.take(CHUNK);
                let most = if hashes_blob { CHUNK as u64 } else { (size - done).min(CHUNK as u64) };
                file.by_ref()
                    .take(most)
                    .read_to_end(&mut chunk)
                    .map_err(|error| Error::std_io("cannot read", shown, &error))?;
                if chunk.is_empty() {
                    shelf.put(chunk);
                    if hashes_blob || done == size || stop.load(Ordering::Relaxed) {
                        return Ok(());
                    }
                    thread::sleep(GROWTH_INTERVAL);
                    continue;
                }
                done += chunk.len() as u64;
                arrived.fetch_max(done, Ordering::Relaxed);
                let chunk = Arc::new(Memory { bytes: chunk, shelf: Arc::clone(&shelf) });
                // The decoder stops early at a bad blob. Its digest is wanted all the same: it tells a damaged blob
                // from a hostile one.
                let decoded = to_decoder.send(Arc::clone(&chunk)).is_ok();
                let wanted = if hashes_blob { to_blob_hasher.send(chunk).is_ok() } else { decoded };
                if !wanted || stop.load(Ordering::Relaxed) {
                    return Ok(());
                }
                watch.report(done);
            }
        });
        let decoder = scope.spawn(move || {
            let output = TarOutput {
                hasher: &to_tar_hasher,
                consumer: &to_consumer,
                shelf: Arc::default(),
                expanded: 0,
                check: &|expanded| limits.check(expanded, arrived.load(Ordering::Relaxed), shown),
            };
            let decoded =
                decode(decoder_input, encoding, expected.diff_id.is_some(), shown, output);
            // Nobody waits for more of what is no use already. A complete blob is read on, for its digest.
            if decoded.is_err() && !hashes_blob {
                stop.store(true, Ordering::Relaxed);
            }
            decoded
        });

        let mut stream = TarStream { input: consumer_input, chunk: Arc::default(), position: 0 };
        let consumed = consume(&mut stream).and_then(|value| {
            while stream.drop_chunk() {
                watch.poll()?;
            }
            Ok(value)
        });
        if consumed
            .as_ref()
            .is_err_and(|error| !hashes_blob || matches!(error.code, Code::Io | Code::Cancelled))
        {
            stop.store(true, Ordering::Relaxed);
        }
        // Lets the decoder go when the consumer failed.
        drop(stream);
        let read = join(reader.join());
        let decoded = join(decoder.join());
        let blob = blob_hasher.map(|hasher| join(hasher.join()).0);
        let (diff_id, uncompressed_size) = join(tar_hasher.join());
        // What went wrong first explains the rest: a blob that cannot be read or decoded ends the archive too early.
        read?;
        if let Some(blob) = &blob
            && !stop.load(Ordering::Relaxed)
        {
            check_digest("blob", expected.digest, blob, shown)?;
        }
        decoded?;
        let value = consumed?;
        check_digest("uncompressed layer", expected.diff_id, &diff_id, shown)?;
        Ok((value, Digests { blob, diff_id, uncompressed_size }))
    })
}

/// It is renamed when it is complete.
fn open(path: &Path, arriving: Option<&ArrivingBlob>) -> io::Result<File> {
    match arriving.map(|blob| File::open(&blob.path)) {
        Some(Ok(file)) => Ok(file),
        Some(Err(error)) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => File::open(path),
    }
}

/// Compares with what was asked for, if anything was.
fn check_digest(what: &str, expected: Option<&str>, actual: &str, path: &[u8]) -> Result<()> {
    match expected {
        Some(expected) if expected != actual => Err(Error::new(
            Code::DigestMismatch,
            path,
            format!("the {what} of '{}' has digest {actual}, expected {expected}", show(path)),
        )),
        _ => Ok(()),
    }
}

fn join<T>(result: thread::Result<T>) -> T {
    result.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

fn hash_chunks(input: Receiver<Chunk>) -> (String, u64) {
    let mut hash = Sha256::new();
    let mut size = 0;
    for chunk in input {
        hash.update(&chunk.bytes);
        size += chunk.bytes.len() as u64;
    }
    (digest_text(hash), size)
}

/// Where the tar goes.
struct TarOutput<'a> {
    hasher: &'a Sender<Chunk>,
    consumer: &'a Sender<Chunk>,
    shelf: Arc<Shelf>,
    expanded: u64,
    /// Whether it may become so long.
    check: &'a dyn Fn(u64) -> Result<()>,
}

impl TarOutput<'_> {
    /// False when nobody wants more.
    fn send(&mut self, bytes: Vec<u8>) -> Result<bool> {
        self.expanded += bytes.len() as u64;
        (self.check)(self.expanded)?;
        let chunk = Arc::new(Memory { bytes, shelf: Arc::clone(&self.shelf) });
        // The consumer goes first when it failed; then nobody wants the rest.
        Ok(self.hasher.send(Arc::clone(&chunk)).is_ok() && self.consumer.send(chunk).is_ok())
    }
}

fn decode(
    input: Receiver<Chunk>,
    encoding: Encoding,
    compared: bool,
    path: &[u8],
    mut output: TarOutput<'_>,
) -> Result<()> {
    let mut stream = TarStream { input, chunk: Arc::default(), position: 0 };
    let encoding = match encoding {
        Encoding::Auto => by_magic(stream.peek()),
        stated => stated,
    };
    let mut decoder: Box<dyn Read> = match encoding {
        Encoding::Zstd => return decode_zstd(stream, compared, path, output),
        Encoding::Gzip => {
            Box::new(flate2::bufread::MultiGzDecoder::new(BufReader::with_capacity(CHUNK, stream)))
        }
        Encoding::Auto | Encoding::None => Box::new(stream),
    };
    loop {
        let mut chunk = output.shelf.take(CHUNK);
        decoder
            .by_ref()
            .take(CHUNK as u64)
            .read_to_end(&mut chunk)
            .map_err(|error| bad_stream(path, &error))?;
        if chunk.is_empty() || !output.send(chunk)? {
            return Ok(());
        }
    }
}

fn decode_zstd(
    mut stream: TarStream,
    compared: bool,
    path: &[u8],
    mut output: TarOutput<'_>,
) -> Result<()> {
    let bad = |code| bad_stream(path, &io::Error::other(zstd_safe::get_error_name(code)));
    let mut context = DCtx::create();
    context.set_parameter(DParameter::WindowLogMax(ZSTD_WINDOW_LOG)).map_err(bad)?;
    // Where the diffID is compared, it says more than the checksums of frames.
    context.set_parameter(DParameter::ForceIgnoreChecksum(compared)).map_err(bad)?;
    let mut chunk = output.shelf.take(CHUNK);
    // Between two frames; and whether `chunk` is for the content of this frame alone.
    let mut between = true;
    let mut direct = false;
    loop {
        let at_hand = stream.peek();
        let at_end = at_hand.is_empty();
        if at_end && between {
            break;
        }
        if between {
            let length = direct_length(at_hand);
            direct = length.is_some();
            context.set_parameter(DParameter::StableOutBuffer(direct)).map_err(bad)?;
            if let Some(length) = length {
                if !chunk.is_empty() && !output.send(std::mem::take(&mut chunk))? {
                    return Ok(());
                }
                if chunk.capacity() < length {
                    output.shelf.put(chunk);
                    chunk = output.shelf.take(length);
                }
            } else if chunk.capacity() == 0 {
                chunk = output.shelf.take(CHUNK);
            }
        }
        let before = chunk.len();
        let mut taken = InBuffer::around(at_hand);
        let mut made = OutBuffer::around_pos(&mut chunk, before);
        let left = context.decompress_stream(&mut made, &mut taken).map_err(bad)?;
        let count = taken.pos();
        between = left == 0;
        // There is always room for more.
        if at_end && !between && chunk.len() == before {
            let error = io::Error::new(io::ErrorKind::UnexpectedEof, "incomplete frame");
            return Err(bad_stream(path, &error));
        }
        stream.consume(count);
        let full = if direct { between } else { chunk.len() == chunk.capacity() };
        if full && !chunk.is_empty() {
            if !output.send(std::mem::take(&mut chunk))? {
                return Ok(());
            }
            if !between {
                chunk = output.shelf.take(CHUNK);
            }
        }
    }
    if !chunk.is_empty() {
        output.send(chunk)?;
    }
    Ok(())
}

/// What the frame that begins here says that it holds, if it is worth a chunk of its own.
fn direct_length(frame: &[u8]) -> Option<usize> {
    if frame.len() < FRAME_HEADER_MOST {
        return None;
    }
    let length = zstd_safe::get_frame_content_size(frame).ok().flatten()?;
    (DIRECT_LEAST..=DIRECT_MOST).contains(&length).then(|| usize::try_from(length).ok()).flatten()
}

fn bad_stream(path: &[u8], error: &io::Error) -> Error {
    Error::new(Code::BadArchive, path, format!("cannot decompress: {error}"))
}

fn by_magic(start: &[u8]) -> Encoding {
    match start {
        [0x1f, 0x8b, ..] => Encoding::Gzip,
        [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Encoding::Zstd,
        _ => Encoding::None,
    }
}

/// Chunks from a channel as one stream.
pub(crate) struct TarStream {
    input: Receiver<Chunk>,
    chunk: Chunk,
    position: usize,
}

impl TarStream {
    /// What is there of the current chunk, or of the next; empty at the end.
    fn peek(&mut self) -> &[u8] {
        if self.position == self.chunk.bytes.len() {
            // Given back before the next is waited for.
            self.chunk = Arc::default();
            self.position = 0;
            self.chunk = self.input.recv().unwrap_or_default();
        }
        &self.chunk.bytes[self.position..]
    }

    /// Throws that away. False at the end.
    fn drop_chunk(&mut self) -> bool {
        let count = self.peek().len();
        self.position += count;
        count > 0
    }
}

impl BufRead for TarStream {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        Ok(self.peek())
    }

    fn consume(&mut self, count: usize) {
        self.position += count;
    }
}

impl Read for TarStream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let rest = self.peek();
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        self.position += count;
        Ok(count)
    }
}
