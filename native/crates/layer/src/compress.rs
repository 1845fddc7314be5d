//! Frames of a tar stream, compressed in parallel, written in order.
//!
//! ```text
//! producer ─► compressors ─► writer (file) ─► hasher (diffID and blob digest)
//!    ▲                                          │
//!    └─────────── buffers come back ◄───────────┘
//! ```
//!
//! A compressor first reads what the producer left open (`late.rs`). What an earlier blob begins with as well is copied from it, and passes
//! the hasher without being hashed (`reuse.rs`). A layer of one frame goes all of that way on the caller's thread.
//!
//! Both digests of a frame are taken at once, which with the SHA instructions of x86 costs hardly more than one of them (`sha256::update_both`).
//!
//! Every frame is compressed by itself, so neither the number of threads nor their timing can show in the bytes, and a
//! frame whose input did not change compresses to the bytes that it had before. The number of buffers is fixed and
//! they go round: that bounds the memory, whatever the input. A buffer is made when nothing else is free and grows to what
//! its frames need, as most layers are small.
//!
//! - zstd: one frame each, with content size and checksum. Any reader takes a sequence of frames.
//! - gzip: members, one or more for each frame (`gzip.rs`). Readers of layers go on after the first.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Write},
    path::Path,
    sync::Arc,
    thread,
};

use crossbeam_channel::{Receiver, Sender, bounded};
use sha2::{Digest, Sha256};
use tsbuild_sys::sha256::{self, State};

use crate::{
    error::{Code, Error, Result},
    gzip::{self, Gzip},
    hex::digest_text,
    late::{Hole, Recipe},
    outline::{self, Mark, Piece},
    reuse::{self, EarlierFrames, Notes, Previous, Search},
    table::{Table, TableKind, Tail},
};

/// How a layer blob is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// `zstd`, level 1 to 19.
    Zstd(i32),
    /// `gzip`, level 1 to 9.
    Gzip(u32),
    /// zstd, with a table of contents behind it. Level 1 to 19.
    ZstdChunked(i32),
    /// gzip, with a table of contents as its last file. Level 1 to 9.
    Estargz(u32),
    /// Not at all.
    None,
}

impl Compression {
    pub(crate) fn table(self) -> Option<TableKind> {
        match self {
            Self::ZstdChunked(_) => Some(TableKind::ZstdChunked),
            Self::Estargz(_) => Some(TableKind::Estargz),
            _ => None,
        }
    }

    /// Whether frames of an earlier blob may be taken.
    fn notes_frames(self) -> bool {
        matches!(self, Self::Zstd(_))
    }

    fn new_table(self) -> io::Result<Option<Table>> {
        match self {
            Self::ZstdChunked(level) => {
                Table::new(TableKind::ZstdChunked, level.cast_unsigned()).map(Some)
            }
            Self::Estargz(level) => Table::new(TableKind::Estargz, level).map(Some),
            _ => Ok(None),
        }
    }
}

/// Input and output of one frame. Both grow as they are needed, and keep what they have grown to.
#[derive(Default)]
pub(crate) struct Buffers {
    pub input: Vec<u8>,
    output: Vec<u8>,
}

/// A frame as the producer hands it in.
struct Task {
    index: u64,
    buffers: Buffers,
    length: usize,
    /// Of formats with a table.
    marks: Vec<Mark>,
    holes: Vec<Hole>,
    /// Of a frame that has holes.
    recipe: Option<Recipe>,
    /// The earlier blob has it in its place, and so all before it.
    leads: bool,
}

/// A frame on its way to the file and to the digests; when it is dropped, its buffers go home.
struct Compressed {
    index: u64,
    buffers: Buffers,
    content_length: usize,
    /// Bytes of the output that count.
    blob_length: usize,
    /// Of those, for the notes; 0 where nothing is noted.
    sum: u32,
    marks: Vec<Mark>,
    /// What the output is made of, where there is a table.
    pieces: Vec<Piece>,
    /// The digest.
    recipe: Option<[u8; 32]>,
    /// Its bytes are those of the earlier blob, and its content was not looked at.
    is_copied: bool,
    home: Sender<Buffers>,
}

