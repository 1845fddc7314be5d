//! Other people's tars in every compression: with a table of contents each is read entry by entry, and must stay what it is all the same.
#![allow(missing_docs)]

mod support;

use std::{fs, sync::atomic::AtomicBool};

use support::*;
use tsbuild_layer::{
    Code, Compression, Error, ExpandLimits, RecompressOptions, RecompressedLayer, Watch,
    recompress_layer,
};

const TABLES: [Compression; 2] = [Compression::ZstdChunked(3), Compression::Estargz(6)];

fn recompress(
    scratch: &Scratch,
    tar: &[u8],
    compression: Compression,
) -> Result<RecompressedLayer, Error> {
    fs::write(scratch.path("foreign.tar"), tar).unwrap();
    let diff_id = format!("sha256:{}", &shell("sha256sum < foreign.tar", &scratch.0)[..64]);
    let options = RecompressOptions {
        blob: scratch.path("foreign.tar"),
        expected_diff_id: diff_id,
        output: scratch.path("blob"),
        compression,
        threads: 2,
        limits: ExpandLimits { bytes: 1 << 40, ratio: 1000 },
    };
    recompress_layer(&options, Watch::new(&AtomicBool::new(false), &|_| {}))
}

/// A header of GNU's with a body in front of the entry, as long as the reader takes them: 1 MiB each.
fn long_comments(count: usize) -> Vec<u8> {
    let body = [b"1048575 comment=".as_slice(), &vec![b'x'; 1_048_558], b"\n"].concat();
    let mut block = [0_u8; 512];
    block[..4].copy_from_slice(b"long");
    block[100..107].copy_from_slice(b"0000644");
    block[124..135].copy_from_slice(format!("{:011o}", body.len()).as_bytes());
    block[148..156].fill(b' ');
    block[156] = b'x';
    block[257..265].copy_from_slice(b"ustar\x0000");
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
    let one =
        [block.as_slice(), &body, &vec![0; body.len().next_multiple_of(512) - body.len()]].concat();
    one.repeat(count)
}

#[test]
fn foreign_tars_keep_every_byte_and_every_file() {
    let scratch = Scratch::new();
    shell(
        "mkdir -p root/dir && cd root && seq 900000 > large && seq 1000000 > dir/other && : > empty && echo x > small
         ln small hard && ln -s small soft && mkfifo pipe && head -c 3000000 /dev/urandom > noise
         mkdir -p $(printf 'long/%.0s' $(seq 40)) && echo deep > $(printf 'long/%.0s' $(seq 40))/file
         tar --format=gnu -cf ../gnu.tar . && tar --format=pax -cf ../pax.tar . && tar --format=v7 -cf ../v7.tar small dir
         head -c 100000 /dev/urandom > ../junk && cat ../gnu.tar ../junk > ../junk.tar
         printf 'not the table' > stargz.index.json && tar -cf ../reserved.tar small stargz.index.json large",
        &scratch.0,
    );
    let named = |name: &str| fs::read(scratch.path(name)).unwrap();
    let whole = named("v7.tar");
    let content = whole.iter().rposition(|byte| *byte != 0).unwrap() + 1;
    let without_end = whole[..content.next_multiple_of(512)].to_vec();
    let tars = [
        ("gnu", named("gnu.tar")),
        ("pax", named("pax.tar")),
        ("v7", whole),
        ("junk behind the end", named("junk.tar")),
        ("no end", without_end),
        ("long headers", [long_comments(9), named("gnu.tar")].concat()),
        ("empty", vec![0; 10_240]),
        ("reserved names", named("reserved.tar")),
    ];
    for (name, tar) in tars {
        for compression in TABLES {
            let written = recompress(&scratch, &tar, compression).unwrap();
            assert!(!written.annotations.is_empty());
            let list = |tar: &str| {
                shell(
                    &format!("rm -rf out && mkdir out && (tar -xf {tar} -C out 2>/dev/null || true); cd out
                        rm -f .no.prefetch.landmark stargz.index.json
                        find . -mindepth 1 -printf '%p %y %m %U:%G %T@ %s %n %l\\n' | sort; find . -type f -exec sha256sum {{}} + | sort"),
                    &scratch.0,
                )
            };
            match compression {
                Compression::Estargz(_) => shell("gzip -dc blob > new.tar", &scratch.0),
                _ => shell("zstd -dcq blob > new.tar && cmp new.tar foreign.tar", &scratch.0),
            };
            assert_eq!(&written.diff_id[7..], &shell("sha256sum < new.tar", &scratch.0)[..64]);
            assert_eq!(&written.digest[7..], &shell("sha256sum < blob", &scratch.0)[..64]);
            assert_eq!(list("new.tar"), list("foreign.tar"), "{name} {compression:?}");
        }
    }
}

#[test]
fn what_a_table_has_no_words_for_is_refused() {
    let scratch = Scratch::new();
    shell(
        "mkdir root && cd root && truncate -s 5M holes && echo x >> holes && tar --sparse -cf ../sparse.tar holes
         echo x > $(printf 'a\\377') && tar -cf ../name.tar a*",
        &scratch.0,
    );
    for compression in TABLES {
        for name in ["sparse.tar", "name.tar"] {
            let tar = fs::read(scratch.path(name)).unwrap();
            let error = recompress(&scratch, &tar, compression).unwrap_err();
            assert_eq!(error.code, Code::LayerUnrepresentable, "{name}: {}", error.message);
            assert!(!scratch.path("blob").exists());
        }
        let cut = &fs::read(scratch.path("name.tar")).unwrap()[..700];
        let error = recompress(&scratch, &[cut, &[1; 100]].concat(), compression).unwrap_err();
        assert!(matches!(error.code, Code::BadArchive | Code::Io | Code::LayerUnrepresentable));
    }
}
