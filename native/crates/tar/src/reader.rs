//! Reads an archive as a stream.
//!
//! Where formats leave room, this follows Go's `archive/tar`, because Docker, containerd and podman read layers with
//! it, and two readers that see two different trees in one archive are a way to smuggle files past a scanner: data of
//! anything but files does not exist, GNU long names win over PAX paths, an empty PAX value means "not given".

use std::io::{self, BufRead, Read};

use crate::{
    entry::{Entry, EntryKind, Timestamp},
    error::Error,
    header::{
        BLOCK, Block, DEVICE_MAJOR, DEVICE_MINOR, Field, Format, GID, GNU_REAL_SIZE, GNU_SPARSE,
        GNU_SPARSE_EXTENDED, LINK, MODE, MTIME, SIZE, TYPE, UID, parse_number,
    },
    pax::{parse_decimal, parse_records, parse_time},
    sparse::{Segment, check_map},
    writer::padding,
};

/// The largest PAX header or GNU long name that is read (and written). Go has the same.
pub(crate) const MAX_EXTENDED: u64 = 1 << 20;

/// Bounds on what one header may cost.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of a PAX header or GNU long name.
    pub extended_bytes: u64,
    /// Length of a path or link target. Linux takes 4096 at once.
    pub path_bytes: usize,
    /// Extended attributes of one entry.
    pub xattrs: usize,
    /// Extension headers in front of one entry.
    pub extension_headers: usize,
    /// Segments of a sparse file.
    pub sparse_segments: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            extended_bytes: MAX_EXTENDED,
            path_bytes: 64 * 1024,
            xattrs: 1024,
            extension_headers: 64,
            sparse_segments: 1 << 20,
        }
    }
}

/// A streaming reader. [`next_entry`](Self::next_entry) gives the metadata; reading from the `Reader` itself gives the
/// content of that entry, holes of sparse files as zeros.
pub struct Reader<R> {
    inner: R,
    limits: Limits,
    /// Bytes consumed from `inner`.
    offset: u64,
    /// Stored bytes of the current entry not yet read, and the padding behind them.
    stored: u64,
    padding: usize,
    /// The current entry's size with holes, and how far it was read.
    size: u64,
    position: u64,
    /// Data segments of the current entry, the next one first; one that covers all for an ordinary file.
    segments: std::vec::IntoIter<Segment>,
    segment: Segment,
    global: Extended,
    ended: bool,
}

impl<R: Read> Reader<R> {
    /// Reads from `inner`, which should be buffered: headers are read block by block.
    pub fn new(inner: R) -> Self {
        Self::with_limits(inner, Limits::default())
    }

    /// The same with other bounds.
    pub fn with_limits(inner: R, limits: Limits) -> Self {
        Self {
            inner,
            limits,
            offset: 0,
            stored: 0,
            padding: 0,
            size: 0,
            position: 0,
            segments: Vec::new().into_iter(),
            segment: Segment { offset: 0, length: 0 },
            global: Extended::default(),
            ended: false,
        }
    }

    /// What is below, positioned right behind the end marker. Its trailing bytes still count for a digest.
    pub fn into_inner(self) -> R {
        self.inner
    }

    /// Position in the archive.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// The next entry, or `None` at the end. What was not read of the entry before is skipped.
    ///
    /// # Errors
    /// See [`Error`]. After one the reader is of no further use.
    pub fn next_entry(&mut self) -> Result<Option<Entry>, Error> {
        if self.ended {
            return Ok(None);
        }
        self.skip_rest()?;
        let mut extended = Extended::default();
        let mut long_name: Option<Vec<u8>> = None;
        let mut long_link: Option<Vec<u8>> = None;
        let mut extensions = 0;
        loop {
            let start = self.offset;
            let Some(block) = self.read_header()? else {
                if extensions > 0 {
                    return Err(malformed(start, "extension headers without an entry"));
                }
                self.ended = true;
                return Ok(None);
            };
            let type_flag = block.0[TYPE];
            if matches!(type_flag, b'x' | b'X' | b'g' | b'L' | b'K') {
                extensions += 1;
                if extensions > self.limits.extension_headers {
                    return Err(limit(start, "too many extension headers before one entry"));
                }
                let body = self.read_extension(&block, start)?;
                match type_flag {
                    b'L' => long_name = Some(until_nul(body)),
                    b'K' => long_link = Some(until_nul(body)),
                    b'g' => self.global.merge_global(&body, start, &self.limits)?,
                    _ => extended = Extended::parse(&body, start, &self.limits)?,
                }
                continue;
            }
            // A GNU volume label is a name for the archive, not a file.
            if type_flag == b'V' {
                continue;
            }
            return self.finish_entry(&block, start, extended, long_name, long_link).map(Some);
        }
    }

