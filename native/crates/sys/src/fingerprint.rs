//! One digest of what a walk of a tree sees, so that a caller who remembers it knows the tree again without a list of it.

use sha2::{Digest, Sha256};

use crate::{hash::hex, scan::ScanEntry, walk::Listed};

/// What a name is followed by.
const END: u8 = 0;

/// Hex SHA-256 of the digests of all directories, sorted.
pub(crate) fn of_digests(mut digests: Vec<String>) -> String {
    digests.sort_unstable();
    let mut whole = Sha256::new();
    for digest in &digests {
        whole.update(digest.as_bytes());
    }
    hex(&whole.finalize())
}

/// Hex SHA-256 of a directory's path, and of the kinds and names of its entries with, by kind: mode, size, device, inode and both
/// times; mode; or target of a link. What is skipped only counts with its kind and name.
///
/// The text is described in docs/reference/store.md; `local/scan-memory.ts` writes the same.
pub(crate) fn of_directory(listed: &Listed) -> String {
    digest(listed, |text, entry| match entry.kind {
        "file" => {
            push_number(text, i128::from(entry.mode));
            push_number(text, i128::from(entry.size));
            push_number(text, i128::from(entry.dev));
            push_number(text, i128::from(entry.ino));
            push_number(text, entry.mtime_ns);
            push_number(text, entry.ctime_ns);
            push_name(text, name_of(entry));
        }
        "symlink" => {
            push_name(text, name_of(entry));
            push_name(text, entry.link.as_deref().unwrap_or_default());
        }
        _ => {
            push_number(text, i128::from(entry.mode));
            push_name(text, name_of(entry));
        }
    })
}

/// The same of kinds and names alone, by which an ignore file goes.
pub(crate) fn of_names(listed: &Listed) -> String {
    digest(listed, |text, entry| push_name(text, name_of(entry)))
}

fn digest(listed: &Listed, mut push: impl FnMut(&mut Vec<u8>, &ScanEntry)) -> String {
    let mut text = vec![if listed.rows.is_some() { b'>' } else { b'!' }];
    push_name(&mut text, &listed.path);
    for row in listed.rows.iter().flatten() {
        if row.is_skipped {
            text.extend_from_slice(b"skipped ");
        }
        text.extend_from_slice(row.entry.kind.as_bytes());
        text.push(b' ');
        if row.is_skipped {
            push_name(&mut text, name_of(&row.entry));
        } else {
            push(&mut text, &row.entry);
        }
    }
    hex(&Sha256::digest(&text))
}

fn name_of(entry: &ScanEntry) -> &[u8] {
    entry.path.rsplit(|byte| *byte == b'/').next().unwrap_or_default()
}

fn push_name(text: &mut Vec<u8>, name: &[u8]) {
    text.extend_from_slice(name);
    text.push(END);
}

/// Decimal, and a space. The formatter of the library takes as long as the stat.
fn push_number(text: &mut Vec<u8>, number: i128) {
    let mut digits = [0; 40];
    let mut at = digits.len();
    let mut rest = number.unsigned_abs();
    loop {
        at -= 1;
        digits[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    if number < 0 {
        text.push(b'-');
    }
    text.extend_from_slice(&digits[at..]);
    text.push(b' ');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers() {
        let mut text = Vec::new();
        for number in [0, 7, -1, i128::from(u64::MAX), i128::MIN] {
            push_number(&mut text, number);
        }
        let expected = format!("0 7 -1 {} {} ", u64::MAX, i128::MIN);
        assert_eq!(String::from_utf8(text).unwrap(), expected);
    }
}
