//! The entries of a layer on their way into frames.

use std::{os::fd::OwnedFd, sync::Arc};

use tsbuild_tar::{END_OF_ARCHIVE, Entry, EntryKind, Timestamp, encode_header, padding};

use crate::{
    compress::Feed,
    disk::{self, Facts},
    error::{Code, Error, Result, show},
    frame::{Framer, LARGE_FILE},
    late::LateFile,
    table::{ESTARGZ_NAMES, TableKind},
    watch::Watch,
    xattr::Xattrs,
};

pub(crate) struct LayerTar<'a> {
    framer: Framer,
    table: Option<TableKind>,
    watch: Watch<'a>,
    clamp: Option<i64>,
    /// Unchanged directories on the way to where we are, not written yet.
    pending: Vec<Entry>,
    header: Vec<u8>,
    /// Written so far.
    pub entries: u64,
}

impl<'a> LayerTar<'a> {
    pub fn new(
        feed: Feed,
        table: Option<TableKind>,
        clamp: Option<i64>,
        watch: Watch<'a>,
    ) -> Result<Self> {
        let mut framer = Framer::new(feed, table.is_some());
        if table == Some(TableKind::Estargz) {
            framer.put_landmark()?;
        }
        let (pending, header) = (Vec::new(), Vec::new());
        Ok(Self { framer, table, watch, clamp, pending, header, entries: 0 })
    }

    /// eStargz has files of its own. They come into a tree with layers that are unpacked by who does not know them.
    fn is_reserved(&self, path: &[u8]) -> bool {
        self.table == Some(TableKind::Estargz) && ESTARGZ_NAMES.contains(&path)
    }

    pub fn entry(&self, path: &[u8], kind: EntryKind, facts: &Facts, xattrs: Xattrs) -> Entry {
        let seconds = facts.mtime.0;
        Entry {
            path: path.to_vec(),
            kind,
            mode: facts.mode,
            uid: u64::from(facts.uid),
            gid: u64::from(facts.gid),
            size: 0,
            mtime: Timestamp {
                // `stat` rounds toward minus infinity already; the nanoseconds are dropped.
                seconds: self.clamp.map_or(seconds, |clamp| seconds.min(clamp)),
                nanoseconds: 0,
            },
            link: Vec::new(),
            device_major: 0,
            device_minor: 0,
            xattrs,
        }
    }

    /// A directory and what is in it: one that did not change is written when the first entry below it is.
    pub fn directory(
        &mut self,
        entry: Entry,
        unchanged: bool,
        inside: impl FnOnce(&mut Self) -> Result<()>,
    ) -> Result<()> {
        let depth = self.pending.len();
        if unchanged {
            self.pending.push(entry);
        } else {
            self.emit(&entry)?;
        }
        inside(self)?;
        // Shorter when a change inside wrote it.
        self.pending.truncate(depth);
        Ok(())
    }

    pub fn emit(&mut self, entry: &Entry) -> Result<()> {
        if self.is_reserved(&entry.path) {
            return Ok(());
        }
        for parent in std::mem::take(&mut self.pending) {
            self.emit_one(&parent)?;
        }
        self.emit_one(entry)
    }

    fn emit_one(&mut self, entry: &Entry) -> Result<()> {
        self.header.clear();
        encode_header(entry, &mut self.header).map_err(|error| {
            Error::new(Code::LayerUnrepresentable, &entry.path, error.to_string())
        })?;
        self.framer.begin(entry, &self.header)?;
        self.entries += 1;
        if self.entries.is_multiple_of(256) {
            self.watch.report(self.framer.total());
        }
        Ok(())
    }

    /// A regular file: the entry, and as much content as `facts` say. `open` is called where there is any.
    pub fn file(
        &mut self,
        entry: &Entry,
        facts: &Facts,
        open: impl FnOnce() -> Result<OwnedFd>,
    ) -> Result<()> {
        self.emit(entry)?;
        if facts.size == 0 || self.is_reserved(&entry.path) {
            return Ok(());
        }
        let path = &entry.path;
        let file = open()?;
        let mut done = 0_u64;
        while done < facts.size {
            let wanted = Framer::until_cut(facts.size, done);
            let wanted = usize::try_from(wanted).unwrap_or(usize::MAX);
            let space = self.framer.space(wanted.min(READ_AT_ONCE))?;
            let count = disk::read_some(&file, space)
                .map_err(|errno| Error::io("cannot read", path, errno))?;
            if count == 0 {
                return Err(changed(path, "became shorter"));
            }
            done += count as u64;
            self.framer.content(count, facts.size, done)?;
            if count >= READ_AT_ONCE {
                self.watch.poll()?;
                self.watch.report(self.framer.total());
            }
        }
        let after =
            disk::facts_of(&file).map_err(|errno| Error::io("cannot examine", path, errno))?;
        if !after.is_untouched_since(facts) {
            return Err(changed(path, "was written to"));
        }
        self.after_content(facts.size)
    }

    /// A regular file of `size` that is read later.
    pub fn late_file(&mut self, entry: &Entry, size: u64, file: &Arc<LateFile>) -> Result<()> {
        self.emit(entry)?;
        if size == 0 || self.is_reserved(&entry.path) {
            return Ok(());
        }
        let mut done = 0_u64;
        while done < size {
            let wanted = usize::try_from(Framer::until_cut(size, done)).unwrap_or(usize::MAX);
            let count = self.framer.hole(wanted, file, done)?;
            done += count as u64;
            self.framer.content(count, size, done)?;
        }
        self.after_content(size)
    }

    fn after_content(&mut self, size: u64) -> Result<()> {
        self.framer.put_zeros(padding(size))?;
        if size >= LARGE_FILE { self.framer.cut() } else { Ok(()) }
    }

    pub fn end(&mut self) -> Result<()> {
        self.pending.clear();
        if self.table != Some(TableKind::Estargz) {
            self.framer.put(&END_OF_ARCHIVE)?;
        }
        self.framer.cut()
    }
}

/// Small enough that a cancel is noticed soon.
const READ_AT_ONCE: usize = 1 << 20;

pub(crate) fn changed(path: &[u8], how: &str) -> Error {
    Error::new(Code::SourceChanged, path, format!("'{}' {how} while it was read", show(path)))
}
