//! The sidecar's form, version 1, as docs/reference/store.md describes it. Equal records make equal bytes, and nothing
//! but those bytes is read: a file that is cut or changed fails as a whole.

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};

use crate::{Device, DeviceKind, Record};

const HEAD: &[u8] = b"tsbuild owners 1\n";
const SUM_BYTES: usize = 32;
/// XATTR_NAME_MAX and XATTR_SIZE_MAX.
const MAX_NAME: usize = 255;
const MAX_VALUE: usize = 65_536;

pub(crate) fn encode(records: &BTreeMap<Vec<u8>, Record>) -> Vec<u8> {
    let mut bytes = HEAD.to_vec();
    put_u32(&mut bytes, records.len());
    for (path, record) in records {
        put_bytes(&mut bytes, path);
        bytes.extend(record.uid.to_le_bytes());
        bytes.extend(record.gid.to_le_bytes());
        match record.device {
            None => bytes.push(0),
            Some(Device { kind, major, minor }) => {
                bytes.push(match kind {
                    DeviceKind::Char => 1,
                    DeviceKind::Block => 2,
                });
                bytes.extend(major.to_le_bytes());
                bytes.extend(minor.to_le_bytes());
            }
        }
        put_u32(&mut bytes, record.attributes.len());
        for (name, value) in &record.attributes {
            put_bytes(&mut bytes, name);
            put_bytes(&mut bytes, value);
        }
    }
    let sum = Sha256::digest(&bytes);
    bytes.extend_from_slice(&sum);
    bytes
}

fn put_u32(bytes: &mut Vec<u8>, value: usize) {
    let value = u32::try_from(value).expect("less than 4 GiB in one tree's owners");
    bytes.extend(value.to_le_bytes());
}

fn put_bytes(bytes: &mut Vec<u8>, value: &[u8]) {
    put_u32(bytes, value.len());
    bytes.extend_from_slice(value);
}

pub(crate) fn decode(bytes: &[u8]) -> Result<BTreeMap<Vec<u8>, Record>, &'static str> {
    let Some(rest) = bytes.strip_prefix(HEAD) else {
        return Err(if bytes.starts_with(b"tsbuild owners ") {
            "it is of a version that this tsbuild does not know"
        } else {
            "it does not begin like one"
        });
    };
    let Some(body) = rest.len().checked_sub(SUM_BYTES) else { return Err("it is cut short") };
    if Sha256::digest(&bytes[..HEAD.len() + body])[..] != rest[body..] {
        return Err("its checksum is wrong");
    }
    let mut reader = Reader { rest: &rest[..body] };
    let count = reader.u32()?;
    let mut records = BTreeMap::new();
    let mut last: Option<Vec<u8>> = None;
    for _ in 0..count {
        let path = reader.bytes(usize::MAX)?.to_vec();
        if !is_path(&path) {
            return Err("a path in it leads out of the tree");
        }
        if last.as_ref().is_some_and(|last| *last >= path) {
            return Err("its paths are not sorted");
        }
        let record = reader.record()?;
        if record.is_trivial() {
            return Err("a record in it says nothing");
        }
        last = Some(path.clone());
        records.insert(path, record);
    }
    if reader.rest.is_empty() { Ok(records) } else { Err("there is more in it than it says") }
}

/// Relative, and plain: what is recorded is looked up below a directory.
fn is_path(path: &[u8]) -> bool {
    path.is_empty()
        || !path.contains(&0)
            && path
                .split(|byte| *byte == b'/')
                .all(|part| !part.is_empty() && part != b"." && part != b"..")
}

struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], &'static str> {
        let Some((taken, rest)) = self.rest.split_at_checked(count) else {
            return Err("it is cut short");
        };
        self.rest = rest;
        Ok(taken)
    }

    fn u32(&mut self) -> Result<u32, &'static str> {
        let bytes = self.take(4)?;
        Ok(u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
    }

    fn bytes(&mut self, limit: usize) -> Result<&'a [u8], &'static str> {
        let length = self.u32()? as usize;
        if length > limit { Err("a value in it is too long") } else { self.take(length) }
    }

    fn record(&mut self) -> Result<Record, &'static str> {
        let (uid, gid) = (self.u32()?, self.u32()?);
        let kind = match self.take(1)?[0] {
            0 => None,
            1 => Some(DeviceKind::Char),
            2 => Some(DeviceKind::Block),
            _ => return Err("a device in it is of no known kind"),
        };
        let device = match kind {
            None => None,
            Some(kind) => Some(Device { kind, major: self.u32()?, minor: self.u32()? }),
        };
        // To overlayfs it means a deletion, which is not an owner's to say.
        if device == Some(Device { kind: DeviceKind::Char, major: 0, minor: 0 }) {
            return Err("a device in it means a deletion");
        }
        let count = self.u32()?;
        let mut attributes: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
        for _ in 0..count {
            let name = self.bytes(MAX_NAME)?.to_vec();
            if name.is_empty()
                || name.contains(&0)
                || attributes.last().is_some_and(|(last, _)| *last >= name)
            {
                return Err("its attributes are not sorted");
            }
            attributes.push((name, self.bytes(MAX_VALUE)?.to_vec()));
        }
        Ok(Record { uid, gid, device, attributes })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> BTreeMap<Vec<u8>, Record> {
        let device = Some(Device { kind: DeviceKind::Block, major: 8, minor: 1 });
        let acl = vec![(b"system.posix_acl_access".to_vec(), vec![2, 0, 0, 0])];
        BTreeMap::from([
            (b"".to_vec(), Record::owner(1, 0)),
            (b"dev/sda1".to_vec(), Record { gid: 6, device, ..Record::default() }),
            (b"n\xffame".to_vec(), Record { attributes: acl, ..Record::owner(u32::MAX, 5) }),
        ])
    }

    fn with_sum(mut bytes: Vec<u8>) -> Vec<u8> {
        let sum = Sha256::digest(&bytes);
        bytes.extend_from_slice(&sum);
        bytes
    }

    #[test]
    fn round_trip() {
        assert_eq!(decode(&encode(&example())).unwrap(), example());
        assert_eq!(decode(&encode(&BTreeMap::new())).unwrap(), BTreeMap::new());
    }

    #[test]
    fn the_bytes_are_pinned() {
        let bytes = encode(&BTreeMap::from([(b"a".to_vec(), Record::owner(1000, 5))]));
        let mut expected = b"tsbuild owners 1\n".to_vec();
        expected.extend([1, 0, 0, 0, 1, 0, 0, 0, b'a', 0xe8, 3, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(bytes, with_sum(expected));
    }

    #[test]
    fn anything_cut_or_changed_is_refused() {
        let good = encode(&example());
        for length in 0..good.len() {
            assert!(decode(&good[..length]).is_err(), "{length}");
        }
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 0x10;
            assert!(decode(&bad).is_err(), "{at}");
        }
        assert!(decode(&[&good[..], b"x"].concat()).is_err());
    }

    /// With a right checksum: whoever writes a file can make one.
    #[test]
    fn hostile_contents_are_refused() {
        let body = |records: &[(&[u8], Record)]| {
            let mut bytes = HEAD.to_vec();
            put_u32(&mut bytes, records.len());
            for (path, record) in records {
                let one = encode(&BTreeMap::from([(path.to_vec(), record.clone())]));
                bytes.extend(&one[HEAD.len() + 4..one.len() - SUM_BYTES]);
            }
            with_sum(bytes)
        };
        let one = Record::owner(1, 1);
        for path in [&b"/etc"[..], b"a/", b"a//b", b"../a", b"a/../b", b".", b"a/./b", b"a\0b"] {
            assert_eq!(
                decode(&body(&[(path, one.clone())])),
                Err("a path in it leads out of the tree")
            );
        }
        let twice = [(&b"b"[..], one.clone()), (b"b", one.clone())];
        assert_eq!(decode(&body(&twice)), Err("its paths are not sorted"));
        assert_eq!(decode(&body(&[(b"a", Record::default())])), Err("a record in it says nothing"));
        // A count without records, and a length that is not there, cost nothing.
        let mut huge = HEAD.to_vec();
        huge.extend(u32::MAX.to_le_bytes());
        assert_eq!(decode(&with_sum(huge.clone())), Err("it is cut short"));
        huge.extend(u32::MAX.to_le_bytes());
        assert_eq!(decode(&with_sum(huge)), Err("it is cut short"));
        let device = Some(Device { kind: DeviceKind::Char, major: 0, minor: 0 });
        let whiteout = Record { device, ..Record::default() };
        assert_eq!(decode(&body(&[(b"a", whiteout)])), Err("a device in it means a deletion"));
        let unsorted = Record {
            attributes: vec![(b"b".to_vec(), vec![]), (b"a".to_vec(), vec![])],
            ..Record::owner(1, 1)
        };
        assert_eq!(decode(&body(&[(b"a", unsorted)])), Err("its attributes are not sorted"));
        assert_eq!(
            decode(b"tsbuild owners 2\nwhatever"),
            Err("it is of a version that this tsbuild does not know")
        );
    }
}
