//! Prints the CRC-32 of each argument.

fn main() {
    for word in std::env::args().skip(1) {
        println!("{:08x} {word}", crc32fast::hash(word.as_bytes()));
    }
}
