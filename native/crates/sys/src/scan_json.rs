//! Listings of directories as JSON, for a reader that wants many rows quickly.

use std::fmt::Write;

use crate::scan::{Listing, ScanEntry};

/// About what one row takes.
const ROW_BYTES: usize = 160;

/// An array with one element for each listing: `null` where this process may not look, otherwise rows of name, kind, mode,
/// size, device, inode, both times and, for a symlink, its target. Numbers that may exceed 2^53 are strings. A byte of a name
/// that is not UTF-8 is a lone surrogate, U+DC00 and the byte.
pub fn listings_json(listings: &[Listing]) -> String {
    let rows: usize = listings.iter().map(|listing| listing.entries.len()).sum();
    let mut json = String::with_capacity(rows * ROW_BYTES + 2);
    json.push('[');
    for (index, listing) in listings.iter().enumerate() {
        if index > 0 {
            json.push(',');
        }
        if listing.denied {
            json.push_str("null");
            continue;
        }
        json.push('[');
        for (index, entry) in listing.entries.iter().enumerate() {
            if index > 0 {
                json.push(',');
            }
            push_row(&mut json, entry);
        }
        json.push(']');
    }
    json.push(']');
    json
}

pub(crate) fn push_row(json: &mut String, entry: &ScanEntry) {
    let name = entry.path.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
    json.push('[');
    push_bytes(json, name);
    let ScanEntry { kind, mode, size, dev, ino, mtime_ns, ctime_ns, .. } = entry;
    // Writing to a string does not fail.
    let _ = write!(json, r#","{kind}",{mode},{size},"{dev}","{ino}","{mtime_ns}","{ctime_ns}""#);
    if let Some(link) = &entry.link {
        json.push(',');
        push_bytes(json, link);
    }
    json.push(']');
}

/// As `JSON.stringify` writes it.
pub(crate) fn push_bytes(json: &mut String, bytes: &[u8]) {
    json.push('"');
    push_escaped(json, bytes);
    json.push('"');
}

/// What is between the quotes.
pub(crate) fn push_escaped(json: &mut String, bytes: &[u8]) {
    for chunk in bytes.utf8_chunks() {
        for char in chunk.valid().chars() {
            match char {
                '"' | '\\' => {
                    json.push('\\');
                    json.push(char);
                }
                '\x08' => json.push_str("\\b"),
                '\t' => json.push_str("\\t"),
                '\n' => json.push_str("\\n"),
                '\x0c' => json.push_str("\\f"),
                '\r' => json.push_str("\\r"),
                '\0'..='\x1f' => {
                    let _ = write!(json, "\\u{:04x}", u32::from(char));
                }
                _ => json.push(char),
            }
        }
        for byte in chunk.invalid() {
            let _ = write!(json, "\\udc{byte:02x}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(path: &[u8], link: Option<&[u8]>) -> ScanEntry {
        ScanEntry {
            path: path.to_vec(),
            kind: if link.is_some() { "symlink" } else { "file" },
            mode: 0o644,
            size: 5,
            dev: u64::MAX,
            ino: 2,
            links: 1,
            mtime_ns: -1,
            ctime_ns: 1_700_000_000_123_456_789,
            link: link.map(<[u8]>::to_vec),
        }
    }

    #[test]
    fn rows_and_denied_directories() {
        let listings = [
            Listing {
                entries: vec![entry(b"d/a", None), entry(b"d/l", Some(b"../x"))],
                denied: false,
            },
            Listing { entries: Vec::new(), denied: true },
            Listing::default(),
        ];
        assert_eq!(
            listings_json(&listings),
            concat!(
                r#"[[["a","file",420,5,"18446744073709551615","2","-1","1700000000123456789"],"#,
                r#"["l","symlink",420,5,"18446744073709551615","2","-1","1700000000123456789","../x"]],null,[]]"#
            )
        );
    }

    #[test]
    fn any_bytes() {
        let mut json = String::new();
        push_bytes(&mut json, b"\"\\\n\x08\x0b\x7f\xff\xc3\xa9\xe2\x82");
        assert_eq!(json, "\"\\\"\\\\\\n\\b\\u000b\x7f\\udcff\u{e9}\\udce2\\udc82\"");
    }
}
