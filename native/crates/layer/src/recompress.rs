//! A blob to a blob of another compression. The tar between them stays byte for byte: its digest names the layer.

use std::{
    fs::{self, File},
    io::Read,
    path::PathBuf,
};

use crate::{
    compress::{self, Compression},
    decompress::{self, Encoding, ExpandLimits, TarStream, check_digest},
    error::{Error, Result},
    frame::{Framer, LARGE_CUT},
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
    /// Digest of the tar, as it was expected.
    pub diff_id: String,
    /// Of the tar.
    pub uncompressed_size: u64,
}

/// Writes the blob again. Entries are not looked at, so frames are cut by length alone. Reports the bytes read.
///
/// # Errors
/// `DIGEST_MISMATCH`, `BAD_ARCHIVE`, `ARCHIVE_LIMIT`, `IO`, `CANCELLED`. The output file is removed then.
pub fn recompress_layer(
    options: &RecompressOptions,
    watch: Watch<'_>,
) -> Result<RecompressedLayer> {
    let output = options.output.as_os_str().as_encoded_bytes();
    let file = File::create(&options.output)
        .map_err(|error| Error::std_io("cannot create", output, &error))?;
    let result = recompress(options, &file, output, watch);
    if result.is_err() {
        let _ = fs::remove_file(&options.output);
    }
    result
}

fn recompress(
    options: &RecompressOptions,
    file: &File,
    output: &[u8],
    watch: Watch<'_>,
) -> Result<RecompressedLayer> {
    let blob = options.blob.as_os_str().as_encoded_bytes();
    let (written, digests) = decompress::run(
        &options.blob,
        None,
        Encoding::Auto,
        options.limits,
        watch,
        None,
        |stream| {
            compress::run(file, output, options.compression, options.threads, None, |feed| {
                pour(stream, Framer::new(feed), blob)
            })
        },
    )?;
    check_digest("uncompressed layer", Some(&options.expected_diff_id), &digests.diff_id, blob)?;
    Ok(RecompressedLayer {
        digest: written.digest,
        size: written.size,
        diff_id: written.diff_id,
        uncompressed_size: written.uncompressed_size,
    })
}

fn pour(stream: &mut TarStream, mut framer: Framer, blob: &[u8]) -> Result<()> {
    loop {
        let left = LARGE_CUT - framer.total() % LARGE_CUT;
        let space = framer.space(usize::try_from(left).unwrap_or(usize::MAX))?;
        let count =
            stream.read(space).map_err(|error| Error::std_io("cannot decompress", blob, &error))?;
        framer.advance(count);
        if count == 0 || framer.total().is_multiple_of(LARGE_CUT) {
            framer.cut()?;
        }
        if count == 0 {
            return Ok(());
        }
    }
}
