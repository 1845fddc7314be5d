//! Sparse files as GNU tar stores them: a map of data segments, and the segments one after the other.

/// A run of data in a file; everything between segments is zeros.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Where it lies in the file.
    pub offset: u64,
    /// How long it is.
    pub length: u64,
}

/// Checks that segments are in order, do not overlap, lie in the file, and add up to what is stored.
pub(crate) fn check_map(map: &[Segment], real_size: u64, stored: u64) -> Result<(), &'static str> {
    let mut end = 0_u64;
    let mut total = 0_u64;
    for segment in map {
        if segment.offset < end {
            return Err("segments of a sparse file overlap");
        }
        end = segment
            .offset
            .checked_add(segment.length)
            .ok_or("a segment of a sparse file is too long")?;
        total += segment.length;
    }
    if end > real_size {
        return Err("a segment of a sparse file lies behind its end");
    }
    if total != stored {
        return Err("the segments of a sparse file do not add up to its data");
    }
    Ok(())
}
