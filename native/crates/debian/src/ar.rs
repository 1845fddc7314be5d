//! The `ar` archive that a `.deb` is (deb(5)).

use std::io::{self, Read};

const MAGIC: &[u8] = b"!<arch>\n";
const HEADER: usize = 60;

/// Reads the members of an `ar` archive in order.
pub struct Members<R> {
    inner: R,
    /// Bytes of the current member not yet read, and whether a padding byte follows.
    left: u64,
    padded: bool,
    begun: bool,
}

impl<R: Read> Members<R> {
    /// Nothing is read before the first [`next_member`](Self::next_member).
    pub fn new(inner: R) -> Self {
        Self { inner, left: 0, padded: false, begun: false }
    }

    /// Name and size of the next member, whose content is then read from `self`; `None` at the end.
    ///
    /// # Errors
    /// `InvalidData` for anything that is not an `ar` archive, `UnexpectedEof` for a cut one.
    pub fn next_member(&mut self) -> io::Result<Option<(String, u64)>> {
        if !self.begun {
            let mut magic = [0; MAGIC.len()];
            self.inner.read_exact(&mut magic)?;
            if magic != MAGIC {
                return Err(invalid("it does not begin with the magic of ar"));
            }
            self.begun = true;
        }
        io::copy(self, &mut io::sink())?;
        if self.left > 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if std::mem::take(&mut self.padded) {
            // The last member may lack its padding.
            let mut byte = [0];
            if self.inner.read(&mut byte)? == 0 {
                return Ok(None);
            }
        }
        let mut header = [0; HEADER];
        let mut filled = 0;
        while filled < HEADER {
            match self.inner.read(&mut header[filled..])? {
                0 if filled == 0 => return Ok(None),
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                count => filled += count,
            }
        }
        if &header[58..] != b"`\n" {
            return Err(invalid("a header of ar does not end as it should"));
        }
        let text =
            |range: std::ops::Range<usize>| std::str::from_utf8(&header[range]).map(str::trim_end);
        let (Ok(name), Ok(size)) = (text(0..16), text(48..58)) else {
            return Err(invalid("a header of ar is not text"));
        };
        let size = size
            .parse::<u64>()
            .map_err(|_| invalid("the size of a member of ar is not a number"))?;
        self.left = size;
        self.padded = size % 2 == 1;
        // System V writes a slash behind the name.
        Ok(Some((name.strip_suffix('/').unwrap_or(name).to_owned(), size)))
    }

    /// What is behind the archive.
    pub fn into_inner(self) -> R {
        self.inner
    }
}

impl<R: Read> Read for Members<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        if most == 0 {
            return Ok(0);
        }
        let count = self.inner.read(&mut buffer[..most])?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.left -= count as u64;
        Ok(count)
    }
}

fn invalid(reason: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(name: &str, content: &[u8]) -> Vec<u8> {
        let mut bytes =
            format!("{name:<16}{:<12}{:<6}{:<6}{:<8}{:<10}`\n", 0, 0, 0, "100644", content.len())
                .into_bytes();
        bytes.extend_from_slice(content);
        if content.len() % 2 == 1 {
            bytes.push(b'\n');
        }
        bytes
    }

    fn read(archive: &[u8]) -> io::Result<Vec<(String, Vec<u8>)>> {
        let mut members = Members::new(archive);
        let mut found = Vec::new();
        while let Some((name, _)) = members.next_member()? {
            let mut content = Vec::new();
            members.read_to_end(&mut content)?;
            found.push((name, content));
        }
        Ok(found)
    }

    #[test]
    fn gives_members_in_order_with_odd_sizes_padded() {
        let archive =
            [MAGIC, &member("one/", b"a"), &member("two", b""), &member("three", b"bcd")].concat();
        let found = read(&archive).unwrap();
        let expected = [("one", &b"a"[..]), ("two", b""), ("three", b"bcd")];
        assert_eq!(found, expected.map(|(name, content)| (name.to_owned(), content.to_vec())));
    }

    #[test]
    fn passes_over_what_was_not_read() {
        let archive = [MAGIC, &member("one", b"abcde"), &member("two", b"x")].concat();
        let mut members = Members::new(&archive[..]);
        assert_eq!(members.next_member().unwrap().unwrap().0, "one");
        assert_eq!(members.next_member().unwrap().unwrap(), ("two".to_owned(), 1));
    }

    #[test]
    fn refuses_other_files_and_cut_ones() {
        assert_eq!(read(b"PK\x03\x04....").unwrap_err().kind(), io::ErrorKind::InvalidData);
        let archive = [MAGIC, &member("one", b"abcdef")].concat();
        for length in [MAGIC.len() + 1, MAGIC.len() + HEADER - 1, archive.len() - 1] {
            assert_eq!(
                read(&archive[..length]).unwrap_err().kind(),
                io::ErrorKind::UnexpectedEof,
                "{length}"
            );
        }
        let mut wrong = archive.clone();
        wrong[MAGIC.len() + 48] = b'-';
        assert_eq!(read(&wrong).unwrap_err().kind(), io::ErrorKind::InvalidData);
    }
}
