//! Entries of a copy, which cross as one buffer; `src/native/copy-entries.ts` writes it.

use std::{
    ffi::OsString,
    os::unix::ffi::OsStringExt,
    path::PathBuf,
    str::FromStr,
    sync::{PoisonError, RwLock},
};

use tsbuild_sys::{
    copy::{CopyEntry, EntryKind, Expectation},
    tree_index::{Placement, TreeIndex},
};

use crate::error::Failure;

/// Takes the buffer apart. What it says of directories of an index is of `index`.
pub fn copy_entries(
    bytes: &[u8],
    index: Option<&RwLock<TreeIndex>>,
) -> Result<Vec<CopyEntry>, Failure> {
    let Some((last, fields)) = bytes.split_last() else { return Ok(Vec::new()) };
    if *last != 0 {
        return Err(malformed("it ends within a field"));
    }
    let mut fields = fields.split(|byte| *byte == 0);
    let mut entries = Vec::new();
    while let Some(kind) = fields.next() {
        let mut next = || fields.next().ok_or_else(|| malformed("it ends within an entry"));
        if kind == b"below" {
            let placement = Placement {
                below: next()?.to_vec(),
                destination: next()?.to_vec(),
                modes: modes(next()?)?,
                owner: Option::zip(number(next()?)?, number(next()?)?)
                    .ok_or_else(|| malformed("an owner is missing"))?,
                mtime_ns: number(next()?)?,
                tree: number(next()?)?,
            };
            let index = index.ok_or_else(|| malformed("there is no index"))?;
            let index = index.read().unwrap_or_else(PoisonError::into_inner);
            entries.extend(index.copies(&placement));
            continue;
        }
        let kind = match kind {
            b"file" => EntryKind::File,
            b"directory" => EntryKind::Directory,
            b"symlink" => EntryKind::Symlink,
            b"node" => EntryKind::Node,
            b"empty" => EntryKind::Empty,
            _ => return Err(malformed("there is no such kind")),
        };
        let (source, destination, link) = (path(next()?), path(next()?), next()?);
        let (mode, uid, gid) = (number(next()?)?, number(next()?)?, number(next()?)?);
        let (mtime_ns, flags) = (number(next()?)?, next()?);
        let (size, expected_mtime, expected_ctime) =
            (number(next()?)?, number(next()?)?, number(next()?)?);
        let tree = number(next()?)?;
        let expect = match (size, expected_mtime, expected_ctime) {
            (Some(size), Some(mtime_ns), Some(ctime_ns)) => {
                Some(Expectation { size, mtime_ns, ctime_ns })
            }
            _ => None,
        };
        entries.push(CopyEntry {
            source,
            destination,
            kind,
            link: (!link.is_empty()).then(|| path(link)),
            mode,
            owner: Option::zip(uid, gid),
            mtime_ns,
            follow: flags.contains(&b'f'),
            xattrs: flags.contains(&b'x'),
            expect,
            known: None,
            tree,
            keeps_existing: flags.contains(&b'k'),
        });
    }
    Ok(entries)
}

/// `kind mode mode`, one after the other.
fn modes(field: &[u8]) -> Result<Vec<(String, u32, u32)>, Failure> {
    let words: Vec<&[u8]> =
        field.split(|byte| *byte == b' ').filter(|word| !word.is_empty()).collect();
    words
        .chunks(3)
        .map(|words| match words {
            [kind, from, to] => {
                let kind = String::from_utf8_lossy(kind).into_owned();
                let modes = Option::zip(number(from)?, number(to)?);
                modes
                    .map(|(from, to)| (kind, from, to))
                    .ok_or_else(|| malformed("a mode is missing"))
            }
            _ => Err(malformed("a mode is missing")),
        })
        .collect()
}

fn path(field: &[u8]) -> PathBuf {
    OsString::from_vec(field.to_vec()).into()
}

/// `None` where the field is empty.
fn number<T: FromStr>(field: &[u8]) -> Result<Option<T>, Failure> {
    if field.is_empty() {
        return Ok(None);
    }
    let text = std::str::from_utf8(field).ok().and_then(|text| text.parse().ok());
    text.map(Some).ok_or_else(|| malformed("a number is none"))
}

fn malformed(why: &str) -> Failure {
    Failure {
        code: "INTERNAL",
        errno: None,
        path: None,
        message: format!("the list of what is to be copied is malformed: {why}"),
    }
}
