//! An archive of the user's, unpacked into a directory of an image (ADD).
//!
//! What is one shows in the content: a tar, bare or in one of four compressions, whose first header is sound. It goes
//! through a mounted root, so that links of the image are followed as its own programs would, and never out of it.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Read},
    path::PathBuf,
};

use rustix::{
    fs::{FileType, Mode, OFlags, Stat},
    io::Errno,
};
use tsbuild_owners::{Ledger, Recording};
use tsbuild_sys::copy::Expectation;
use tsbuild_tar::{Reader, Timestamp};

use crate::{
    decompress::{ExpandLimits, ZSTD_WINDOW_LOG},
    disk,
    error::{Code, Error, Result, show},
    inside,
    unpack::{Extraction, Form, IntoDirectory, Rules},
    watch::Watch,
    xattr::OverlayXattrs,
};

/// A file that may be an archive.
#[derive(Clone, Debug)]
pub struct ArchiveSource {
    /// Absolute; a link is not followed.
    pub path: PathBuf,
    /// What it was when it was hashed.
    pub expect: Option<Expectation>,
    /// Bounds on what it may become.
    pub limits: ExpandLimits,
}

/// Where to unpack it, and how.
#[derive(Clone, Debug)]
pub struct ArchiveOptions {
    /// What to unpack.
    pub source: ArchiveSource,
    /// The image's root.
    pub root: PathBuf,
    /// An existing directory below the root.
    pub directory: Vec<u8>,
    /// Owner of everything, instead of what the archive says.
    pub owner: Option<(u32, u32)>,
    /// Modification time of directories that are made for their children only, in nanoseconds.
    pub made_at_ns: i128,
    /// Bound on the number of entries.
    pub max_entries: u64,
    /// Make device nodes where that is permitted.
    pub create_devices: bool,
    /// Where owners and devices that the disk cannot have are recorded.
    pub owners: Option<Recording>,
}

/// What was unpacked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnpackedArchive {
    /// Tar entries.
    pub entries: u64,
    /// Device nodes that became empty files.
    pub recorded_devices: u64,
}

/// Whether a file is a tar, bare or compressed.
///
/// # Errors
/// `IO`, `SOURCE_CHANGED`, `CANCELLED`, `ARCHIVE_LIMIT`. What cannot be read as an archive is none.
pub fn is_archive(source: &ArchiveSource, watch: Watch<'_>) -> Result<bool> {
    let (file, stat) = open(source)?;
    if stat.st_size == 0 {
        return Ok(false);
    }
    let stream = match decoded(source, file, &stat, watch) {
        Ok(stream) => stream,
        Err(error) => return refused(source, error),
    };
    match Reader::new(stream).next_entry() {
        Ok(first) => Ok(first.is_some()),
        Err(tsbuild_tar::Error::Io(error)) => refused(source, error),
        Err(_) => Ok(false),
    }
}

/// An error of ours or of the disk is one; the rest says that it is no archive.
fn refused(source: &ArchiveSource, error: io::Error) -> Result<bool> {
    match error.downcast::<Error>() {
        Ok(own) => Err(own),
        Err(error) if error.raw_os_error().is_some() => {
            let path = source.path.as_os_str().as_encoded_bytes();
            Err(Error::std_io("cannot read", path, &error))
        }
        Err(_) => Ok(false),
    }
}

/// Unpacks an archive. Reports the bytes of it read so far. What was unpacked stays after an error.
///
/// # Errors
/// `BAD_ARCHIVE`, `ARCHIVE_LIMIT`, `LAYER_UNREPRESENTABLE`, `SOURCE_CHANGED`, `NEEDS_IDS`, `DAMAGED_OWNERS`, `IO`,
/// `CANCELLED`.
pub fn unpack_archive(options: &ArchiveOptions, watch: Watch<'_>) -> Result<UnpackedArchive> {
    let root = disk::open_root(options.root.as_os_str().as_encoded_bytes())?;
    let parts = inside::components(&options.directory).map_err(|()| {
        Error::new(Code::BadArchive, &options.directory, "a destination with '..' in it")
    })?;
    // Links on its way are resolved once, so that everything lands in one directory.
    let place = inside::open(&root, &parts.join(&b'/'), None)
        .map_err(|errno| Error::io("cannot open directory", &options.directory, errno))?;
    let (file, stat) = open(&options.source)?;
    let path = options.source.path.as_os_str().as_encoded_bytes();
    let checked = file.try_clone().map_err(|error| Error::std_io("cannot read", path, &error))?;
    let stream = decoded(&options.source, file, &stat, watch)
        .map_err(|error| crate::unpack::stream_error(error, path))?;
    let rules = Rules {
        archive: path.to_vec(),
        size: stat.st_size as u64,
        limits: options.source.limits,
        max_entries: options.max_entries,
        // Not used: there are no marks for overlayfs in such an archive.
        overlay_xattrs: OverlayXattrs::User,
        create_devices: options.create_devices,
        form: Form::Files(IntoDirectory {
            directory: place.path,
            owner: options.owner,
            made_at: timestamp(options.made_at_ns),
        }),
    };
    let ledger = options.owners.as_ref().map(Ledger::open).transpose()?;
    let mut extraction = Extraction::new(rules, &root, ledger, watch);
    extraction.all(BufReader::with_capacity(BUFFER, stream))?;
    let after =
        rustix::fs::fstat(&checked).map_err(|errno| Error::io("cannot examine", path, errno))?;
    check_expectation(&options.source, &after)?;
    if let Some(ledger) = extraction.ledger {
        ledger.close()?;
    }
    Ok(UnpackedArchive {
        entries: extraction.entries,
        recorded_devices: extraction.recorded_devices.len() as u64,
    })
}