    /// Reads data of the current entry, and where in the file it belongs: for writing sparse files as such.
    /// `None` at the end of the entry.
    ///
    /// # Errors
    /// When the archive ends too early, or reading fails.
    pub fn read_segment(&mut self, buffer: &mut [u8]) -> io::Result<Option<(u64, usize)>> {
        if !self.find_segment() {
            return Ok(None);
        }
        let wanted = buffer.len().min(usize::try_from(self.segment.length).unwrap_or(usize::MAX));
        let count = match &mut buffer[..wanted] {
            [] => 0,
            buffer => match self.inner.read(buffer)? {
                0 => return Err(ends_inside()),
                count => count,
            },
        };
        Ok(Some((self.advance(count), count)))
    }

    /// Whether there is more of the current entry; then `segment` is what comes next.
    fn find_segment(&mut self) -> bool {
        while self.segment.length == 0 {
            match self.segments.next() {
                Some(next) => self.segment = next,
                None => {
                    self.position = self.size;
                    return false;
                }
            }
        }
        true
    }

    /// So many bytes of the segment were read. Says where in the file they belong.
    fn advance(&mut self, count: usize) -> u64 {
        let offset = self.segment.offset;
        self.offset += count as u64;
        self.stored -= count as u64;
        self.segment.offset += count as u64;
        self.segment.length -= count as u64;
        self.position = self.segment.offset;
        offset
    }

    fn skip_rest(&mut self) -> Result<(), Error> {
        let mut rest = self.stored + self.padding as u64;
        let mut scratch = [0_u8; 16 * 1024];
        while rest > 0 {
            let wanted = scratch.len().min(usize::try_from(rest).unwrap_or(usize::MAX));
            let count = read_retrying(&mut self.inner, &mut scratch[..wanted])?;
            if count == 0 {
                // The last padding is missing in some archives; the data never may be.
                if rest <= self.padding as u64 {
                    break;
                }
                return Err(malformed(self.offset, "the archive ends inside a file"));
            }
            self.offset += count as u64;
            rest -= count as u64;
        }
        self.stored = 0;
        self.padding = 0;
        self.size = 0;
        self.position = 0;
        self.segments = Vec::new().into_iter();
        self.segment = Segment { offset: 0, length: 0 };
        Ok(())
    }

    /// The next header with a right checksum; `None` at the end marker or at the end of the stream.
    fn read_header(&mut self) -> Result<Option<Block>, Error> {
        let start = self.offset;
        let Some(block) = self.read_block()? else { return Ok(None) };
        if block.is_zero() {
            // Two blocks of zeros end an archive; one and then nothing does too.
            return match self.read_block()? {
                Some(second) if !second.is_zero() => {
                    Err(malformed(start, "a single block of zeros between entries"))
                }
                _ => Ok(None),
            };
        }
        if !block.checksum_is_right() {
            return Err(malformed(start, "the checksum of a header is wrong"));
        }
        Ok(Some(block))
    }

    fn read_block(&mut self) -> Result<Option<Block>, Error> {
        let mut block = [0_u8; BLOCK];
        let mut filled = 0;
        while filled < BLOCK {
            let count = read_retrying(&mut self.inner, &mut block[filled..])?;
            if count == 0 {
                if filled == 0 {
                    return Ok(None);
                }
                return Err(malformed(self.offset, "the archive ends inside a header"));
            }
            filled += count;
            self.offset += count as u64;
        }
        Ok(Some(Block(block)))
    }

