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
    digest(listed, |text, entry, name| match entry.kind {
        "file" => {
            push_number(text, u64::from(entry.mode));
            push_number(text, entry.size);
            push_number(text, entry.dev);
            push_number(text, entry.ino);
            push_time(text, entry.mtime_ns);
            push_time(text, entry.ctime_ns);
            push_name(text, name);
        }
        "symlink" => {
            push_name(text, name);
            push_name(text, entry.link.as_deref().unwrap_or_default());
        }
        _ => {
            push_number(text, u64::from(entry.mode));
            push_name(text, name);
        }
    })
}

/// The same of kinds and names alone, by which an ignore file goes.
pub(crate) fn of_names(listed: &Listed) -> String {
    digest(listed, |text, _, name| push_name(text, name))
}

fn digest(listed: &Listed, mut push: impl FnMut(&mut Vec<u8>, &ScanEntry, &[u8])) -> String {
    let mut text = vec![if listed.is_denied { b'!' } else { b'>' }];
    push_name(&mut text, &listed.path);
    for row in &listed.rows {
        if row.is_skipped {
            text.extend_from_slice(b"skipped ");
        }
        text.extend_from_slice(row.entry.kind.as_bytes());
        text.push(b' ');
        let name = listed.name_of(row);
        if row.is_skipped {
            push_name(&mut text, name);
        } else {
            push(&mut text, &row.entry, name);
        }
    }
    hex(&Sha256::digest(&text))
}

fn push_name(text: &mut Vec<u8>, name: &[u8]) {
    text.extend_from_slice(name);
    text.push(END);
}

/// Decimal, and a space. The formatter of the library takes as long as the stat.
fn push_number(text: &mut Vec<u8>, number: u64) {
    let mut digits = [b' '; 21];
    let mut at = digits.len() - 1;
    let mut rest = number;
    loop {
        at -= 1;
        digits[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    text.extend_from_slice(&digits[at..]);
}

/// As [`push_number`]. Few times are before 1970 or after 2554.
fn push_time(text: &mut Vec<u8>, nanoseconds: i128) {
    match u64::try_from(nanoseconds) {
        Ok(number) => push_number(text, number),
        Err(_) => text.extend_from_slice(format!("{nanoseconds} ").as_bytes()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers() {
        let mut text = Vec::new();
        push_number(&mut text, u64::MAX);
        for time in [0, 7, 1_234_567_890, -1, i128::from(u64::MAX), i128::MIN] {
            push_time(&mut text, time);
        }
        let most = u64::MAX;
        let expected = format!("{most} 0 7 1234567890 -1 {most} {} ", i128::MIN);
        assert_eq!(String::from_utf8(text).unwrap(), expected);
    }
}
