//! Frames of an earlier blob in the place of compressing the same bytes again.
//!
//! A frame counts as the same when decompressing it gives the same bytes, which costs a fraction of compressing them. The cuts between
//! frames come back to the same places after a change (`frame.rs`), so that a layer that is made again after a small one finds
//! nearly all of its frames in the blob that it had before.
//!
//! Of frames of files whose content is known (`late.rs`) it is noted what they were made of. One that is to be made of the same is taken
//! and its files are not opened, as their content was read and checked when the frame was made.
//!
//! Of those that a layer begins with it is noted too how far both digests were behind them. As long as a layer begins with the same ones, their
//! bytes are copied, and neither decompressed nor hashed.

use std::{
    collections::HashMap,
    fs::File,
    io,
    os::unix::fs::FileExt,
    path::PathBuf,
    sync::{
        OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
};

use libdeflater::Crc;
use sha2::Sha256;
use tsbuild_sys::sha256::{self, STATE_BYTES, State};
use zstd::stream::raw::{Decoder, InBuffer, Operation, OutBuffer};

/// An earlier state of a layer.
#[derive(Clone, Debug)]
pub struct Previous {
    /// Its blob.
    pub blob: PathBuf,
    /// What was noted when it was written; empty where nothing was.
    pub frames: Vec<u8>,
}

/// The frames of a blob of independent zstd frames that say their content's size.
pub(crate) struct EarlierFrames {
    file: File,
    /// By what they were made of.
    by_recipe: HashMap<[u8; 32], EarlierFrame>,
    /// Those that the blob begins with.
    leading: Vec<LeadingFrame>,
    /// Found when somebody looks for one by its content.
    all: OnceLock<AllFrames>,
    /// The one after that which was found last: what follows is most likely there.
    next: AtomicUsize,
}

#[derive(Default)]
struct AllFrames {
    frames: Vec<EarlierFrame>,
    /// By the size of the content, in order.
    by_size: HashMap<u64, Vec<usize>>,
}

#[derive(Clone, Copy)]
struct EarlierFrame {
    offset: u64,
    length: usize,
}

/// A frame with nothing but noted ones before it.
pub(crate) struct LeadingFrame {
    pub recipe: [u8; 32],
    frame: EarlierFrame,
    /// CRC-32 of its bytes in the blob.
    sum: u32,
    /// The diffID's, with the frame's content.
    pub content: Sha256,
    /// The blob's, with the frame.
    pub blob: Sha256,
}

/// What [`EarlierFrames::copy_leading`] copied.
#[derive(Clone, Copy)]
pub(crate) struct CopiedFrame {
    pub length: usize,
    /// As [`Notes::add`] takes it.
    pub sum: u32,
}

/// Notes what frames are made of, for [`Previous`].
#[derive(Default)]
pub(crate) struct Notes(Vec<Note>);

/// Of one frame. In bytes: its fields in this order, numbers with the low byte first. The states of a frame that does not lead are zero.
struct Note {
    recipe: [u8; 32],
    offset: u64,
    length: u64,
    sum: u32,
}

const NOTE_BYTES: usize = 32 + 8 + 8 + 4 + 2 * STATE_BYTES;

impl Notes {
    pub fn add(&mut self, recipe: &[u8; 32], offset: u64, length: usize, sum: u32) {
        self.0.push(Note { recipe: *recipe, offset, length: length as u64, sum });
    }

    /// With the states behind each of the frames that lead, of the diffID and of the blob.
    pub fn into_bytes(self, content: &[State], blob: &[State]) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.0.len() * NOTE_BYTES);
        for (index, Note { recipe, offset, length, sum }) in self.0.iter().enumerate() {
            bytes.extend_from_slice(recipe);
            bytes.extend_from_slice(&offset.to_le_bytes());
            bytes.extend_from_slice(&length.to_le_bytes());
            bytes.extend_from_slice(&sum.to_le_bytes());
            for states in [content, blob] {
                bytes.extend_from_slice(states.get(index).unwrap_or(&[0; STATE_BYTES]));
            }
        }
        bytes
    }
}