impl Compressed {
    fn content(&self) -> &[u8] {
        &self.buffers.input[..self.content_length]
    }

    /// What the blob has of it.
    fn blob(&self) -> &[u8] {
        // What is not compressed is still where it came from.
        let Buffers { input, output } = &self.buffers;
        &(if output.is_empty() { input } else { output })[..self.blob_length]
    }
}

impl Drop for Compressed {
    fn drop(&mut self) {
        // Fails when the producer has gone; then nobody needs them.
        let _ = self.home.try_send(std::mem::take(&mut self.buffers));
    }
}

/// What the hasher takes, in order.
enum Put {
    Frame(Compressed),
    /// Of the blob alone.
    Bytes(Vec<u8>),
}

/// What came out.
pub(crate) struct Written {
    pub digest: String,
    pub size: u64,
    pub diff_id: String,
    pub uncompressed_size: u64,
    pub annotations: Vec<(String, String)>,
    /// What is known of the frames, for `Previous::frames`.
    pub frames: Vec<u8>,
}

/// Where the producer gets buffers and hands in frames.
pub(crate) struct Feed {
    free: Receiver<Buffers>,
    /// How many buffers may yet be made.
    unmade: usize,
    compressors: Sender<Task>,
    next: u64,
    earlier: Option<Arc<EarlierFrames>>,
    /// All frames up to now are those with which the earlier blob begins.
    leads: bool,
}

/// The other end has stopped; its own error says why.
pub(crate) struct Stopped;

impl Feed {
    /// An empty buffer; waits until one is free.
    pub fn buffers(&mut self) -> std::result::Result<Buffers, Stopped> {
        if let Ok(buffers) = self.free.try_recv() {
            return Ok(buffers);
        }
        if self.unmade > 0 {
            self.unmade -= 1;
            return Ok(Buffers::default());
        }
        self.free.recv().map_err(|_| Stopped)
    }

    /// Hands in a frame: the first `length` bytes of the input, what is in them, and what is still missing.
    pub fn submit(
        &mut self,
        buffers: Buffers,
        length: usize,
        marks: Vec<Mark>,
        holes: Vec<Hole>,
    ) -> std::result::Result<(), Stopped> {
        let recipe = Recipe::of(&buffers.input[..length], &holes);
        self.leads &= recipe.as_ref().is_some_and(|recipe| {
            let earlier = self.earlier.as_ref().and_then(|earlier| earlier.leading(self.next));
            earlier.is_some_and(|earlier| earlier.recipe == recipe.digest)
        });
        let leads = self.leads;
        let task = Task { index: self.next, buffers, length, marks, holes, recipe, leads };
        self.compressors.send(task).map_err(|_| Stopped)?;
        self.next += 1;
        Ok(())
    }
}

/// The file that becomes a blob.
pub(crate) struct BlobFile<'a> {
    pub path: &'a Path,
    pub compression: Compression,
    /// The bytes do not depend on it.
    pub threads: usize,
    /// An earlier state of the layer, whose frames are taken where they hold the same.
    pub previous: Option<&'a Previous>,
}

impl BlobFile<'_> {
    /// Makes the file, and calls `work` with it. When that fails the file is removed.
    pub fn make<T>(&self, work: impl FnOnce(&File) -> Result<T>) -> Result<T> {
        let file = File::create(self.path)
            .map_err(|error| Error::std_io("cannot create", self.shown(), &error))?;
        let result = work(&file);
        if result.is_err() {
            let _ = fs::remove_file(self.path);
        }
        result
    }

    /// [`make`](Self::make) of what `produce` feeds.
    pub fn write(&self, produce: impl FnOnce(Feed) -> Result<()> + Send) -> Result<Written> {
        self.make(|file| self.write_to(file, produce))
    }

    /// Writes what `produce` feeds to the file.
    pub fn write_to(
        &self,
        file: &File,
        produce: impl FnOnce(Feed) -> Result<()> + Send,
    ) -> Result<Written> {
        run(file, self.shown(), self, produce)
    }

    fn shown(&self) -> &[u8] {
        self.path.as_os_str().as_encoded_bytes()
    }
}