    fn read_extension(&mut self, block: &Block, start: u64) -> Result<Vec<u8>, Error> {
        let size = unsigned(block, SIZE, start, "size")?;
        if size > self.limits.extended_bytes {
            return Err(limit(start, "an extension header is too large"));
        }
        let padded = size + padding(size) as u64;
        let mut body = Vec::new();
        self.inner.by_ref().take(padded).read_to_end(&mut body)?;
        self.offset += body.len() as u64;
        if (body.len() as u64) < padded {
            return Err(malformed(start, "the archive ends inside an extension header"));
        }
        body.truncate(size as usize);
        Ok(body)
    }

    fn finish_entry(
        &mut self,
        block: &Block,
        start: u64,
        mut extended: Extended,
        long_name: Option<Vec<u8>>,
        long_link: Option<Vec<u8>>,
    ) -> Result<Entry, Error> {
        let type_flag = block.0[TYPE];
        let format = block.format();
        let stored = match extended.size {
            Some(size) => size,
            None => unsigned(block, SIZE, start, "size")?,
        };
        let path = long_name
            .or_else(|| extended.sparse_name.take())
            .or_else(|| extended.path.take())
            .unwrap_or_else(|| block.path());
        let kind = match type_flag {
            b'0' | b'7' | b'S' => EntryKind::File,
            // Before ustar a directory was a file whose name ends in a slash.
            0 if path.ends_with(b"/") => EntryKind::Directory,
            0 => EntryKind::File,
            b'1' => EntryKind::HardLink,
            b'2' => EntryKind::Symlink,
            b'3' => EntryKind::CharDevice,
            b'4' => EntryKind::BlockDevice,
            // `D` is GNU's directory with a listing as data.
            b'5' | b'D' => EntryKind::Directory,
            b'6' => EntryKind::Fifo,
            other => {
                let name = other.escape_ascii();
                return Err(malformed(start, &format!("an entry of unknown type '{name}'")));
            }
        };
        let link = match kind {
            EntryKind::HardLink | EntryKind::Symlink => {
                long_link.or(extended.link.take()).unwrap_or_else(|| block.text(LINK).to_vec())
            }
            _ => Vec::new(),
        };
        if path.len() > self.limits.path_bytes || link.len() > self.limits.path_bytes {
            return Err(limit(start, "a path is too long"));
        }
        if path.is_empty() {
            return Err(malformed(start, "an entry without a name"));
        }
        if path.contains(&0) || link.contains(&0) {
            return Err(malformed(start, "a NUL in a name"));
        }

        let global = &self.global;
        let id = |own: Option<u64>, global: Option<u64>, field, what| match own.or(global) {
            Some(value) => Ok(value),
            None => unsigned(block, field, start, what),
        };
        let uid = id(extended.uid, global.uid, UID, "uid")?;
        let gid = id(extended.gid, global.gid, GID, "gid")?;
        let mtime = match extended.mtime.or(global.mtime) {
            Some(mtime) => mtime,
            None => Timestamp { seconds: signed(block, MTIME, start, "mtime")?, nanoseconds: 0 },
        };
        let device = |own: Option<u32>, field, what| -> Result<u32, Error> {
            match own {
                Some(value) => Ok(value),
                // v7 has no such fields, and others put junk there.
                None if format == Format::V7 => Ok(0),
                None => u32::try_from(unsigned(block, field, start, what)?)
                    .map_err(|_| malformed(start, "a device number out of range")),
            }
        };
        let (device_major, device_minor) = match kind {
            EntryKind::CharDevice | EntryKind::BlockDevice => (
                device(extended.device_major, DEVICE_MAJOR, "devmajor")?,
                device(extended.device_minor, DEVICE_MINOR, "devminor")?,
            ),
            _ => (0, 0),
        };
        let mode = u32::try_from(unsigned(block, MODE, start, "mode")? & 0o7777).unwrap_or(0);

        // Data exists behind files only (and GNU's listings), whatever a size field claims.
        self.stored = if kind == EntryKind::File || type_flag == b'D' { stored } else { 0 };
        self.padding = padding(self.stored);
        self.position = 0;
        self.size = 0;
        self.segments = Vec::new().into_iter();
        self.segment = Segment { offset: 0, length: 0 };
        if kind == EntryKind::File {
            self.begin_data(block, start, &extended)?;
        }
        let mut xattrs = extended.xattrs;
        for (name, value) in &self.global.xattrs {
            if !xattrs.iter().any(|(own, _)| own == name) {
                xattrs.push((name.clone(), value.clone()));
            }
        }
        xattrs.retain(|(_, value)| !value.is_empty());
        Ok(Entry {
            path,
            kind,
            mode,
            uid,
            gid,
            size: self.size,
            mtime,
            link,
            device_major,
            device_minor,
            xattrs,
        })
    }

