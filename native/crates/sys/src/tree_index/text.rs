//! What JavaScript gets of an index: text of JSON, since V8 parses that several times faster than Node-API makes objects.

use std::fmt::Write;

use sha2::{Digest, Sha256};

use super::{Chosen, IndexEntry, TreeIndex};
use crate::{
    hash::hex,
    scan::ScanEntry,
    scan_json::{push_bytes, push_escaped, push_row},
};

/// Neither of these is carried.
fn is_left_out(entry: &ScanEntry) -> bool {
    matches!(entry.kind, "fifo" | "char" | "block")
}

impl TreeIndex {
    /// An array of rows (`scan_json.rs`) of what a directory holds.
    pub fn children_json(&self, directory: &[u8]) -> String {
        list_json(self.children(directory), push_row)
    }

    /// A row (`scan_json.rs`).
    pub fn entry_json(&self, path: &[u8]) -> Option<String> {
        let found = self.get(path)?;
        let mut json = String::new();
        push_row(&mut json, &found.entry);
        Some(json)
    }

    /// An array of `/`-rooted paths of what is left out of a choice: pipes and devices.
    pub fn left_out_json(&self, chosen: &[usize]) -> String {
        let entries = chosen.iter().map(|number| &self.entries[*number].entry);
        list_json(entries.filter(|entry| is_left_out(entry)), push_rooted)
    }

    /// The choice without what is left out.
    pub fn carried(&self, chosen: &[usize]) -> Chosen {
        let kept = |number: &usize| !is_left_out(&self.entries[*number].entry);
        chosen.iter().copied().filter(kept).collect()
    }

    /// The `/`-rooted path of the first entry that has a path or a target which is not UTF-8.
    pub fn not_text_json(&self, carried: &[usize]) -> Option<String> {
        let is_text = |bytes: &[u8]| std::str::from_utf8(bytes).is_ok();
        let found = carried
            .iter()
            .map(|number| &self.entries[*number].entry)
            .find(|entry| !is_text(&entry.path) || !entry.link.as_deref().is_none_or(is_text))?;
        let mut json = String::new();
        push_rooted(&mut json, found);
        Some(json)
    }

    /// What a key sees: an array of pairs of a path and `0644 sha256hex`, `-> target` or, of a directory, whose path ends in `/`, the mode.
    pub fn summary_json(&self, carried: &[usize]) -> String {
        let entries = carried.iter().map(|number| &self.entries[*number]);
        list_json(entries, |json, entry| {
            json.push_str("[\"");
            push_seen(json, entry, "\",\"");
            json.push_str("\"]");
        })
    }

    /// The same as lines (`src/base/listing.ts`).
    pub fn listing(&self, carried: &[usize]) -> String {
        let mut text = String::new();
        for number in carried {
            push_seen(&mut text, &self.entries[*number], "\t");
            text.push('\n');
        }
        text
    }

    /// The hex SHA-256 of the canonical JSON of a summary (docs/reference/cache-keys.md).
    pub fn content_digest(summary_json: &str) -> String {
        let mut hash = Sha256::new();
        hash.update(br#"{"v":1,"context":"#);
        hash.update(summary_json);
        hash.update(b"}");
        hex(&hash.finalize())
    }

    /// An array of `InputFile`s of `src/worker/protocol.ts`.
    pub fn files_json(&self, carried: &[usize]) -> String {
        let entries = carried.iter().map(|number| &self.entries[*number]);
        list_json(entries, |json, IndexEntry { entry, content }| {
            let kind = if entry.kind == "socket" { "file" } else { entry.kind };
            json.push_str(r#"{"path":"#);
            push_rooted(json, entry);
            let mode = if kind == "symlink" { 0o777 } else { entry.mode };
            let _ =
                write!(json, r#","kind":"{kind}","mode":{mode},"mtimeNs":"{}""#, entry.mtime_ns);
            if let Some(link) = &entry.link {
                json.push_str(r#","link":"#);
                push_bytes(json, link);
            }
            if kind == "directory" || content.is_some() {
                json.push_str(r#","hostPath":"#);
                push_bytes(json, self.host_path(entry).as_os_str().as_encoded_bytes());
            }
            if content.is_some() {
                let ScanEntry { size, mtime_ns, ctime_ns, .. } = entry;
                let _ = write!(
                    json,
                    r#","expect":{{"sizeBytes":{size},"mtimeNs":"{mtime_ns}","ctimeNs":"{ctime_ns}"}}"#
                );
            }
            json.push('}');
        })
    }

    /// An array of the host's paths of files both of whose times are later.
    pub fn later_json(&self, carried: &[usize], ns: i128) -> String {
        let entries = carried.iter().map(|number| &self.entries[*number].entry);
        let later = entries
            .filter(|entry| entry.kind == "file" && entry.mtime_ns > ns && entry.ctime_ns > ns);
        list_json(later, |json, entry| {
            push_bytes(json, self.host_path(entry).as_os_str().as_encoded_bytes());
        })
    }

    /// An array of the different kinds and modes of all that is carried of what is below a directory.
    pub fn modes_json(&self, directory: &[u8]) -> String {
        let entries = self.below(directory).iter().map(|each| &each.entry);
        let modes: std::collections::BTreeSet<_> = entries
            .filter(|entry| !is_left_out(entry))
            .map(|entry| (entry.kind, entry.mode))
            .collect();
        list_json(modes.iter(), |json, (kind, mode)| {
            let _ = write!(json, r#"["{kind}",{mode}]"#);
        })
    }
}

/// A path and what a key sees of it, without quotes.
fn push_seen(json: &mut String, IndexEntry { entry, content }: &IndexEntry, between: &str) {
    json.push('/');
    push_escaped(json, &entry.path);
    if entry.kind == "directory" {
        json.push('/');
    }
    json.push_str(between);
    match (entry.kind, &entry.link) {
        ("symlink", Some(link)) => {
            json.push_str("-> ");
            push_escaped(json, link);
        }
        ("directory", _) => {
            let _ = write!(json, "{:04o}", entry.mode);
        }
        _ => {
            let sha256 = content.as_ref().map_or(EMPTY_SHA256, |content| &content.sha256);
            let _ = write!(json, "{:04o} {sha256}", entry.mode);
        }
    }
}

const EMPTY_SHA256: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

fn push_rooted(json: &mut String, entry: &ScanEntry) {
    push_bytes(json, &[b"/", entry.path.as_slice()].concat());
}

fn list_json<T>(items: impl Iterator<Item = T>, mut push: impl FnMut(&mut String, T)) -> String {
    let mut json = String::from("[");
    for item in items {
        if json.len() > 1 {
            json.push(',');
        }
        push(&mut json, item);
    }
    json.push(']');
    json
}
