//! Two SHA-256 on one core, round by round (FIPS 180-4, 6.2), with the SHA instructions of x86. A round needs what the one before it gave, four
//! cycles later, and the processor begins another every second cycle: alone, a hash leaves half of them unused. A third one does not fit
//! into the registers.

use std::arch::x86_64::{
    __m128i, _mm_add_epi32, _mm_alignr_epi8, _mm_blend_epi16, _mm_loadu_si128, _mm_set_epi64x,
    _mm_setzero_si128, _mm_sha256msg1_epu32, _mm_sha256msg2_epu32, _mm_sha256rnds2_epu32,
    _mm_shuffle_epi8, _mm_shuffle_epi32, _mm_storeu_si128,
};

use sha2::{Digest, Sha256};

use super::{BLOCK_BYTES, State, Update, resume, save};

type Words = [u32; 8];

/// Where a [`State`] has the count of blocks, and the length of what is behind them.
const COUNT_AT: usize = size_of::<Words>();
const REST_AT: usize = COUNT_AT + size_of::<u64>();

/// Whether the processor has the instructions.
pub fn is_possible() -> bool {
    is_x86_feature_detected!("sha")
        && is_x86_feature_detected!("ssse3")
        && is_x86_feature_detected!("sse4.1")
}

/// Hashes on as far as both have whole blocks, and gives how many bytes of each that were.
///
/// # Panics
/// Where it is not [possible](is_possible).
pub fn update([first, second]: [Update<'_>; 2]) -> [usize; 2] {
    assert!(is_possible());
    let begun = [complete_block(first.0, first.1), complete_block(second.0, second.1)];
    let rest = [&first.1[begun[0]..], &second.1[begun[1]..]];
    let count = rest[0].len().min(rest[1].len()) / BLOCK_BYTES;
    if count == 0 {
        return begun;
    }
    let blocks = rest.map(|bytes| &bytes.as_chunks().0[..count]);
    let mut states = [save(first.0), save(second.0)];
    let mut words = [read_words(&states[0]), read_words(&states[1])];
    // SAFETY: the processor has the features, as was asserted above.
    unsafe { compress(&mut words, blocks) };
    for ((hash, state), words) in [first.0, second.0].into_iter().zip(&mut states).zip(words) {
        write_words(state, words, count as u64);
        *hash = resume(state).expect("a count of blocks is no zero");
    }
    begun.map(|begun| begun + count * BLOCK_BYTES)
}

/// Hashes what the block that was begun still needs, or all there is, and gives how much that was.
fn complete_block(hash: &mut Sha256, bytes: &[u8]) -> usize {
    let begun = usize::from(save(hash)[REST_AT]);
    let missing = (BLOCK_BYTES - begun) % BLOCK_BYTES;
    let taken = missing.min(bytes.len());
    hash.update(&bytes[..taken]);
    taken
}

fn read_words(state: &State) -> Words {
    let (words, _) = state.as_chunks();
    std::array::from_fn(|index| u32::from_le_bytes(words[index]))
}

fn write_words(state: &mut State, words: Words, more_blocks: u64) {
    for (bytes, word) in state.as_chunks_mut().0.iter_mut().zip(words) {
        *bytes = word.to_le_bytes();
    }
    let count = &mut state[COUNT_AT..REST_AT];
    let blocks = u64::from_le_bytes(count.try_into().expect("eight bytes")) + more_blocks;
    count.copy_from_slice(&blocks.to_le_bytes());
}

/// Of four rounds each (FIPS 180-4, 4.2.2).
static CONSTANTS: [[u32; 4]; 16] = [
    [0x428a_2f98, 0x7137_4491, 0xb5c0_fbcf, 0xe9b5_dba5],
    [0x3956_c25b, 0x59f1_11f1, 0x923f_82a4, 0xab1c_5ed5],
    [0xd807_aa98, 0x1283_5b01, 0x2431_85be, 0x550c_7dc3],
    [0x72be_5d74, 0x80de_b1fe, 0x9bdc_06a7, 0xc19b_f174],
    [0xe49b_69c1, 0xefbe_4786, 0x0fc1_9dc6, 0x240c_a1cc],
    [0x2de9_2c6f, 0x4a74_84aa, 0x5cb0_a9dc, 0x76f9_88da],
    [0x983e_5152, 0xa831_c66d, 0xb003_27c8, 0xbf59_7fc7],
    [0xc6e0_0bf3, 0xd5a7_9147, 0x06ca_6351, 0x1429_2967],
    [0x27b7_0a85, 0x2e1b_2138, 0x4d2c_6dfc, 0x5338_0d13],
    [0x650a_7354, 0x766a_0abb, 0x81c2_c92e, 0x9272_2c85],
    [0xa2bf_e8a1, 0xa81a_664b, 0xc24b_8b70, 0xc76c_51a3],
    [0xd192_e819, 0xd699_0624, 0xf40e_3585, 0x106a_a070],
    [0x19a4_c116, 0x1e37_6c08, 0x2748_774c, 0x34b0_bcb5],
    [0x391c_0cb3, 0x4ed8_aa4a, 0x5b9c_ca4f, 0x682e_6ff3],
    [0x748f_82ee, 0x78a5_636f, 0x84c8_7814, 0x8cc7_0208],
    [0x90be_fffa, 0xa450_6ceb, 0xbef9_a3f7, 0xc671_78f2],
];

/// The instructions want the words of a state in another order: A, B, E, F and C, D, G, H, each from the high end.
#[derive(Clone, Copy)]
struct Halves {
    abef: __m128i,
    cdgh: __m128i,
}

#[target_feature(enable = "sha,sse2,ssse3,sse4.1")]
fn compress(states: &mut [Words; 2], blocks: [&[[u8; BLOCK_BYTES]]; 2]) {
    let mut halves = [to_halves(&states[0]), to_halves(&states[1])];
    for block in blocks[0].iter().zip(blocks[1]) {
        let before = halves;
        let mut words = [read_block(block.0), read_block(block.1)];
        // Unrolled, so that each of the four last vectors of a message stays in its register.
        macro_rules! four_rounds {
            ($($quarter:literal)*) => { $(
                for (halves, words) in halves.iter_mut().zip(&mut words) {
                    if $quarter >= 4 {
                        words[$quarter % 4] = scheduled(
                            words[$quarter % 4],
                            words[($quarter + 1) % 4],
                            words[($quarter + 2) % 4],
                            words[($quarter + 3) % 4],
                        );
                    }
                    let input = _mm_add_epi32(words[$quarter % 4], load(&CONSTANTS[$quarter]));
                    halves.cdgh = _mm_sha256rnds2_epu32(halves.cdgh, halves.abef, input);
                    let input = _mm_shuffle_epi32(input, 0b00_00_11_10);
                    halves.abef = _mm_sha256rnds2_epu32(halves.abef, halves.cdgh, input);
                }
            )* };
        }
        four_rounds!(0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15);
        for (halves, before) in halves.iter_mut().zip(before) {
            halves.abef = _mm_add_epi32(halves.abef, before.abef);
            halves.cdgh = _mm_add_epi32(halves.cdgh, before.cdgh);
        }
    }
    *states = halves.map(|halves| from_halves(halves));
}

/// Four words more of the message, from the sixteen before them.
#[target_feature(enable = "sha,sse2,ssse3,sse4.1")]
fn scheduled(first: __m128i, second: __m128i, third: __m128i, fourth: __m128i) -> __m128i {
    let sum = _mm_add_epi32(_mm_sha256msg1_epu32(first, second), _mm_alignr_epi8(fourth, third, 4));
    _mm_sha256msg2_epu32(sum, fourth)
}

#[target_feature(enable = "sha,sse2,ssse3,sse4.1")]
fn to_halves(words: &Words) -> Halves {
    let (quarters, _) = words.as_chunks();
    let cdab = _mm_shuffle_epi32(load(&quarters[0]), 0b10_11_00_01);
    let efgh = _mm_shuffle_epi32(load(&quarters[1]), 0b00_01_10_11);
    Halves { abef: _mm_alignr_epi8(cdab, efgh, 8), cdgh: _mm_blend_epi16(efgh, cdab, 0xf0) }
}

#[target_feature(enable = "sha,sse2,ssse3,sse4.1")]
fn from_halves(Halves { abef, cdgh }: Halves) -> Words {
    let feba = _mm_shuffle_epi32(abef, 0b00_01_10_11);
    let dchg = _mm_shuffle_epi32(cdgh, 0b10_11_00_01);
    let mut words = [0; 8];
    let (quarters, _) = words.as_chunks_mut();
    store(&mut quarters[0], _mm_blend_epi16(feba, dchg, 0xf0));
    store(&mut quarters[1], _mm_alignr_epi8(dchg, feba, 8));
    words
}

/// Its words have the high byte first.
#[target_feature(enable = "sha,sse2,ssse3,sse4.1")]
fn read_block(block: &[u8; BLOCK_BYTES]) -> [__m128i; 4] {
    let swapped = _mm_set_epi64x(0x0c0d_0e0f_0809_0a0b, 0x0405_0607_0001_0203);
    let (quarters, _) = block.as_chunks::<16>();
    let mut words = [_mm_setzero_si128(); 4];
    for (word, quarter) in words.iter_mut().zip(quarters) {
        // SAFETY: sixteen bytes are read, at any address.
        let loaded = unsafe { _mm_loadu_si128(quarter.as_ptr().cast()) };
        *word = _mm_shuffle_epi8(loaded, swapped);
    }
    words
}

#[target_feature(enable = "sse2")]
fn load(words: &[u32; 4]) -> __m128i {
    // SAFETY: sixteen bytes are read, at any address.
    unsafe { _mm_loadu_si128(words.as_ptr().cast()) }
}

#[target_feature(enable = "sse2")]
fn store(words: &mut [u32; 4], value: __m128i) {
    // SAFETY: sixteen bytes are written, at any address.
    unsafe { _mm_storeu_si128(words.as_mut_ptr().cast(), value) };
}
