//! Archives that lie about themselves: an error each, no panic, and no memory beyond the limits.

use std::io::Read;

use tsbuild_tar::{Entry, EntryKind, Error, Reader, Writer};

/// A header with a right checksum after `change`.
fn header(change: impl FnOnce(&mut [u8])) -> Vec<u8> {
    let mut block = Vec::new();
    tsbuild_tar::encode_header(&Entry::new(b"name", EntryKind::File), &mut block).unwrap();
    change(&mut block);
    block[148..156].fill(b' ');
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
    block
}

fn extension(type_flag: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = header(|block| {
        block[156] = type_flag;
        block[124..136].copy_from_slice(format!("{:011o}\0", body.len()).as_bytes());
    });
    bytes.extend_from_slice(body);
    bytes.resize(bytes.len().next_multiple_of(512), 0);
    bytes
}

fn drain(archive: &[u8]) -> Result<Vec<Entry>, Error> {
    let mut reader = Reader::new(archive);
    let mut entries = Vec::new();
    let mut buffer = [0_u8; 4096];
    while let Some(entry) = reader.next_entry()? {
        let mut left = 1 << 20;
        loop {
            let count = reader.read(&mut buffer)?;
            if count == 0 || left < count {
                break;
            }
            left -= count;
        }
        entries.push(entry);
    }
    Ok(entries)
}

#[test]
fn each_is_refused() {
    let plain = || header(|_| {});
    let record = |text: &str| extension(b'x', format!("{} {text}\n", text.len() + 4).as_bytes());
    let long_record = |key: &str, value: &[u8]| {
        let mut body = format!("{:07} {key}=", key.len() + value.len() + 10).into_bytes();
        body.extend_from_slice(value);
        body.push(b'\n');
        extension(b'x', &body)
    };
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("wrong checksum", {
            let mut block = plain();
            block[0] ^= 1;
            block
        }),
        ("short header", plain()[..300].to_vec()),
        ("text, not tar", vec![b'a'; 2048]),
        ("negative size", header(|block| block[124..136].fill(0xff))),
        (
            "size beyond 63 bits",
            header(|block| {
                block[124] = 0x80;
                block[125..136].fill(0xff);
            }),
        ),
        (
            "size that is not there",
            header(|block| block[124..136].copy_from_slice(b"00000001000\0")),
        ),
        ("size of letters", header(|block| block[124..136].copy_from_slice(b"hello world\0"))),
        ("no name", header(|block| block[0..100].fill(0))),
        ("unknown type", header(|block| block[156] = b'Q')),
        ("multi-volume", header(|block| block[156] = b'M')),
        (
            "huge extension",
            header(|block| {
                block[156] = b'x';
                block[124..136].copy_from_slice(b"77777777777\0");
            }),
        ),
        (
            "huge long name",
            header(|block| {
                block[156] = b'L';
                block[124..136].copy_from_slice(b"00010000000\0");
            }),
        ),
        ("extension and nothing", record("path=x")),
        ("extension and end", [record("path=x"), vec![0; 1024]].concat()),
        ("record too long", [extension(b'x', b"99 path=x\n"), plain()].concat()),
        ("record without newline", [extension(b'x', b"9 path=xy"), plain()].concat()),
        ("NUL in path", [extension(b'x', b"12 path=a\0b\n"), plain()].concat()),
        ("negative PAX size", [record("size=-1"), plain()].concat()),
        ("PAX size beyond 63 bits", [record("size=18446744073709551615"), plain()].concat()),
        ("PAX uid that is no number", [record("uid=root"), plain()].concat()),
        ("bad mtime", [record("mtime=soon"), plain()].concat()),
        ("long path", [long_record("path", &[b'p'; 70_000]), plain()].concat()),
        ("many extensions", [extension(b'L', b"a\0").repeat(100), plain()].concat()),
        ("many xattrs", {
            let mut body = Vec::new();
            for index in 0..20_000 {
                body.extend_from_slice(
                    format!("30 SCHILY.xattr.user.{index:05}=ab\n").replace("30 ", "").as_bytes(),
                );
            }
            let lines: Vec<u8> = body
                .split_inclusive(|byte| *byte == b'\n')
                .flat_map(|line| [format!("{} ", line.len() + 3).as_bytes(), line].concat())
                .collect();
            [extension(b'x', &lines), plain()].concat()
        }),
        ("a zero block between entries", [plain(), vec![0; 512], plain()].concat()),
        (
            "sparse map of odd length",
            [extension(b'x', b"21 GNU.sparse.map=0,\n"), plain()].concat(),
        ),
        ("sparse without size", [record("GNU.sparse.map=0,0"), plain()].concat()),
        (
            "sparse 1.0 without map",
            [extension(b'x', b"22 GNU.sparse.major=1\n29 GNU.sparse.realsize=99999\n"), plain()]
                .concat(),
        ),
        ("sparse overlap", {
            let body = b"27 GNU.sparse.size=0000010\n28 GNU.sparse.map=0,5,3,005\n";
            [extension(b'x', body), plain()].concat()
        }),
        (
            "GNU sparse beyond its size",
            header(|block| {
                block[156] = b'S';
                block[257..265].copy_from_slice(b"ustar  \0");
                block[386..410].copy_from_slice(b"0000000000000000001000\0\0");
            }),
        ),
    ];
    for (name, archive) in cases {
        drain(&archive).expect_err(name);
    }
}

