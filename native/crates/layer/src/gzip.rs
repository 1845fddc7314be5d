//! A frame as gzip members (RFC 1952), each by itself: every reader of layers takes one member after the other.
//!
//! A frame is one member, but where it has noise (archives, media, encrypted data) that nothing makes smaller: deflate is slowest
//! there, and gains nothing. Such a stretch becomes a member of stored blocks, as fast as it can be copied. Whether a stretch is noise
//! depends on nothing but its own bytes.

use std::io;

use libdeflater::{CompressionLvl, Compressor, Crc};

/// What is looked at, and stored or compressed as a whole.
const STRETCH: usize = 64 << 10;
/// Longest stored block (RFC 1951, 3.2.4).
const STORED_BLOCK: usize = 0xffff;
/// Magic, deflate, no flags, no time, no extra flags, unknown operating system.
const HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];

/// What a frame of `length` bytes can become at worst: libdeflate's bound and ours are five bytes for each block of at least 5000, and
/// a header and a trailer for each member.
pub(crate) fn bound(length: usize) -> usize {
    length + length / 512 + 1024
}

pub(crate) struct Gzip {
    deflate: Compressor,
    probe: Probe,
}

impl Gzip {
    /// Of level 1 to 9, which are libdeflate's.
    pub fn new(level: u32) -> io::Result<Self> {
        let level = i32::try_from(level).ok().and_then(|level| CompressionLvl::new(level).ok());
        let level = level.ok_or_else(|| io::Error::other("no such level of gzip"))?;
        Ok(Self { deflate: Compressor::new(level), probe: Probe::new()? })
    }

    /// Writes the members of a frame into `output`, which has room for [`bound`].
    pub fn compress(&mut self, input: &[u8], output: &mut [u8]) -> io::Result<usize> {
        let mut written = 0;
        let mut begin = 0;
        let mut noise = self.probe.is_noise(input)?;
        loop {
            let mut end = (begin + STRETCH).min(input.len());
            let mut next = false;
            while end < input.len() {
                next = self.probe.is_noise(&input[end..])?;
                if next != noise {
                    break;
                }
                end = (end + STRETCH).min(input.len());
            }
            let (stretch, room) = (&input[begin..end], &mut output[written..]);
            written += if noise {
                store(stretch, room)
            } else {
                self.deflate.gzip_compress(stretch, room).map_err(io::Error::other)?
            };
            if end == input.len() {
                return Ok(written);
            }
            (begin, noise) = (end, next);
        }
    }

    /// Writes one member, whatever is in the frame, for readers that look for it where a table says.
    pub fn member(&mut self, input: &[u8], output: &mut [u8]) -> io::Result<usize> {
        let mut stretches = input.chunks_exact(STRETCH).peekable();
        let mut noise = stretches.peek().is_some();
        while noise && let Some(stretch) = stretches.next() {
            noise = self.probe.is_noise(stretch)?;
        }
        if noise {
            return Ok(store(input, output));
        }
        self.deflate.gzip_compress(input, output).map_err(io::Error::other)
    }

    /// One member, of its own length.
    pub fn single(&mut self, input: &[u8]) -> io::Result<Vec<u8>> {
        let mut output = vec![0; bound(input.len())];
        let length = self.member(input, &mut output)?;
        output.truncate(length);
        Ok(output)
    }
}

/// A member of stored blocks.
fn store(input: &[u8], output: &mut [u8]) -> usize {
    let mut written = 0;
    let mut put = |bytes: &[u8]| {
        output[written..written + bytes.len()].copy_from_slice(bytes);
        written += bytes.len();
    };
    put(&HEADER);
    let mut blocks = input.chunks(STORED_BLOCK).peekable();
    while let Some(block) = blocks.next() {
        let length = block.len() as u16;
        put(&[u8::from(blocks.peek().is_none())]);
        put(&length.to_le_bytes());
        put(&(!length).to_le_bytes());
        put(block);
    }
    let mut crc = Crc::new();
    crc.update(input);
    put(&crc.sum().to_le_bytes());
    put(&(input.len() as u32).to_le_bytes());
    written
}