fn run(
    file: &File,
    path: &[u8],
    &BlobFile { compression, threads, previous, .. }: &BlobFile<'_>,
    produce: impl FnOnce(Feed) -> Result<()> + Send,
) -> Result<Written> {
    // One that cannot be read is as good as none.
    let earlier = match previous {
        Some(previous) if compression.notes_frames() => EarlierFrames::open(previous).ok(),
        _ => None,
    }
    .map(Arc::new);
    let threads = threads.clamp(1, max_threads(compression));
    // Each thread has one in work and one waiting; producer, writer and hasher hold one each.
    let circulating = threads * 2 + 3;
    let (home, free) = bounded(circulating);
    let (to_hasher, hasher_input) = bounded::<Put>(circulating);
    let (to_compressors, compressor_input) = bounded::<Task>(circulating);
    let (to_writer, writer_input) = bounded::<Result<Compressed>>(circulating);
    let feed = Feed {
        free,
        unmade: circulating,
        compressors: to_compressors,
        next: 0,
        earlier: earlier.clone(),
        leads: true,
    };
    let earlier = earlier.as_deref();

    thread::scope(|scope| {
        let hash = move || {
            let mut digests = Digests { earlier, leads: true, ..Digests::default() };
            for put in hasher_input {
                match put {
                    Put::Frame(frame) => digests.add(&frame),
                    Put::Bytes(bytes) => digests.blob.hash.update(&bytes),
                }
            }
            digests
        };
        // Directories nest as deep as they like, and the walk is recursive.
        let producer = thread::Builder::new()
            .stack_size(PRODUCER_STACK)
            .spawn_scoped(scope, move || produce(feed))
            .map_err(|error| Error::std_io("cannot start a thread for", path, &error))?;
        // Most layers are one frame: to do all of it here, one after the other, is sooner than to start a thread for each.
        let (to_begin, begun) = bounded(2);
        compressor_input.iter().take(2).for_each(|task| drop(to_begin.send(task)));
        let alone = begun.len() < 2;
        let mut workers = Vec::new();
        for _ in 0..if alone { 1 } else { threads } {
            let (begun, input) = (begun.clone(), compressor_input.clone());
            let (writer, home) = (to_writer.clone(), home.clone());
            let compressor = Compressor { compression, path, earlier, writer, home };
            workers.push(Stage::begin(scope, alone, move || {
                compressor.compress_all(begun.try_iter().chain(&input));
            }));
        }
        drop((compressor_input, to_writer, home));
        let writer = Stage::begin(scope, alone, move || {
            let notes = Notes::default();
            let output = Output { file, path, compression, hasher: to_hasher, size: 0, notes };
            output.write(writer_input)
        });
        let hasher = Stage::begin(scope, alone, hash);

        let produced = join(producer.join())?;
        for worker in workers {
            worker.end()?;
        }
        let written = writer.end()?;
        let Digests { mut content, blob, uncompressed_size, .. } = hasher.end()?;
        // When the writer failed the producer only knows that it was stopped.
        let (size, tail, notes) = written?;
        produced?;
        content.hash.update(&tail.tar);
        let frames = notes.into_bytes(&content.states, &blob.states);
        let diff_id = digest_text(content.hash);
        let uncompressed_size = uncompressed_size + tail.tar.len() as u64;
        let digest =
            if compression == Compression::None { diff_id.clone() } else { digest_text(blob.hash) };
        let mut annotations = tail.annotations;
        if compression.table() == Some(TableKind::Estargz) {
            let name = "io.containers.estargz.uncompressed-size".to_owned();
            annotations.push((name, uncompressed_size.to_string()));
        }
        Ok(Written { digest, size, diff_id, uncompressed_size, annotations, frames })
    })
}

