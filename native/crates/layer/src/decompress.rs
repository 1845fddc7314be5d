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
    io::{self, BufReader, Read},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use crossbeam_channel::{Receiver, Sender, bounded};
use sha2::{Digest, Sha256};

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
/// Chunks between two stages.
const DEPTH: usize = 4;
/// zstd's own default for what a decoder accepts: 128 MiB of window.
pub(crate) const ZSTD_WINDOW_LOG: u32 = 27;

type Chunk = Arc<Vec<u8>>;

/// Runs `consume` on the tar of the blob. What `consume` leaves is read to the end.
pub(crate) fn run<T>(
    path: &Path,
    arriving: Option<&ArrivingBlob>,
    encoding: Encoding,
    limits: ExpandLimits,
    watch: Watch<'_>,
    expected_digest: Option<&str>,
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
    let (to_tar_hasher, tar_hasher_input) = bounded::<Chunk>(DEPTH);
    let (to_consumer, consumer_input) = bounded::<Chunk>(DEPTH);

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
            loop {
                watch.poll()?;
                let mut chunk = Vec::with_capacity(CHUNK);
                let most = if hashes_blob { CHUNK as u64 } else { (size - done).min(CHUNK as u64) };
                file.by_ref()
                    .take(most)
                    .read_to_end(&mut chunk)
                    .map_err(|error| Error::std_io("cannot read", shown, &error))?;
                if chunk.is_empty() {
                    if hashes_blob || done == size || stop.load(Ordering::Relaxed) {
                        return Ok(());
                    }
                    thread::sleep(GROWTH_INTERVAL);
                    continue;
                }
                done += chunk.len() as u64;
                arrived.fetch_max(done, Ordering::Relaxed);
                let chunk = Arc::new(chunk);
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
            let decoded = decode(
                decoder_input,
                encoding,
                limits,
                arrived,
                shown,
                &to_tar_hasher,
                &to_consumer,
            );
            // Nobody waits for more of what is no use already. A complete blob is read on, for its digest.
            if decoded.is_err() && !hashes_blob {
                stop.store(true, Ordering::Relaxed);
            }
            decoded
        });

        let mut stream = TarStream { input: consumer_input, chunk: Arc::default(), position: 0 };
        let consumed = consume(&mut stream).and_then(|value| {
            while !stream.next_chunk().is_empty() {
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
            check_digest("blob", expected_digest, blob, shown)?;
        }
        decoded?;
        let value = consumed?;
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
pub(crate) fn check_digest(
    what: &str,
    expected: Option<&str>,
    actual: &str,
    path: &[u8],
) -> Result<()> {
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
        hash.update(chunk.as_slice());
        size += chunk.len() as u64;
    }
    (digest_text(hash), size)
}

fn decode(
    input: Receiver<Chunk>,
    encoding: Encoding,
    limits: ExpandLimits,
    arrived: &AtomicU64,
    path: &[u8],
    hasher: &Sender<Chunk>,
    consumer: &Sender<Chunk>,
) -> Result<()> {
    let bad = |error: io::Error| {
        Error::new(Code::BadArchive, path, format!("cannot decompress: {error}"))
    };
    let mut stream = TarStream { input, chunk: Arc::default(), position: 0 };
    let encoding = match encoding {
        Encoding::Auto => by_magic(stream.peek()),
        stated => stated,
    };
    let mut decoder: Box<dyn Read> = match encoding {
        Encoding::Zstd => {
            let mut decoder =
                zstd::stream::read::Decoder::with_buffer(BufReader::with_capacity(CHUNK, stream))
                    .map_err(bad)?;
            decoder.window_log_max(ZSTD_WINDOW_LOG).map_err(bad)?;
            Box::new(decoder)
        }
        Encoding::Gzip => {
            Box::new(flate2::bufread::MultiGzDecoder::new(BufReader::with_capacity(CHUNK, stream)))
        }
        Encoding::Auto | Encoding::None => Box::new(stream),
    };
    let mut expanded = 0;
    loop {
        let mut chunk = Vec::with_capacity(CHUNK);
        decoder.by_ref().take(CHUNK as u64).read_to_end(&mut chunk).map_err(bad)?;
        if chunk.is_empty() {
            return Ok(());
        }
        expanded += chunk.len() as u64;
        limits.check(expanded, arrived.load(Ordering::Relaxed), path)?;
        let chunk = Arc::new(chunk);
        // The consumer goes first when it failed; then nobody wants the rest.
        if hasher.send(Arc::clone(&chunk)).is_err() || consumer.send(chunk).is_err() {
            return Ok(());
        }
    }
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
        if self.position == self.chunk.len() {
            self.chunk = self.input.recv().unwrap_or_default();
            self.position = 0;
        }
        &self.chunk[self.position..]
    }

    /// Takes all of that.
    fn next_chunk(&mut self) -> Chunk {
        self.peek();
        self.position = self.chunk.len();
        Arc::clone(&self.chunk)
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