    /// Sets the data segments of the current file from whichever sparse map it has.
    fn begin_data(&mut self, block: &Block, start: u64, extended: &Extended) -> Result<(), Error> {
        let (map, real_size) = if block.0[TYPE] == b'S' && block.format() == Format::Gnu {
            (self.read_gnu_map(block, start)?, unsigned(block, GNU_REAL_SIZE, start, "real size")?)
        } else if extended.sparse_major == Some(1) {
            let real = extended
                .sparse_size
                .ok_or_else(|| malformed(start, "a sparse file without a size"))?;
            (self.read_pax_map(start)?, real)
        } else if let Some(map) = &extended.sparse_map {
            let real = extended
                .sparse_size
                .ok_or_else(|| malformed(start, "a sparse file without a size"))?;
            if map.len() % 2 != 0 {
                return Err(malformed(start, "a sparse map of odd length"));
            }
            (pairs(map), real)
        } else if block.0[TYPE] == b'S' {
            return Err(malformed(start, "a sparse file without a map"));
        } else {
            self.size = self.stored;
            self.segment = Segment { offset: 0, length: self.stored };
            return Ok(());
        };
        if i64::try_from(real_size).is_err() {
            return Err(malformed(start, "a sparse file of impossible size"));
        }
        check_map(&map, real_size, self.stored).map_err(|reason| malformed(start, reason))?;
        self.size = real_size;
        self.segments = map.into_iter();
        Ok(())
    }

    /// The old form: four segments in the header, more in blocks behind it that its size does not count.
    fn read_gnu_map(&mut self, block: &Block, start: u64) -> Result<Vec<Segment>, Error> {
        let mut numbers = Vec::new();
        push_gnu_segments(&mut numbers, block.field(GNU_SPARSE), start)?;
        let mut more = block.0[GNU_SPARSE_EXTENDED] != 0;
        while more {
            let next = self
                .read_block()?
                .ok_or_else(|| malformed(start, "the archive ends inside a sparse map"))?;
            push_gnu_segments(&mut numbers, next.field(Field(0, 504)), start)?;
            more = next.0[504] != 0;
            self.check_segments(numbers.len() / 2, start)?;
        }
        Ok(pairs(&numbers))
    }

    /// PAX 1.0: decimal lines at the beginning of the data, padded to a block.
    fn read_pax_map(&mut self, start: u64) -> Result<Vec<Segment>, Error> {
        let mut digits: Vec<u8> = Vec::new();
        let mut numbers: Vec<u64> = Vec::new();
        let mut wanted: Option<usize> = None;
        while wanted.is_none_or(|wanted| numbers.len() < wanted) {
            if self.stored < BLOCK as u64 {
                return Err(malformed(start, "a sparse map that does not end"));
            }
            let block = self
                .read_block()?
                .ok_or_else(|| malformed(start, "the archive ends inside a sparse map"))?;
            self.stored -= BLOCK as u64;
            for byte in block.0 {
                if wanted.is_some_and(|wanted| numbers.len() == wanted) {
                    break;
                }
                if byte != b'\n' {
                    digits.push(byte);
                    if digits.len() > 20 {
                        return Err(malformed(start, "a bad number in a sparse map"));
                    }
                    continue;
                }
                let number = parse_decimal(&digits)
                    .ok_or_else(|| malformed(start, "a bad number in a sparse map"))?;
                digits.clear();
                if wanted.is_none() {
                    let count = usize::try_from(number).unwrap_or(usize::MAX);
                    self.check_segments(count, start)?;
                    wanted = Some(count * 2);
                } else {
                    numbers.push(number);
                }
            }
        }
        Ok(pairs(&numbers))
    }