/// What is malformed is left out, as is what cannot be in a file of `end` bytes.
fn read_notes(bytes: &[u8], end: u64) -> (HashMap<[u8; 32], EarlierFrame>, Vec<LeadingFrame>) {
    let (mut by_recipe, mut leading, mut leading_end) = (HashMap::new(), Vec::new(), 0);
    for note in bytes.chunks_exact(NOTE_BYTES) {
        let Some((Note { recipe, offset, length, sum }, states)) = read_note(note) else { break };
        let fits =
            length <= LONGEST_FRAME && offset.checked_add(length).is_some_and(|at| at <= end);
        if !fits {
            continue;
        }
        let frame = EarlierFrame { offset, length: length as usize };
        by_recipe.insert(recipe, frame);
        if offset == leading_end
            && let [Some(content), Some(blob)] = states.map(sha256::resume)
        {
            leading.push(LeadingFrame { recipe, frame, sum, content, blob });
            leading_end += length;
        }
    }
    (by_recipe, leading)
}

fn read_note(bytes: &[u8]) -> Option<(Note, [&State; 2])> {
    let (recipe, bytes) = bytes.split_first_chunk()?;
    let (offset, bytes) = bytes.split_first_chunk()?;
    let (length, bytes) = bytes.split_first_chunk()?;
    let (sum, bytes) = bytes.split_first_chunk()?;
    let (content, bytes) = bytes.split_first_chunk()?;
    let (blob, _) = bytes.split_first_chunk()?;
    let note = Note {
        recipe: *recipe,
        offset: u64::from_le_bytes(*offset),
        length: u64::from_le_bytes(*length),
        sum: u32::from_le_bytes(*sum),
    };
    Some((note, [content, blob]))
}

/// Of a frame's bytes in a blob, for [`Notes`].
pub(crate) fn sum_of(bytes: &[u8]) -> u32 {
    let mut sum = Crc::new();
    sum.update(bytes);
    sum.sum()
}

/// Of frames of one size, as all but the last of a large file are.
const MOST_TRIES: usize = 4;
const COMPARE_AT_ONCE: usize = 128 * 1024;

impl EarlierFrames {
    pub fn open(Previous { blob, frames }: &Previous) -> io::Result<Self> {
        let file = File::open(blob)?;
        let (by_recipe, leading) = read_notes(frames, file.metadata()?.len());
        Ok(Self { file, by_recipe, leading, all: OnceLock::new(), next: AtomicUsize::new(0) })
    }

    /// The frame at a place in the blob, as long as there are only noted ones up to it.
    pub fn leading(&self, index: u64) -> Option<&LeadingFrame> {
        self.leading.get(usize::try_from(index).ok()?)
    }

    /// Puts the bytes of such a frame into `output`, which grows where it is too short. `None` where they are damaged.
    pub fn copy_leading(&self, index: u64, output: &mut Vec<u8>) -> Option<CopiedFrame> {
        let &LeadingFrame { frame: EarlierFrame { offset, length }, sum, .. } =
            self.leading(index)?;
        if output.len() < length {
            output.resize(length, 0);
        }
        let bytes = &mut output[..length];
        self.file.read_exact_at(bytes, offset).ok()?;
        (sum_of(bytes) == sum).then_some(CopiedFrame { length, sum })
    }

    /// As many as can be made out: a blob of somebody else's simply has none.
    fn all(&self) -> &AllFrames {
        self.all.get_or_init(|| {
            let AllFrames { mut frames, mut by_size } = AllFrames::default();
            let mut offset = 0;
            while let Ok(Some((length, size))) = frame_at(&self.file, offset) {
                by_size.entry(size).or_default().push(frames.len());
                frames.push(EarlierFrame { offset, length });
                offset += length as u64;
            }
            AllFrames { frames, by_size }
        })
    }
}

/// What one thread needs to look for frames.
pub(crate) struct Search<'a> {
    earlier: &'a EarlierFrames,
    decoder: Decoder<'static>,
    whole: zstd::bulk::Decompressor<'static>,
    scratch: Vec<u8>,
}

