//! Access control lists as they are in extended attributes (linux/posix_acl_xattr.h, version 2; acl(5)).

use tsbuild_owners::Record;

/// Of a file.
pub const ACCESS: &str = "system.posix_acl_access";
/// Of what is made in a directory.
pub const DEFAULT: &str = "system.posix_acl_default";
/// Both.
pub const NAMES: [&str; 2] = [ACCESS, DEFAULT];

const VERSION: u32 = 2;
const USER_OWNER: u16 = 0x01;
const USER: u16 = 0x02;
const GROUP_OWNER: u16 = 0x04;
const GROUP: u16 = 0x08;
const MASK: u16 = 0x10;
const OTHER: u16 = 0x20;
const NO_ID: u32 = u32::MAX;

/// One list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct List {
    entries: Vec<Entry>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Entry {
    tag: u16,
    permissions: u16,
    id: u32,
}

/// `None` where the kernel would refuse it too.
pub fn parse(bytes: &[u8]) -> Option<List> {
    let (head, rest) = bytes.split_at_checked(4)?;
    if head != VERSION.to_le_bytes() || rest.len() % 8 != 0 {
        return None;
    }
    let entries: Vec<Entry> = rest
        .chunks(8)
        .map(|part| Entry {
            tag: u16::from_le_bytes([part[0], part[1]]),
            permissions: u16::from_le_bytes([part[2], part[3]]),
            id: u32::from_le_bytes([part[4], part[5], part[6], part[7]]),
        })
        .collect();
    // As `posix_acl_valid`: sorted by tag, the three of a mode once each, a mask where somebody is named.
    let count = |tag: u16| entries.iter().filter(|entry| entry.tag == tag).count();
    let named = count(USER) + count(GROUP);
    let valid = entries.iter().all(|entry| {
        entry.permissions <= 7
            && [USER_OWNER, USER, GROUP_OWNER, GROUP, MASK, OTHER].contains(&entry.tag)
    }) && entries.windows(2).all(|pair| pair[0].tag <= pair[1].tag)
        && [USER_OWNER, GROUP_OWNER, OTHER].into_iter().all(|tag| count(tag) == 1)
        && count(MASK) <= 1
        && (named == 0 || count(MASK) == 1)
        && entries.iter().all(|entry| !is_named(entry.tag) || entry.id != NO_ID);
    valid.then_some(List { entries })
}

fn is_named(tag: u16) -> bool {
    tag == USER || tag == GROUP
}

impl List {
    /// Whether a namespace of one id cannot have it.
    pub fn names_ids_other_than_root(&self) -> bool {
        self.entries.iter().any(|entry| is_named(entry.tag) && entry.id != 0)
    }

    fn permissions(&self, tag: u16) -> Option<u32> {
        self.entries.iter().find(|entry| entry.tag == tag).map(|entry| entry.permissions.into())
    }

    /// The permission bits that a file with this list has.
    pub fn mode(&self) -> u32 {
        let group = self.permissions(MASK).or(self.permissions(GROUP_OWNER)).unwrap_or(0);
        let [user, other] = [USER_OWNER, OTHER].map(|tag| self.permissions(tag).unwrap_or(0));
        user << 6 | group << 3 | other
    }

    /// As chmod(2) changes it.
    fn with_mode(mut self, mode: u32) -> Self {
        for (entry, shift) in self.classes() {
            entry.permissions = (mode >> shift & 7) as u16;
        }
        self
    }

    /// What something gets that is made with `mode` in a directory with this default (`posix_acl_create`): its mode, and its list.
    pub fn inherited(mut self, mode: u32) -> (u32, Self) {
        let mut kept = mode & !0o777;
        for (entry, shift) in self.classes() {
            entry.permissions &= (mode >> shift & 7) as u16;
            kept |= u32::from(entry.permissions) << shift;
        }
        (kept, self)
    }

    /// The entries that a mode speaks of, with where their bits stand in it. Those of the group are of the mask where there is one.
    fn classes(&mut self) -> impl Iterator<Item = (&mut Entry, u32)> {
        let group = if self.permissions(MASK).is_some() { MASK } else { GROUP_OWNER };
        self.entries.iter_mut().filter_map(move |entry| {
            let shift = match entry.tag {
                USER_OWNER => 6,
                OTHER => 0,
                tag if tag == group => 3,
                _ => return None,
            };
            Some((entry, shift))
        })
    }