    fn check_segments(&self, count: usize, start: u64) -> Result<(), Error> {
        if count > self.limits.sparse_segments {
            return Err(limit(start, "too many segments of a sparse file"));
        }
        Ok(())
    }
}

impl<R: BufRead> Reader<R> {
    /// [`read_segment`](Self::read_segment) without a copy: `take` gets what is at hand, and where in the file it belongs.
    ///
    /// # Errors
    /// The same.
    pub fn with_segment<T>(&mut self, take: impl FnOnce(u64, &[u8]) -> T) -> io::Result<Option<T>> {
        if !self.find_segment() {
            return Ok(None);
        }
        let at_hand = loop {
            match self.inner.fill_buf() {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
                Ok(_) => break self.inner.fill_buf()?,
            }
        };
        if at_hand.is_empty() {
            return Err(ends_inside());
        }
        let count = at_hand.len().min(usize::try_from(self.segment.length).unwrap_or(usize::MAX));
        let taken = take(self.segment.offset, &at_hand[..count]);
        self.inner.consume(count);
        self.advance(count);
        Ok(Some(taken))
    }
}

impl<R: Read> Read for Reader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.segment.length == 0 {
            match self.segments.next() {
                Some(next) => self.segment = next,
                None => self.segment = Segment { offset: self.size, length: 0 },
            }
            if self.segment.offset >= self.size {
                break;
            }
        }
        if self.position < self.segment.offset {
            let hole = self.segment.offset - self.position;
            let count = buffer.len().min(usize::try_from(hole).unwrap_or(usize::MAX));
            buffer[..count].fill(0);
            self.position += count as u64;
            return Ok(count);
        }
        Ok(self.read_segment(buffer)?.map_or(0, |(_, count)| count))
    }
}

fn ends_inside() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "the archive ends inside a file")
}

fn pairs(numbers: &[u64]) -> Vec<Segment> {
    numbers.chunks_exact(2).map(|pair| Segment { offset: pair[0], length: pair[1] }).collect()
}

fn push_gnu_segments(numbers: &mut Vec<u64>, bytes: &[u8], start: u64) -> Result<(), Error> {
    for pair in bytes.chunks_exact(24) {
        // An empty slot ends the list.
        if pair[0] == 0 || pair[12] == 0 {
            break;
        }
        for number in pair.chunks_exact(12) {
            let number = parse_number(number)
                .and_then(|number| u64::try_from(number).ok())
                .ok_or_else(|| malformed(start, "a bad number in a sparse map"))?;
            numbers.push(number);
        }
    }
    Ok(())
}