/// Tells noise from what is worth to be compressed.
struct Probe {
    matches: zstd::bulk::Compressor<'static>,
    scratch: Vec<u8>,
}

/// Of a stretch, spread over it: enough to tell its distribution of bytes from an even one.
const SAMPLE: usize = 4096;
const STRIP: usize = 64;
/// Sum of the squares of how often each byte is in the sample. Noise has 69,616, give or take 360; this is where the bytes by themselves
/// begin to be worth half a percent.
const EVEN: usize = 73_728;

impl Probe {
    fn new() -> io::Result<Self> {
        let scratch = vec![0; zstd::zstd_safe::compress_bound(STRETCH)];
        Ok(Self { matches: zstd::bulk::Compressor::new(1)?, scratch })
    }

    /// Of the first [`STRETCH`] of `bytes`; less is not worth a member of its own.
    fn is_noise(&mut self, bytes: &[u8]) -> io::Result<bool> {
        let Some(stretch) = bytes.get(..STRETCH) else { return Ok(false) };
        let mut counts = [0_usize; 256];
        for strip in stretch.chunks(STRETCH / SAMPLE * STRIP) {
            for byte in &strip[..STRIP] {
                counts[usize::from(*byte)] += 1;
            }
        }
        if counts.iter().map(|count| count * count).sum::<usize>() > EVEN {
            return Ok(false);
        }
        // Even bytes may still repeat. zstd gives up on noise sooner than anything else does, and looks at all of it.
        let length = self.matches.compress_to_buffer(stretch, &mut self.scratch)?;
        Ok(length > STRETCH - STRETCH / 128)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use flate2::bufread::{GzDecoder, MultiGzDecoder};

    use super::*;

    fn noise(length: usize) -> Vec<u8> {
        let mut state = 1_u64;
        let next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 32) as u8
        };
        std::iter::repeat_with(next).take(length).collect()
    }

    fn text(length: usize) -> Vec<u8> {
        b"so that it can be said again ".iter().copied().cycle().take(length).collect()
    }

    /// Length of each member's content, and of the whole.
    fn members(input: &[u8]) -> (Vec<usize>, usize) {
        let mut output = vec![0; bound(input.len())];
        let length = Gzip::new(6).unwrap().compress(input, &mut output).unwrap();
        let mut all = Vec::new();
        MultiGzDecoder::new(&output[..length]).read_to_end(&mut all).unwrap();
        assert_eq!(all, input);
        let (mut rest, mut lengths) = (&output[..length], Vec::new());
        while !rest.is_empty() {
            let mut decoder = GzDecoder::new(rest);
            lengths.push(decoder.read_to_end(&mut Vec::new()).unwrap());
            rest = decoder.into_inner();
        }
        (lengths, length)
    }

    #[test]
    fn noise_is_stored_and_all_else_compressed() {
        for length in [0, 1, STRETCH - 1] {
            assert_eq!(members(&noise(length)).0, [length]);
        }
        let (lengths, size) = members(&noise(3 * STRETCH));
        assert_eq!(
            (lengths.as_slice(), size),
            ([3 * STRETCH].as_slice(), 3 * STRETCH + 18 + 4 * 5)
        );
        assert!(members(&text(3 * STRETCH)).1 < 2000);
        let mixed = [noise(2 * STRETCH), text(2 * STRETCH), noise(STRETCH), text(7)].concat();
        let (lengths, size) = members(&mixed);
        assert_eq!(lengths, [2 * STRETCH, 2 * STRETCH, STRETCH, 7]);
        assert!(size < 3 * STRETCH + 2000);
    }

    #[test]
    fn even_bytes_that_repeat_are_no_noise() {
        let (lengths, size) = members(&noise(20_000).repeat(20));
        assert_eq!(lengths, [400_000]);
        assert!(size < 40_000);
    }

    #[test]
    fn the_worst_frame_has_room() {
        let uneven: Vec<u8> = noise(STRETCH).iter().map(|byte| byte & 0x7f).collect();
        let worst = [noise(STRETCH), uneven].concat().repeat(50);
        assert_eq!(members(&worst).0.len(), 100);
    }
}