    /// As the kernel gives it back.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = VERSION.to_le_bytes().to_vec();
        for Entry { tag, permissions, id } in &self.entries {
            bytes.extend(tag.to_le_bytes());
            bytes.extend(permissions.to_le_bytes());
            bytes.extend(if is_named(*tag) { *id } else { NO_ID }.to_le_bytes());
        }
        bytes
    }
}

/// What is recorded under this name.
pub fn stored<'a>(record: &'a Record, name: &str) -> Option<&'a [u8]> {
    record.attributes.iter().find(|(other, _)| other == name.as_bytes()).map(|(_, bytes)| &**bytes)
}

/// The same, as the mode has changed it since.
pub fn current(record: &Record, name: &str, mode: u32) -> Option<Vec<u8>> {
    let bytes = stored(record, name)?;
    match parse(bytes) {
        Some(list) if name == ACCESS => Some(list.with_mode(mode).to_bytes()),
        _ => Some(bytes.to_vec()),
    }
}

/// All of the record, with its list as the mode has changed it since.
pub fn with_current(mut record: Record, mode: u32) -> Record {
    let Some(bytes) = current(&record, ACCESS, mode) else { return record };
    for (name, value) in &mut record.attributes {
        if name == ACCESS.as_bytes() {
            value.clone_from(&bytes);
        }
    }
    record
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(entries: &[(u16, u16, u32)]) -> Vec<u8> {
        let mut bytes = VERSION.to_le_bytes().to_vec();
        for (tag, permissions, id) in entries {
            bytes.extend(tag.to_le_bytes());
            bytes.extend(permissions.to_le_bytes());
            bytes.extend(id.to_le_bytes());
        }
        bytes
    }

    /// `u::rwx,u:1000:r-x,g::r-x,m::r-x,o::---`
    fn example() -> Vec<u8> {
        let owner = (USER_OWNER, 7, NO_ID);
        list(&[
            owner,
            (USER, 5, 1000),
            (GROUP_OWNER, 5, NO_ID),
            (MASK, 5, NO_ID),
            (OTHER, 0, NO_ID),
        ])
    }

    #[test]
    fn a_list_has_a_mode_and_follows_it() {
        let parsed = parse(&example()).unwrap();
        assert!(parsed.names_ids_other_than_root());
        assert_eq!(parsed.mode(), 0o750);
        assert_eq!(parsed.to_bytes(), example());
        let record = Record {
            attributes: vec![(ACCESS.as_bytes().to_vec(), example())],
            ..Record::default()
        };
        assert_eq!(current(&record, ACCESS, 0o100_750).unwrap(), example());
        let changed = parse(&current(&record, ACCESS, 0o100_604).unwrap()).unwrap();
        assert_eq!(changed.mode(), 0o604);
        assert_eq!(changed.permissions(GROUP_OWNER), Some(5));
        assert_eq!(current(&record, DEFAULT, 0), None);
    }

    #[test]
    fn what_is_made_inherits_no_more_than_its_mode() {
        let (mode, list) = parse(&example()).unwrap().inherited(0o100_644);
        assert_eq!(mode, 0o100_640);
        assert_eq!(list.mode(), 0o640);
        assert_eq!(list.permissions(GROUP_OWNER), Some(5));
    }

    #[test]
    fn what_the_kernel_refuses_is_refused() {
        let (owner, group, other) = ((USER_OWNER, 7, 0), (GROUP_OWNER, 5, 0), (OTHER, 0, 0));
        assert!(
            parse(&list(&[owner, group, other])).is_some_and(|it| !it.names_ids_other_than_root())
        );
        for bad in [
            list(&[owner, group]),
            list(&[owner, (USER, 5, 1), group, other]),
            list(&[group, owner, other]),
            list(&[owner, (GROUP_OWNER, 8, 0), other]),
            list(&[owner, owner, group, other]),
            list(&[owner, (USER, 5, NO_ID), group, (MASK, 7, 0), other]),
            vec![2, 0, 0],
            vec![1, 0, 0, 0],
            example()[..40].to_vec(),
        ] {
            assert_eq!(parse(&bad), None, "{bad:?}");
        }
    }
}