/// Of a layer, up to now.
#[derive(Default)]
struct Digests<'a> {
    content: FrameHash,
    blob: FrameHash,
    uncompressed_size: u64,
    earlier: Option<&'a EarlierFrames>,
    /// All frames up to now were copied. Those after one that was made again need not be where they were.
    leads: bool,
}

impl Digests<'_> {
    fn add(&mut self, frame: &Compressed) {
        self.leads &= frame.is_copied;
        let leading = frame.is_copied.then(|| self.earlier?.leading(frame.index)).flatten();
        let mut content = frame.content();
        // A tar is its own blob, and hashed once.
        let mut blob = if frame.buffers.output.is_empty() { &[] } else { frame.blob() };
        self.uncompressed_size += content.len() as u64;
        if let Some(leading) = leading {
            self.content.hash = leading.content.clone();
            content = &[];
            if self.leads {
                self.blob.hash = leading.blob.clone();
                blob = &[];
            }
        }
        sha256::update_both([(&mut self.content.hash, content), (&mut self.blob.hash, blob)]);
        if frame.recipe.is_some() {
            self.content.note(frame.index);
            self.blob.note(frame.index);
        }
    }
}

/// A digest over frames, and what it was behind each of those that lead.
#[derive(Default)]
struct FrameHash {
    hash: Sha256,
    states: Vec<State>,
}

impl FrameHash {
    /// That the frame which was added last can lead.
    fn note(&mut self, index: u64) {
        if self.states.len() as u64 == index {
            self.states.push(sha256::save(&self.hash));
        }
    }
}

/// Virtual; touched as deep as the tree is.
const PRODUCER_STACK: usize = 64 << 20;

/// A part of the work, on a thread of its own or done already: channels have room for all that comes of one frame.
enum Stage<'scope, T> {
    Done(T),
    Thread(thread::ScopedJoinHandle<'scope, T>),
}

impl<'scope, T: Send + 'scope> Stage<'scope, T> {
    fn begin(
        scope: &'scope thread::Scope<'scope, '_>,
        at_once: bool,
        work: impl FnOnce() -> T + Send + 'scope,
    ) -> Self {
        if at_once { Self::Done(work()) } else { Self::Thread(scope.spawn(work)) }
    }

    fn end(self) -> Result<T> {
        match self {
            Self::Done(value) => Ok(value),
            Self::Thread(handle) => join(handle.join()),
        }
    }
}

/// A panic in one of our threads is a bug; it must reach the caller as what it is.
fn join<T>(result: thread::Result<T>) -> Result<T> {
    result.or_else(|panic| std::panic::resume_unwind(panic))
}

/// Bounds the memory: each thread costs two frames in and out, and zstd's tables, which are small at low levels and
/// up to 80 MiB each at high ones.
fn max_threads(compression: Compression) -> usize {
    match compression {
        Compression::Zstd(level) | Compression::ZstdChunked(level) if level > 12 => 2,
        _ => 8,
    }
}

/// What a frame of `length` bytes can become at worst. Of formats with a table there is a piece for each header and each content, and no
/// header is shorter than 512 bytes.
fn output_capacity(compression: Compression, length: usize) -> usize {
    let bound = zstd::zstd_safe::compress_bound(length).max(gzip::bound(length));
    match compression {
        Compression::None => 0,
        _ if compression.table().is_some() => bound + length / 4 + 1024,
        _ => bound,
    }
}