fn timestamp(nanoseconds: i128) -> Timestamp {
    Timestamp {
        seconds: i64::try_from(nanoseconds.div_euclid(1_000_000_000)).unwrap_or(0),
        nanoseconds: nanoseconds.rem_euclid(1_000_000_000) as u32,
    }
}

fn open(source: &ArchiveSource) -> Result<(File, Stat)> {
    let path = source.path.as_os_str().as_encoded_bytes();
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let fd = rustix::fs::open(&source.path, flags, Mode::empty()).map_err(|errno| {
        match (errno, source.expect) {
            // It was there when it was hashed.
            (Errno::NOENT | Errno::LOOP | Errno::NOTDIR, Some(_)) => changed(source),
            _ => Error::io("cannot read", path, errno),
        }
    })?;
    let stat = rustix::fs::fstat(&fd).map_err(|errno| Error::io("cannot examine", path, errno))?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(changed(source));
    }
    check_expectation(source, &stat)?;
    Ok((File::from(fd), stat))
}

fn check_expectation(source: &ArchiveSource, stat: &Stat) -> Result<()> {
    if source.expect.is_none_or(|expect| expect.holds(stat)) {
        Ok(())
    } else {
        Err(changed(source))
    }
}

fn changed(source: &ArchiveSource) -> Error {
    let path = source.path.as_os_str().as_encoded_bytes();
    Error::new(
        Code::SourceChanged,
        path,
        format!("'{}' changed while the build read it", show(path)),
    )
}

/// A dictionary larger than what `xz -9` asks for (64 MiB) is a way to use up memory.
const XZ_MEMORY: u64 = 128 << 20;
const BUFFER: usize = 1 << 18;

fn decoded<'a>(
    source: &ArchiveSource,
    file: File,
    stat: &Stat,
    watch: Watch<'a>,
) -> io::Result<Bounded<'a>> {
    let mut input = BufReader::with_capacity(BUFFER, Counted { inner: file, done: 0, watch });
    let inner: Box<dyn Read + 'a> = match input.fill_buf()? {
        [0x1f, 0x8b, 0x08, ..] => Box::new(flate2::bufread::MultiGzDecoder::new(input)),
        [b'B', b'Z', b'h', ..] => Box::new(bzip2::bufread::MultiBzDecoder::new(input)),
        [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => {
            let stream = liblzma::stream::Stream::new_stream_decoder(
                XZ_MEMORY,
                liblzma::stream::CONCATENATED,
            )
            .map_err(io::Error::other)?;
            Box::new(liblzma::bufread::XzDecoder::new_stream(input, stream))
        }
        [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => {
            let mut decoder = zstd::stream::read::Decoder::with_buffer(input)?;
            decoder.window_log_max(ZSTD_WINDOW_LOG)?;
            Box::new(decoder)
        }
        _ => Box::new(input),
    };
    Ok(Bounded {
        // Headers are read block by block.
        inner: BufReader::with_capacity(BUFFER, inner),
        expanded: 0,
        size: stat.st_size as u64,
        limits: source.limits,
        path: source.path.as_os_str().as_encoded_bytes().to_vec(),
        watch,
    })
}

/// Reports what is read of the file.
struct Counted<'a> {
    inner: File,
    done: u64,
    watch: Watch<'a>,
}

impl Read for Counted<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.done += count as u64;
        self.watch.report(self.done);
        Ok(count)
    }
}

/// The tar, as long as it stays within its limits and nobody asks for the end. Errors of ours travel inside of `io`'s.
struct Bounded<'a> {
    inner: BufReader<Box<dyn Read + 'a>>,
    expanded: u64,
    size: u64,
    limits: ExpandLimits,
    path: Vec<u8>,
    watch: Watch<'a>,
}

impl Read for Bounded<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.watch.poll().map_err(io::Error::other)?;
        let count = self.inner.read(buffer)?;
        self.expanded += count as u64;
        self.limits.check(self.expanded, self.size, &self.path).map_err(io::Error::other)?;
        Ok(count)
    }
}
