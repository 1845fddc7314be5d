//! A file that is hashed while it is written, from its beginning to its end.

use std::{
    fs::File,
    io::Read,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use sha2::{Digest, Sha256};

use crate::{Error, Result, hash::hex};

/// Between the file and the hash, while what is there is taken in.
const BUFFER_BYTES: usize = 256 * 1024;

/// After an error, what is in the file is not what was hashed.
pub struct HashedFile {
    file: File,
    path: PathBuf,
    hash: Sha256,
    size: u64,
}

impl HashedFile {
    /// Makes a file, or opens one that is there. Its hash is that of nothing in either case.
    ///
    /// # Errors
    /// `IO`, also when there is none to open, or one where one is made.
    pub fn open(path: &Path, create: bool) -> Result<Self> {
        let file = File::options()
            .read(true)
            .write(true)
            .create_new(create)
            .open(path)
            .map_err(|error| Error::io("open", path, error))?;
        Ok(Self { file, path: path.to_owned(), hash: Sha256::new(), size: 0 })
    }

    /// Hashes what is in the file, from its beginning; what is appended then comes behind it.
    ///
    /// # Errors
    /// `IO`.
    pub fn take_in(&mut self) -> Result<u64> {
        self.hash = Sha256::new();
        self.size = 0;
        let mut buffer = vec![0; BUFFER_BYTES];
        loop {
            let count = self
                .file
                .read(&mut buffer)
                .map_err(|error| Error::io("read", &self.path, error))?;
            if count == 0 {
                return Ok(self.size);
            }
            self.hash.update(&buffer[..count]);
            self.size += count as u64;
        }
    }

    /// Writes and hashes.
    ///
    /// # Errors
    /// `IO`.
    pub fn append(&mut self, bytes: &[u8]) -> Result<()> {
        self.file
            .write_all_at(bytes, self.size)
            .map_err(|error| Error::io("write", &self.path, error))?;
        self.hash.update(bytes);
        self.size += bytes.len() as u64;
        Ok(())
    }

    /// Empties it.
    ///
    /// # Errors
    /// `IO`.
    pub fn restart(&mut self) -> Result<()> {
        self.file.set_len(0).map_err(|error| Error::io("truncate", &self.path, error))?;
        self.hash = Sha256::new();
        self.size = 0;
        Ok(())
    }

    /// Of all bytes so far: lower-case hex.
    pub fn sha256(&self) -> String {
        hex(&self.hash.clone().finalize())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hash::sha256_hex;

    #[test]
    fn what_is_hashed_is_what_is_in_the_file() {
        let directory =
            std::env::temp_dir().join(format!("tsbuild-hashed-file-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let path = directory.join("file");
        let bytes: Vec<u8> = (0..BUFFER_BYTES + 70_000).map(|at| (at % 251) as u8).collect();

        let mut file = HashedFile::open(&path, true).unwrap();
        assert_eq!(file.sha256(), sha256_hex(b""));
        file.append(&bytes[..BUFFER_BYTES + 1]).unwrap();
        assert_eq!(HashedFile::open(&path, true).err().unwrap().errno_name().unwrap(), "EEXIST");
        drop(file);

        let mut resumed = HashedFile::open(&path, false).unwrap();
        assert_eq!(resumed.take_in().unwrap(), BUFFER_BYTES as u64 + 1);
        resumed.append(&bytes[BUFFER_BYTES + 1..]).unwrap();
        assert_eq!(resumed.sha256(), sha256_hex(&bytes));
        assert_eq!(std::fs::read(&path).unwrap(), bytes);

        resumed.restart().unwrap();
        resumed.append(b"abc").unwrap();
        assert_eq!(resumed.sha256(), sha256_hex(b"abc"));
        assert_eq!(std::fs::read(&path).unwrap(), b"abc");
        std::fs::remove_dir_all(directory).unwrap();
    }

    #[test]
    fn a_full_disk_is_told() {
        let mut file = HashedFile::open(Path::new("/dev/full"), false).unwrap();
        assert_eq!(file.append(b"x").unwrap_err().errno_name().unwrap(), "ENOSPC");
    }
}