/// Fills frames and compresses them, on a thread of its own.
struct Compressor<'a> {
    compression: Compression,
    path: &'a [u8],
    earlier: Option<&'a EarlierFrames>,
    writer: Sender<Result<Compressed>>,
    home: Sender<Buffers>,
}

impl Compressor<'_> {
    fn compress_all(&self, input: impl Iterator<Item = Task>) {
        let mut frames = match FrameCompressor::new(self.compression, self.earlier) {
            Ok(frames) => frames,
            Err(error) => return self.give_up(self.failed(&error)),
        };
        for task in input {
            match self.compress(task, &mut frames) {
                Ok(compressed) => {
                    if self.writer.send(Ok(compressed)).is_err() {
                        break;
                    }
                }
                Err(error) => return self.give_up(error),
            }
        }
    }

    /// The writer waits for the frame that is missing now, and holds the buffers that the producer waits for.
    fn give_up(&self, error: Error) {
        let _ = self.writer.send(Err(error));
    }

    fn failed(&self, error: &io::Error) -> Error {
        Error::std_io("cannot compress to", self.path, error)
    }

    fn compress(&self, task: Task, frames: &mut FrameCompressor<'_>) -> Result<Compressed> {
        let Task { index, mut buffers, length, marks, holes, recipe, leads } = task;
        let content = &mut buffers.input[..length];
        let leading = if leads { self.earlier } else { None };
        let copied = leading.and_then(|earlier| earlier.copy_leading(index, &mut buffers.output));
        let capacity = output_capacity(self.compression, length);
        if copied.is_none() && buffers.output.len() < capacity {
            buffers.output.resize(capacity, 0);
        }
        let restored = copied.map(|copied| copied.length).or_else(|| {
            let recipe = recipe.as_ref()?;
            let found = frames.restore(&recipe.digest, content, &mut buffers.output);
            found.filter(|_| recipe.fits(content, &holes))
        });
        if restored.is_none() {
            if let Some(recipe) = &recipe {
                recipe.lay(content, &holes);
            }
            holes.iter().try_for_each(|hole| hole.fill(content))?;
        }
        let mut pieces = Vec::new();
        let mut blob_length = 0;
        let (content, room) = (&buffers.input[..length], &mut buffers.output);
        match (restored, self.compression.table()) {
            (Some(length), _) => blob_length = length,
            (None, None) => {
                let compressed = frames.compress(content, room);
                blob_length = compressed.map_err(|error| self.failed(&error))?;
            }
            (None, Some(table)) => {
                for (range, is_content) in outline::pieces(&marks, length) {
                    let bytes = &content[range];
                    let compressed = frames.compress(bytes, &mut room[blob_length..]);
                    let length = compressed.map_err(|error| self.failed(&error))?;
                    let sums = is_content.then(|| outline::sums_of(bytes, table));
                    pieces.push(Piece { length, sums });
                    blob_length += length;
                }
            }
        }
        let is_noted = recipe.is_some() && self.compression.notes_frames();
        let sum = match copied {
            Some(copied) => copied.sum,
            None if is_noted => reuse::sum_of(&room[..blob_length]),
            None => 0,
        };
        Ok(Compressed {
            index,
            buffers,
            content_length: length,
            blob_length,
            sum,
            marks,
            pieces,
            recipe: recipe.map(|recipe| recipe.digest),
            is_copied: copied.is_some(),
            home: self.home.clone(),
        })
    }
}

enum FrameCompressor<'a> {
    Zstd {
        compressor: zstd::bulk::Compressor<'static>,
        earlier: Option<Search<'a>>,
    },
    Gzip(Gzip),
    /// One member at a time.
    Estargz(Gzip),
    None,
}

