//! SHA-256 that can be put down and taken up again, and two at a time.

#[cfg(target_arch = "x86_64")]
mod interleaved;

use sha2::{
    Digest, Sha256,
    digest::common::hazmat::{SerializableState, SerializedState},
};

/// What is hashed at a time.
pub const BLOCK_BYTES: usize = 64;

/// Bytes of a state: eight words and the count of blocks, with the low byte first, and what there is of the block that is not full, behind
/// its length.
pub const STATE_BYTES: usize = 104;

/// A hash that was put down.
pub type State = [u8; STATE_BYTES];

/// A hash, and what it goes on with.
pub type Update<'a> = (&'a mut Sha256, &'a [u8]);

/// What was hashed so far.
pub fn save(hash: &Sha256) -> State {
    hash.serialize().into()
}

/// Goes on from there. `None` where the bytes are no state, as those that are all zero.
pub fn resume(state: &State) -> Option<Sha256> {
    if *state == [0; STATE_BYTES] {
        return None;
    }
    Sha256::deserialize(&SerializedState::<Sha256>::from(*state)).ok()
}

/// Hashes on, each with its own bytes. As far as both have some, that takes hardly longer than one alone where the processor has instructions
/// for it: these wait for each other within one hash, and never across two. Elsewhere a second thread takes what is long.
pub fn update_both([first, second]: [Update<'_>; 2]) {
    #[cfg(target_arch = "x86_64")]
    if interleaved::is_possible() {
        let bytes = interleaved::update([(&mut *first.0, first.1), (&mut *second.0, second.1)]);
        first.0.update(&first.1[bytes[0]..]);
        second.0.update(&second.1[bytes[1]..]);
        return;
    }
    on_two_threads([first, second]);
}

/// So many bytes take longer than the start of a thread, by far.
const WORTH_A_THREAD_BYTES: usize = 256 * 1024;

fn on_two_threads([first, second]: [Update<'_>; 2]) {
    if first.1.len().min(second.1.len()) < WORTH_A_THREAD_BYTES {
        first.0.update(first.1);
        second.0.update(second.1);
        return;
    }
    std::thread::scope(|scope| {
        scope.spawn(|| first.0.update(first.1));
        second.0.update(second.1);
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(length: usize, seed: u8) -> Vec<u8> {
        (0..length).map(|index| (index / 3) as u8 ^ (index % 251) as u8 ^ seed).collect()
    }

    #[test]
    fn it_goes_on_where_it_was() {
        let bytes = bytes(1000, 0);
        for cut in [0, 1, 63, 64, 65, 640, 1000] {
            let mut hash = Sha256::new();
            hash.update(&bytes[..cut]);
            let mut again = resume(&save(&hash)).unwrap();
            again.update(&bytes[cut..]);
            assert_eq!(again.finalize(), Sha256::digest(&bytes));
        }
        assert!(resume(&[0xff; STATE_BYTES]).is_none());
        assert!(resume(&[0; STATE_BYTES]).is_none());
    }

    #[test]
    fn two_are_what_each_is_alone() {
        let lengths = [0, 1, 63, 64, 65, 127, 128, 1000, 4096, 70_001, WORTH_A_THREAD_BYTES + 7];
        let updates: [fn([Update<'_>; 2]); 2] = [update_both, on_two_threads];
        for update in updates {
            for before in [[0, 0], [1, 0], [63, 64], [65, 30]] {
                for first in lengths {
                    for second in lengths {
                        let whole = [bytes(before[0] + first, 1), bytes(before[1] + second, 2)];
                        let mut hashes =
                            [0, 1].map(|at| Sha256::new_with_prefix(&whole[at][..before[at]]));
                        let [one, other] = &mut hashes;
                        update([(one, &whole[0][before[0]..]), (other, &whole[1][before[1]..])]);
                        let digests = hashes.map(Sha256::finalize);
                        assert_eq!(
                            digests,
                            whole.map(Sha256::digest),
                            "{before:?} {first} {second}"
                        );
                    }
                }
            }
        }
    }
}