/// `Read::read` that goes on after a signal.
fn read_retrying(inner: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        match inner.read(buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

fn until_nul(mut bytes: Vec<u8>) -> Vec<u8> {
    if let Some(end) = bytes.iter().position(|byte| *byte == 0) {
        bytes.truncate(end);
    }
    bytes
}

fn signed(block: &Block, field: Field, start: u64, what: &str) -> Result<i64, Error> {
    block.number(field).ok_or_else(|| malformed(start, &format!("{what} is not a number")))
}

fn unsigned(block: &Block, field: Field, start: u64, what: &str) -> Result<u64, Error> {
    u64::try_from(signed(block, field, start, what)?)
        .map_err(|_| malformed(start, &format!("{what} is negative")))
}

fn malformed(offset: u64, reason: &str) -> Error {
    Error::Malformed { offset, reason: reason.to_owned() }
}

fn limit(offset: u64, reason: &str) -> Error {
    Error::Limit { offset, reason: reason.to_owned() }
}

/// What PAX records say about an entry.
#[derive(Default)]
struct Extended {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    size: Option<u64>,
    uid: Option<u64>,
    gid: Option<u64>,
    mtime: Option<Timestamp>,
    device_major: Option<u32>,
    device_minor: Option<u32>,
    xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    sparse_major: Option<u64>,
    sparse_size: Option<u64>,
    sparse_name: Option<Vec<u8>>,
    /// Offsets and lengths alternating: 0.1 as one record, 0.0 as many.
    sparse_map: Option<Vec<u64>>,
}

impl Extended {
    fn parse(body: &[u8], start: u64, limits: &Limits) -> Result<Self, Error> {
        let mut extended = Self::default();
        let records = parse_records(body).map_err(|reason| malformed(start, reason))?;
        for (key, value) in records {
            if let Some(name) = key.strip_prefix(b"SCHILY.xattr.") {
                extended.set_xattr(name, value, start, limits)?;
                continue;
            }
            // Empty means "as if it were not there". GNU's sparse keys never are.
            if value.is_empty() {
                continue;
            }
            let bad = || {
                let key = String::from_utf8_lossy(key);
                malformed(start, &format!("PAX record '{key}' has a bad value"))
            };
            let number = || parse_decimal(value).ok_or_else(bad);
            match key {
                b"path" => extended.path = Some(value.to_vec()),
                b"linkpath" => extended.link = Some(value.to_vec()),
                b"size" => {
                    extended.size = Some(
                        number()
                            .ok()
                            .filter(|size| i64::try_from(*size).is_ok())
                            .ok_or_else(bad)?,
                    )
                }
                b"uid" => extended.uid = Some(number()?),
                b"gid" => extended.gid = Some(number()?),
                b"mtime" => {
                    let (seconds, nanoseconds) = parse_time(value).ok_or_else(bad)?;
                    extended.mtime = Some(Timestamp { seconds, nanoseconds });
                }
                b"SCHILY.devmajor" => {
                    extended.device_major = Some(u32::try_from(number()?).map_err(|_| bad())?)
                }
                b"SCHILY.devminor" => {
                    extended.device_minor = Some(u32::try_from(number()?).map_err(|_| bad())?)
                }
                b"GNU.sparse.major" => extended.sparse_major = Some(number()?),
                b"GNU.sparse.name" => extended.sparse_name = Some(value.to_vec()),
                b"GNU.sparse.size" | b"GNU.sparse.realsize" => {
                    extended.sparse_size = Some(number()?)
                }
                b"GNU.sparse.map" => {
                    let mut map = Vec::new();
                    for text in value.split(|byte| *byte == b',') {
                        map.push(parse_decimal(text).ok_or_else(bad)?);
                    }
                    extended.set_map(map, start, limits)?;
                }
                b"GNU.sparse.offset" | b"GNU.sparse.numbytes" => {
                    let mut map = extended.sparse_map.take().unwrap_or_default();
                    // Offset and length must alternate.
                    if (map.len() % 2 == 0) != (key == b"GNU.sparse.offset") {
                        return Err(bad());
                    }
                    map.push(number()?);
                    extended.set_map(map, start, limits)?;
                }
                // atime, ctime, uname, gname, comments and what we never heard of.
                _ => {}
            }
        }
        Ok(extended)
    }

    /// Adds global records. Paths, sizes and sparse maps of all entries at once make no sense and are ignored.
    fn merge_global(&mut self, body: &[u8], start: u64, limits: &Limits) -> Result<(), Error> {
        let new = Self::parse(body, start, limits)?;
        self.uid = new.uid.or(self.uid);
        self.gid = new.gid.or(self.gid);
        self.mtime = new.mtime.or(self.mtime);
        for (name, value) in new.xattrs {
            self.set_xattr(&name, &value, start, limits)?;
        }
        Ok(())
    }

    fn set_xattr(
        &mut self,
        name: &[u8],
        value: &[u8],
        start: u64,
        limits: &Limits,
    ) -> Result<(), Error> {
        if name.is_empty() {
            return Err(malformed(start, "an extended attribute without a name"));
        }
        self.xattrs.retain(|(other, _)| other != name);
        if self.xattrs.len() >= limits.xattrs {
            return Err(limit(start, "too many extended attributes"));
        }
        self.xattrs.push((name.to_vec(), value.to_vec()));
        Ok(())
    }

    fn set_map(&mut self, map: Vec<u64>, start: u64, limits: &Limits) -> Result<(), Error> {
        if map.len() / 2 > limits.sparse_segments {
            return Err(limit(start, "too many segments of a sparse file"));
        }
        self.sparse_map = Some(map);
        Ok(())
    }
}