#[test]
fn each_is_accepted() {
    let plain = || header(|_| {});
    let cases: Vec<(&str, Vec<u8>, usize)> = vec![
        ("nothing at all", Vec::new(), 0),
        ("no end marker", plain(), 1),
        ("one zero block", [plain(), vec![0; 512]].concat(), 1),
        ("rubbish after the end", [plain(), vec![0; 1024], vec![b'x'; 777]].concat(), 1),
        (
            "a directory with a size",
            [
                header(|block| {
                    block[156] = b'5';
                    block[124..136].copy_from_slice(b"00000001000\0");
                }),
                plain(),
            ]
            .concat(),
            2,
        ),
        (
            "a hard link with a size",
            [
                header(|block| {
                    block[156] = b'1';
                    block[157] = b'x';
                    block[124..136].copy_from_slice(b"00000001000\0");
                }),
                plain(),
            ]
            .concat(),
            2,
        ),
        (
            "a PAX size does not reach the next extension header",
            [
                // The size belongs to the file behind the long name (CVE-2025-62518 in async-tar).
                extension(b'x', b"12 size=512\n"),
                extension(b'L', b"long\0"),
                [plain(), vec![b'd'; 512]].concat(),
                plain(),
            ]
            .concat(),
            2,
        ),
        ("a volume label", [header(|block| block[156] = b'V'), plain()].concat(), 1),
        ("global records", [extension(b'g', b"12 uid=4242\n"), plain(), plain()].concat(), 2),
    ];
    for (name, archive, count) in cases {
        let entries = drain(&archive).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(entries.len(), count, "{name}");
        if name == "global records" {
            assert!(entries.iter().all(|entry| entry.uid == 4242));
        }
    }
}

#[test]
fn mutated_archives_never_panic() {
    let mut writer = Writer::new(Vec::new());
    for index in 0..6_u64 {
        let mut entry = Entry::new(
            format!("d{index}/{}", "n".repeat(index as usize * 40 + 1)).as_bytes(),
            EntryKind::File,
        )
        .with_size(index * 300);
        entry.uid = index << 20;
        entry.xattrs = vec![(b"user.a".to_vec(), vec![7; index as usize])];
        writer.entry(&entry).unwrap();
        writer.data(&vec![b'd'; index as usize * 300]).unwrap();
    }
    let mut valid = writer.finish().unwrap();
    // A sparse file of version 1.0 too.
    let mut sparse = extension(
        b'x',
        b"22 GNU.sparse.major=1\n22 GNU.sparse.minor=0\n29 GNU.sparse.realsize=00700\n",
    );
    sparse.extend(header(|block| block[124..136].copy_from_slice(b"00000001005\0")));
    let mut map = b"1\n100\n5\n".to_vec();
    map.resize(512, 0);
    map.extend_from_slice(b"hello");
    map.resize(1024, 0);
    sparse.extend(map);
    sparse.extend(valid);
    valid = sparse;
    assert_eq!(drain(&valid).unwrap().len(), 7);

    // xorshift64*: seeded, so that a failure can be repeated.
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = move |below: usize| {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        (state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % below
    };
    for _ in 0..20_000 {
        let mut bytes = valid.clone();
        for _ in 0..=random(4) {
            let at = random(bytes.len());
            match random(4) {
                0 => bytes[at] ^= 1 << random(8),
                1 => bytes[at] = random(256) as u8,
                2 => bytes.truncate(at.max(1)),
                _ => {
                    let from = random(bytes.len());
                    let length = random(600).min(bytes.len() - from).min(bytes.len() - at);
                    bytes.copy_within(from..from + length, at);
                }
            }
        }
        // Half the time with checksums mended, so that what lies behind them is reached.
        if random(2) == 0 {
            for block in bytes.chunks_exact_mut(512) {
                if &block[257..262] == b"ustar" {
                    block[148..156].fill(b' ');
                    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
                    block[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
                }
            }
        }
        let _ = drain(&bytes);
    }
}
