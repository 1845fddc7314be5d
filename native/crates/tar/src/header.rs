//! The 512-byte header block (POSIX.1-2017, pax, "ustar Interchange Format"; GNU tar manual, "Basic Tar Format").

/// Everything in a tar is a multiple of this.
pub const BLOCK: usize = 512;

pub(crate) const NAME: Field = Field(0, 100);
pub(crate) const MODE: Field = Field(100, 8);
pub(crate) const UID: Field = Field(108, 8);
pub(crate) const GID: Field = Field(116, 8);
pub(crate) const SIZE: Field = Field(124, 12);
pub(crate) const MTIME: Field = Field(136, 12);
pub(crate) const CHECKSUM: Field = Field(148, 8);
pub(crate) const TYPE: usize = 156;
pub(crate) const LINK: Field = Field(157, 100);
pub(crate) const MAGIC: Field = Field(257, 8);
pub(crate) const DEVICE_MAJOR: Field = Field(329, 8);
pub(crate) const DEVICE_MINOR: Field = Field(337, 8);
pub(crate) const PREFIX: Field = Field(345, 155);
/// star keeps times behind a shorter prefix and says so in the last four bytes.
const STAR_PREFIX: Field = Field(345, 131);
const STAR_TRAILER: Field = Field(508, 4);
pub(crate) const GNU_SPARSE: Field = Field(386, 96);
pub(crate) const GNU_SPARSE_EXTENDED: usize = 482;
pub(crate) const GNU_REAL_SIZE: Field = Field(483, 12);

/// Offset and length of a field.
#[derive(Clone, Copy)]
pub(crate) struct Field(pub usize, pub usize);

/// Which of the historic layouts a header has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    V7,
    Ustar,
    Star,
    Gnu,
}

pub(crate) struct Block(pub [u8; BLOCK]);

impl Block {
    pub fn is_zero(&self) -> bool {
        self.0.iter().all(|byte| *byte == 0)
    }

    pub fn field(&self, field: Field) -> &[u8] {
        &self.0[field.0..field.0 + field.1]
    }

    pub fn format(&self) -> Format {
        match self.field(MAGIC) {
            b"ustar  \0" => Format::Gnu,
            magic if magic.starts_with(b"ustar\0") => {
                if self.field(STAR_TRAILER) == b"tar\0" {
                    Format::Star
                } else {
                    Format::Ustar
                }
            }
            _ => Format::V7,
        }
    }

    /// Bytes up to the first NUL.
    pub fn text(&self, field: Field) -> &[u8] {
        let bytes = self.field(field);
        let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
        &bytes[..end]
    }

    /// The name with its prefix, if the format has one.
    pub fn path(&self) -> Vec<u8> {
        let name = self.text(NAME);
        let prefix = match self.format() {
            Format::Ustar => self.text(PREFIX),
            Format::Star => self.text(STAR_PREFIX),
            // GNU keeps other things there.
            Format::V7 | Format::Gnu => b"",
        };
        if prefix.is_empty() { name.to_vec() } else { [prefix, b"/", name].concat() }
    }

    /// Old Sun and BSD tars summed signed bytes; both sums are accepted, as everybody does.
    pub fn checksum_is_right(&self) -> bool {
        let Some(stated) = parse_number(self.field(CHECKSUM)) else { return false };
        let mut unsigned: i64 = 0;
        let mut signed: i64 = 0;
        for (index, byte) in self.0.iter().enumerate() {
            let byte =
                if (CHECKSUM.0..CHECKSUM.0 + CHECKSUM.1).contains(&index) { b' ' } else { *byte };
            unsigned += i64::from(byte);
            signed += i64::from(byte.cast_signed());
        }
        stated == unsigned || stated == signed
    }

    pub fn number(&self, field: Field) -> Option<i64> {
        parse_number(self.field(field))
    }
}

/// Octal with blanks around it, or base-256 when the highest bit is set. `None` when it is neither or exceeds 63 bits.
pub(crate) fn parse_number(bytes: &[u8]) -> Option<i64> {
    match bytes.first() {
        Some(first) if first & 0x80 != 0 => {
            // Two's complement, big-endian; bit 6 of the first byte is the sign.
            let negative = first & 0x40 != 0;
            let mut value: i128 =
                if negative { i128::from(first | 0x80) - 256 } else { i128::from(first & 0x7f) };
            for byte in &bytes[1..] {
                value = (value << 8) | i128::from(*byte);
                if value > i128::from(i64::MAX) || value < i128::from(i64::MIN) {
                    return None;
                }
            }
            i64::try_from(value).ok()
        }
        _ => {
            let is_blank = |byte: &u8| *byte == b' ' || *byte == 0;
            let start = bytes.iter().position(|byte| !is_blank(byte)).unwrap_or(bytes.len());
            let digits = &bytes[start..];
            let end = digits.iter().position(is_blank).unwrap_or(digits.len());
            if !digits[end..].iter().all(is_blank) {
                return None;
            }
            digits[..end].iter().try_fold(0_i64, |value, digit| match digit {
                b'0'..=b'7' => value.checked_mul(8)?.checked_add(i64::from(digit - b'0')),
                _ => None,
            })
        }
    }
}

/// Octal digits and a NUL, filling the field. `false` when the value does not fit.
pub(crate) fn put_octal(block: &mut [u8; BLOCK], field: Field, value: u64) -> bool {
    let digits = field.1 - 1;
    let mut rest = value;
    for index in (0..digits).rev() {
        block[field.0 + index] = b'0' + (rest & 7) as u8;
        rest >>= 3;
    }
    block[field.0 + digits] = 0;
    rest == 0
}

/// Six digits, a NUL and a blank, as every tar since v7 writes it.
pub(crate) fn put_checksum(block: &mut [u8; BLOCK]) {
    block[CHECKSUM.0..CHECKSUM.0 + CHECKSUM.1].fill(b' ');
    let sum: u64 = block.iter().map(|byte| u64::from(*byte)).sum();
    put_octal(block, Field(CHECKSUM.0, 7), sum);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers() {
        let cases: &[(&[u8], Option<i64>)] = &[
            (b"0000644\0", Some(0o644)),
            (b"   644 \0", Some(0o644)),
            (b"\0\0\0\0\0\0\0\0", Some(0)),
            (b"       7", Some(7)),
            (b"77777777", Some(0o77_777_777)),
            (b"0000648\0", None),
            (b"64 4\0\0\0\0", None),
            (b"-0000001", None),
            (b"\x80\0\0\0\0\0\x01\0", Some(256)),
            (b"\xff\xff\xff\xff\xff\xff\xff\xff", Some(-1)),
            (b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xfe", Some(-2)),
            (b"\x80\0\0\0\x7f\xff\xff\xff\xff\xff\xff\xff", Some(i64::MAX)),
            (b"\x80\0\0\0\x80\0\0\0\0\0\0\0", None),
            (b"\xbf\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", None),
        ];
        for (bytes, expected) in cases {
            assert_eq!(parse_number(bytes), *expected, "{bytes:?}");
        }
    }

    #[test]
    fn octal_fits_or_says_so() {
        let mut block = [0; BLOCK];
        assert!(put_octal(&mut block, UID, 0o7_777_777));
        assert_eq!(&block[108..116], b"7777777\0");
        assert!(!put_octal(&mut block, UID, 0o10_000_000));
    }
}
