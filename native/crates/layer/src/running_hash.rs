//! A SHA-256 that can be put down and taken up again, somewhere else and later.

use sha2::{
    Sha256,
    digest::common::hazmat::{SerializableState, SerializedState},
};

/// Bytes of a state: eight words, the count of blocks, and what there is of the block that is not full.
pub(crate) const STATE_BYTES: usize = 104;

pub(crate) type State = [u8; STATE_BYTES];

/// What was hashed so far.
pub(crate) fn save(hash: &Sha256) -> State {
    hash.serialize().into()
}

/// Goes on from there. `None` where the bytes are no state, as those that are all zero.
pub(crate) fn resume(state: &State) -> Option<Sha256> {
    if *state == [0; STATE_BYTES] {
        return None;
    }
    Sha256::deserialize(&SerializedState::<Sha256>::from(*state)).ok()
}

#[cfg(test)]
mod tests {
    use sha2::Digest;

    use super::*;

    #[test]
    fn it_goes_on_where_it_was() {
        let bytes: Vec<u8> = (0..1000_u32).map(|index| index as u8).collect();
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
}