impl<'a> Search<'a> {
    pub fn new(earlier: &'a EarlierFrames) -> io::Result<Self> {
        Ok(Self {
            earlier,
            decoder: Decoder::new()?,
            whole: zstd::bulk::Decompressor::new()?,
            scratch: vec![0; COMPARE_AT_ONCE],
        })
    }

    /// Puts the frame that was made of the same into `output`, and what it decompresses to into `content`, all of which it fills. Gives its
    /// length. `None`: there is none, or it is damaged; then `content` holds anything.
    pub fn restore(
        &mut self,
        recipe: &[u8; 32],
        content: &mut [u8],
        output: &mut [u8],
    ) -> Option<usize> {
        let EarlierFrames { file, by_recipe, .. } = self.earlier;
        let EarlierFrame { offset, length } = *by_recipe.get(recipe)?;
        let compressed = output.get_mut(..length)?;
        file.read_exact_at(compressed, offset).ok()?;
        // Its checksum is checked.
        let written = self.whole.decompress_to_buffer(compressed, content).ok()?;
        (written == content.len()).then_some(length)
    }

    /// Puts the frame that decompresses to `bytes` into `output`, if there is one, and gives its length.
    pub fn find(&mut self, bytes: &[u8], output: &mut [u8]) -> Option<usize> {
        let EarlierFrames { file, next, .. } = self.earlier;
        let AllFrames { frames, by_size } = self.earlier.all();
        let candidates = by_size.get(&(bytes.len() as u64))?;
        let likely = next.load(Ordering::Relaxed);
        let (before, after) =
            candidates.split_at(candidates.partition_point(|index| *index < likely));
        for index in after.iter().chain(before.iter().rev()).take(MOST_TRIES) {
            let EarlierFrame { offset, length } = frames[*index];
            let Some(compressed) = output.get_mut(..length) else { continue };
            if file.read_exact_at(compressed, offset).is_ok()
                && decompresses_to(compressed, bytes, &mut self.decoder, &mut self.scratch)
            {
                next.store(index + 1, Ordering::Relaxed);
                return Some(length);
            }
        }
        None
    }
}

/// Stops at the first difference.
fn decompresses_to(
    compressed: &[u8],
    bytes: &[u8],
    decoder: &mut Decoder<'_>,
    scratch: &mut [u8],
) -> bool {
    if decoder.reinit().is_err() {
        return false;
    }
    let mut input = InBuffer::around(compressed);
    let mut done = 0;
    loop {
        let mut output = OutBuffer::around(&mut *scratch);
        let Ok(hint) = decoder.run(&mut input, &mut output) else { return false };
        let piece = output.as_slice();
        if bytes.get(done..done + piece.len()) != Some(piece) {
            return false;
        }
        done += piece.len();
        if hint == 0 {
            return done == bytes.len() && input.pos() == compressed.len();
        }
        if piece.is_empty() && input.pos() == compressed.len() {
            return false;
        }
    }
}

const MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
const LONGEST_HEADER: usize = 18;
const BLOCK_HEADER: u64 = 3;
/// Longer than ours ever are.
const LONGEST_FRAME: u64 = 64 << 20;

