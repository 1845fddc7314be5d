//! Reads one `.deb`: checks the format, gives the control archive in memory and the data archive as a stream.

use std::io::{self, BufReader, Read};

use sha2::{Digest, Sha256};
use tsbuild_sys::hash::hex;
use tsbuild_tar::{EntryKind, Reader};

use crate::{
    ar::Members,
    control::{Control, ControlFile},
};

/// Control archives hold a few scripts and lists; the largest real ones (md5sums of huge packages) are some megabytes.
const MAX_CONTROL_BYTES: u64 = 64 << 20;
/// What `xz -9` needs is 65 MiB.
const XZ_MEMORY: u64 = 256 << 20;
/// The largest zstd window that is accepted: `--long=27`, as dpkg.
const ZSTD_WINDOW_LOG: u32 = 27;

/// Hashes what is read through it.
pub struct Hashing<R> {
    inner: R,
    hash: Sha256,
}

impl<R: Read> Hashing<R> {
    /// Begins with nothing hashed.
    pub fn new(inner: R) -> Self {
        Self { inner, hash: Sha256::new() }
    }

    /// Reads what is left and gives the hex SHA-256 of everything.
    ///
    /// # Errors
    /// Those of the reader.
    pub fn finish(mut self) -> io::Result<String> {
        io::copy(&mut self, &mut io::sink())?;
        Ok(hex(&self.hash.finalize()))
    }
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.hash.update(&buffer[..count]);
        Ok(count)
    }
}

/// A package whose control archive has been read and whose data archive comes next.
pub struct Deb<R> {
    /// The control archive.
    pub control: Control,
    members: Members<R>,
    data_name: String,
}

impl<R: Read> Deb<R> {
    /// Reads up to the data archive.
    ///
    /// # Errors
    /// `InvalidData` with the reason when it is not a package that dpkg would take.
    pub fn open(inner: R) -> io::Result<Self> {
        let mut members = Members::new(inner);
        match members.next_member()? {
            Some((name, size)) if name == "debian-binary" && size < 64 => {
                let mut version = String::new();
                members.read_to_string(&mut version)?;
                if !version.starts_with("2.") {
                    return Err(invalid(format!("its format is '{}', not 2", version.trim_end())));
                }
            }
            _ => return Err(invalid("its first member is not 'debian-binary'")),
        }
        let name = next_significant(&mut members)?;
        if !name.starts_with("control.tar") {
            return Err(invalid(format!(
                "the member '{name}' stands where the control archive belongs"
            )));
        }
        let control = read_control(decompress(&name, &mut members)?.take(MAX_CONTROL_BYTES))?;
        let data_name = next_significant(&mut members)?;
        if !data_name.starts_with("data.tar") {
            return Err(invalid(format!(
                "the member '{data_name}' stands where the data archive belongs"
            )));
        }
        Ok(Self { control, members, data_name })
    }

    /// The data archive, decompressed.
    ///
    /// # Errors
    /// `InvalidData` for a compression that we do not read.
    pub fn data(&mut self) -> io::Result<Reader<BufReader<Box<dyn Read + '_>>>> {
        Ok(Reader::new(BufReader::with_capacity(
            1 << 17,
            decompress(&self.data_name, &mut self.members)?,
        )))
    }

    /// Reads the members that are left and gives the reader below.
    ///
    /// # Errors
    /// `UnexpectedEof` when the package is cut short.
    pub fn finish(mut self) -> io::Result<R> {
        while self.members.next_member()?.is_some() {}
        Ok(self.members.into_inner())
    }
}

/// The next member that is not to be ignored: deb(5) reserves names with an underscore in front for extensions.
fn next_significant<R: Read>(members: &mut Members<R>) -> io::Result<String> {
    loop {
        match members.next_member()? {
            Some((name, _)) if name.starts_with('_') => {}
            Some((name, _)) => return Ok(name),
            None => return Err(invalid("a member is missing")),
        }
    }
}

fn decompress<'a>(name: &str, inner: impl Read + 'a) -> io::Result<Box<dyn Read + 'a>> {
    let inner = BufReader::with_capacity(1 << 16, inner);
    Ok(match name.split_once(".tar").map(|(_, suffix)| suffix) {
        Some("") => Box::new(inner),
        Some(".gz") => Box::new(flate2::bufread::MultiGzDecoder::new(inner)),
        Some(".xz") => {
            let stream = liblzma::stream::Stream::new_stream_decoder(
                XZ_MEMORY,
                liblzma::stream::CONCATENATED,
            )
            .map_err(io::Error::other)?;
            Box::new(liblzma::bufread::XzDecoder::new_stream(inner, stream))
        }
        Some(".zst") => {
            let mut decoder = zstd::Decoder::with_buffer(inner)?;
            decoder.window_log_max(ZSTD_WINDOW_LOG)?;
            Box::new(decoder)
        }
        _ => return Err(invalid(format!("the compression of '{name}' is not gzip, xz or zstd"))),
    })
}

fn read_control(inner: impl Read) -> io::Result<Control> {
    let mut reader = Reader::new(inner);
    let mut control = Control::default();
    while let Some(entry) = reader.next_entry().map_err(|error| invalid(error.to_string()))? {
        let path = entry.path.strip_prefix(b"./").unwrap_or(&entry.path);
        if entry.kind == EntryKind::Directory {
            continue;
        }
        let name = std::str::from_utf8(path).unwrap_or_default().to_owned();
        let plain = !name.is_empty()
            && name
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_'))
            && !name.starts_with('.');
        if entry.kind != EntryKind::File || !plain {
            return Err(invalid(format!(
                "the control archive holds '{}', which is no plain file",
                String::from_utf8_lossy(path)
            )));
        }
        let mut content = Vec::new();
        reader.read_to_end(&mut content)?;
        if name == "control" {
            control.stanza = String::from_utf8(content)
                .map_err(|_| invalid("the control file is not UTF-8"))?
                .trim_end()
                .to_owned();
        } else {
            control.files.push(ControlFile {
                name,
                mode: entry.mode & 0o777,
                mtime: entry.mtime.seconds,
                content,
            });
        }
    }
    let package = control.name();
    let good = package.len() > 1
        && package.bytes().all(|byte| {
            byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'+' | b'-' | b'.')
        })
        && package.as_bytes()[0].is_ascii_alphanumeric();
    let architecture = control.field("Architecture").unwrap_or_default();
    let architecture_is_good = !architecture.is_empty()
        && architecture
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
    // An empty line would begin another stanza in the status file.
    if !good
        || !architecture_is_good
        || control.stanza.contains("\n\n")
        || control.field("Status").is_some()
    {
        return Err(invalid("the control file is malformed"));
    }
    Ok(control)
}

fn invalid(reason: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason.into())
}