impl<'a> FrameCompressor<'a> {
    fn new(compression: Compression, earlier: Option<&'a EarlierFrames>) -> io::Result<Self> {
        Ok(match compression {
            Compression::Zstd(level) | Compression::ZstdChunked(level) => {
                let mut compressor = zstd::bulk::Compressor::new(level)?;
                compressor.include_checksum(true)?;
                compressor.include_contentsize(true)?;
                let earlier = earlier.map(Search::new).transpose()?;
                Self::Zstd { compressor, earlier }
            }
            Compression::Gzip(level) => Self::Gzip(Gzip::new(level)?),
            Compression::Estargz(level) => Self::Estargz(Gzip::new(level)?),
            Compression::None => Self::None,
        })
    }

    /// As [`Search::restore`].
    fn restore(
        &mut self,
        recipe: &[u8; 32],
        content: &mut [u8],
        output: &mut [u8],
    ) -> Option<usize> {
        match self {
            Self::Zstd { earlier, .. } => earlier.as_mut()?.restore(recipe, content, output),
            _ => None,
        }
    }

    fn compress(&mut self, input: &[u8], output: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Zstd { compressor, earlier } => {
                match earlier.as_mut().and_then(|earlier| earlier.find(input, output)) {
                    Some(length) => Ok(length),
                    None => compressor.compress_to_buffer(input, output),
                }
            }
            Self::Gzip(gzip) => gzip.compress(input, output),
            Self::Estargz(gzip) => gzip.member(input, output),
            Self::None => Ok(input.len()),
        }
    }
}

/// The blob. What is written is hashed beside it, by another thread.
struct Output<'a> {
    file: &'a File,
    path: &'a [u8],
    compression: Compression,
    hasher: Sender<Put>,
    size: u64,
    notes: Notes,
}

impl Output<'_> {
    /// Writes the frames in order, and what comes behind them.
    fn write(mut self, input: Receiver<Result<Compressed>>) -> Result<(u64, Tail, Notes)> {
        let path = self.path;
        let failed = |error: io::Error| Error::std_io("cannot compress to", path, &error);
        let mut table = self.compression.new_table().map_err(failed)?;
        let mut waiting = BTreeMap::new();
        let mut next = 0_u64;
        for compressed in input {
            let compressed = compressed?;
            waiting.insert(compressed.index, compressed);
            while let Some(ready) = waiting.remove(&next) {
                if let Some(table) = &mut table {
                    table.add(ready.content(), &ready.marks, &ready.pieces, self.size)?;
                }
                self.put_frame(ready)?;
                next += 1;
            }
        }
        if !waiting.is_empty() {
            return Err(Error::new(Code::Cancelled, path, "a compressor stopped early"));
        }
        if next == 0 {
            let mut empty = [0; 256];
            let length = FrameCompressor::new(self.compression, None)
                .and_then(|mut compressor| compressor.compress(&[], &mut empty))
                .map_err(failed)?;
            self.put(empty[..length].to_vec())?;
        }
        let size = self.size;
        let mut tail = table.map(|table| table.finish(size)).transpose()?.unwrap_or_default();
        self.put(std::mem::take(&mut tail.blob))?;
        Ok((self.size, tail, self.notes))
    }

    fn put_frame(&mut self, frame: Compressed) -> Result<()> {
        if let Some(recipe) = &frame.recipe
            && self.compression.notes_frames()
        {
            self.notes.add(recipe, self.size, frame.blob_length, frame.sum);
        }
        self.put_bytes(frame.blob())?;
        // Fails when the hasher panicked, which shows when it is joined.
        let _ = self.hasher.send(Put::Frame(frame));
        Ok(())
    }

    fn put(&mut self, bytes: Vec<u8>) -> Result<()> {
        self.put_bytes(&bytes)?;
        let _ = self.hasher.send(Put::Bytes(bytes));
        Ok(())
    }

    fn put_bytes(&mut self, bytes: &[u8]) -> Result<()> {
        let mut file = self.file;
        file.write_all(bytes).map_err(|error| Error::std_io("cannot write", self.path, &error))?;
        self.size += bytes.len() as u64;
        Ok(())
    }
}