/// Length and content size of the frame at an offset; `None` where there is none that says its size (RFC 8878, 3.1.1).
fn frame_at(file: &File, offset: u64) -> io::Result<Option<(usize, u64)>> {
    let mut header = [0_u8; LONGEST_HEADER];
    let count = read_up_to(file, &mut header, offset)?;
    if count < 5 || header[..4] != MAGIC {
        return Ok(None);
    }
    let descriptor = header[4];
    let single_segment = descriptor & 0x20 != 0;
    let (size_flag, dictionary_flag) = (descriptor >> 6, descriptor & 3);
    let dictionary = [0, 1, 2, 4][usize::from(dictionary_flag)];
    let size_bytes = match size_flag {
        0 => usize::from(single_segment),
        1 => 2,
        2 => 4,
        _ => 8,
    };
    let at = 5 + usize::from(!single_segment) + dictionary;
    if size_bytes == 0 || count < at + size_bytes {
        return Ok(None);
    }
    let mut size = 0;
    for (shift, byte) in header[at..at + size_bytes].iter().enumerate() {
        size |= u64::from(*byte) << (8 * shift);
    }
    if size_flag == 1 {
        size += 256;
    }
    let mut position = offset + (at + size_bytes) as u64;
    loop {
        let mut block = [0_u8; BLOCK_HEADER as usize];
        if read_up_to(file, &mut block, position)? < block.len() {
            return Ok(None);
        }
        let header = u32::from_le_bytes([block[0], block[1], block[2], 0]);
        let kind = (header >> 1) & 3;
        // A run-length block stores one byte, whatever its size.
        position += BLOCK_HEADER + if kind == 1 { 1 } else { u64::from(header >> 3) };
        if kind == 3 || position - offset > LONGEST_FRAME {
            return Ok(None);
        }
        if header & 1 != 0 {
            break;
        }
    }
    if descriptor & 4 != 0 {
        position += 4;
    }
    Ok(Some(((position - offset) as usize, size)))
}

fn read_up_to(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut count = 0;
    while count < buffer.len() {
        match file.read_at(&mut buffer[count..], offset + count as u64) {
            Ok(0) => break,
            Ok(more) => count += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(count)
}

#[cfg(test)]
mod tests {
    use sha2::Digest;

    use super::*;

    fn frame(content: &[u8]) -> Vec<u8> {
        let mut compressor = zstd::bulk::Compressor::new(3).unwrap();
        compressor.include_checksum(true).unwrap();
        compressor.compress(content).unwrap()
    }

    fn text(length: usize, seed: u8) -> Vec<u8> {
        (0..length).map(|index| (index / 7 % 251) as u8 ^ seed).collect()
    }

    fn found(earlier: &EarlierFrames, content: &[u8]) -> Option<Vec<u8>> {
        let mut output = vec![0; 1 << 20];
        let length = Search::new(earlier).unwrap().find(content, &mut output)?;
        output.truncate(length);
        Some(output)
    }

    fn blob(name: &str, content: &[u8]) -> EarlierFrames {
        noted(name, content, Vec::new())
    }

    fn noted(name: &str, content: &[u8], frames: Vec<u8>) -> EarlierFrames {
        let path =
            std::env::temp_dir().join(format!("tsbuild-reuse-{name}-{}", std::process::id()));
        std::fs::write(&path, content).unwrap();
        let earlier = EarlierFrames::open(&Previous { blob: path.clone(), frames }).unwrap();
        std::fs::remove_file(path).unwrap();
        earlier
    }

    #[test]
    fn frames_are_found_by_what_they_hold_and_by_nothing_else() {
        // Sizes around those where the header changes its form, several of one size, and noise that is stored raw.
        let sizes = [1, 255, 256, 65_791, 65_792, 300_000, 300_000, 300_000];
        let contents: Vec<_> =
            sizes.iter().enumerate().map(|(index, size)| text(*size, index as u8)).collect();
        let frames: Vec<_> = contents.iter().map(|content| frame(content)).collect();
        let earlier = blob("all", &frames.concat());
        assert_eq!(earlier.all().frames.len(), sizes.len());
        for (content, frame) in contents.iter().zip(&frames).rev() {
            assert_eq!(found(&earlier, content).as_ref(), Some(frame));
            let mut other = content.clone();
            *other.last_mut().unwrap() ^= 1;
            assert_eq!(found(&earlier, &other), None);
        }
        assert_eq!(found(&earlier, &text(77, 0)), None);
    }

    #[test]
    fn frames_are_restored_by_what_they_were_made_of() {
        let contents = [text(70_000, 1), text(300_000, 2)];
        let frames = [frame(&contents[0]), frame(&contents[1])];
        let mut notes = Notes::default();
        notes.add(&[1; 32], 0, frames[0].len(), 0);
        notes.add(&[2; 32], frames[0].len() as u64, frames[1].len(), 0);
        // Beyond the end, not a frame, and of another length.
        notes.add(&[3; 32], 5, frames.concat().len(), 0);
        notes.add(&[4; 32], 1, 100, 0);
        notes.add(&[5; 32], u64::MAX, 1, 0);
        let mut bytes = notes.into_bytes(&[], &[]);
        bytes.extend_from_slice(&[6; NOTE_BYTES - 1]);
        let mut blob = frames.concat();
        let earlier = noted("restored", &blob, bytes.clone());
        let restore = |earlier: &EarlierFrames, recipe: u8, length: usize| {
            let (mut content, mut output) = (vec![0; length], vec![0; 1 << 20]);
            let found =
                Search::new(earlier).unwrap().restore(&[recipe; 32], &mut content, &mut output)?;
            Some((content, output[..found].to_vec()))
        };
        for (recipe, (content, frame)) in [1, 2].into_iter().zip(contents.iter().zip(&frames)) {
            let expected = (content.clone(), frame.clone());
            assert_eq!(restore(&earlier, recipe, content.len()), Some(expected));
            assert_eq!(restore(&earlier, recipe, content.len() - 1), None);
            assert_eq!(restore(&earlier, recipe, content.len() + 1), None);
        }
        for recipe in 3..=6 {
            assert_eq!(restore(&earlier, recipe, contents[0].len()), None);
        }
        let middle = frames[0].len() / 2;
        blob[middle] ^= 0x55;
        let damaged = noted("damaged", &blob, bytes);
        assert_eq!(restore(&damaged, 1, contents[0].len()), None);
        assert!(restore(&damaged, 2, contents[1].len()).is_some());
    }

    #[test]
    fn only_frames_without_a_gap_before_them_lead() {
        let bytes = *b"abcdefghi";
        let state = |hashed: &[u8]| sha256::save(&Sha256::new_with_prefix(hashed));
        let notes = |second: u64| {
            let mut notes = Notes::default();
            notes.add(&[1; 32], 0, 3, sum_of(b"abc"));
            notes.add(&[2; 32], second, 3, sum_of(b"def"));
            notes.add(&[3; 32], second + 3, 2, sum_of(b"gh"));
            notes
        };
        let states = [state(b"1"), state(b"12"), state(b"123")];
        let earlier = noted("leading", &bytes, notes(3).into_bytes(&states, &states[..2]));
        let second = earlier.leading(1).unwrap();
        assert_eq!(second.recipe, [2; 32]);
        assert_eq!(sha256::save(&second.content), states[1]);
        let mut output = vec![0; 2];
        let copied = earlier.copy_leading(1, &mut output).unwrap();
        assert_eq!((copied.length, copied.sum), (3, sum_of(b"def")));
        assert_eq!(output, b"def");
        let damaged = noted("bad", b"abcdEfghi", notes(3).into_bytes(&states, &states));
        assert!(damaged.copy_leading(1, &mut output).is_none());
        assert!(damaged.leading(2).is_some() && damaged.leading(3).is_none());
        let gap = noted("gap", &bytes, notes(4).into_bytes(&states, &states));
        assert!(gap.leading(0).is_some() && gap.leading(1).is_none());
        let none = noted("none-leads", &bytes, notes(1).into_bytes(&[], &[]));
        assert!(none.leading(0).is_none());
    }

    #[test]
    fn what_is_damaged_or_foreign_has_none() {
        let content = text(300_000, 1);
        let whole = frame(&content);
        let mut damaged = whole.clone();
        let middle = damaged.len() / 2;
        damaged[middle] ^= 0x55;
        let cut = &whole[..whole.len() - 1];
        let unsized_frame = zstd::stream::encode_all(content.as_slice(), 3).unwrap();
        let cases: [&[u8]; 5] =
            [&damaged, cut, &unsized_frame, b"\x28\xb5\x2f\xfd", b"no zstd at all"];
        for bytes in cases {
            assert_eq!(found(&blob("none", bytes), &content), None);
        }
        assert_eq!(found(&blob("some", &[&whole, cut].concat()), &content), Some(whole));
    }
}
