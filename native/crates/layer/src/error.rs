//! Failures as data; `src/native/error.ts` makes classes of them.

use std::fmt;

use rustix::io::Errno;

/// What kind of failure it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    /// The cancel flag was set.
    Cancelled,
    /// A system call failed; `errno` is set.
    Io,
    /// A tar, gzip or zstd stream is malformed, or tries to leave its root.
    BadArchive,
    /// An archive is larger than allowed.
    ArchiveLimit,
    /// The bytes are not those that were asked for.
    DigestMismatch,
    /// A directory holds something that a layer cannot say.
    LayerUnrepresentable,
    /// An owner that is not available here.
    NeedsIds,
    /// A file changed while it was read.
    SourceChanged,
    /// What is at a destination may not be replaced.
    OutputExists,
    /// Two trees that go to one place hold the same name.
    OutputConflict,
    /// A record of owners is not what was written.
    DamagedOwners,
}

impl Code {
    /// The word that crosses to JavaScript.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Cancelled => "CANCELLED",
            Self::Io => "IO",
            Self::BadArchive => "BAD_ARCHIVE",
            Self::ArchiveLimit => "ARCHIVE_LIMIT",
            Self::DigestMismatch => "DIGEST_MISMATCH",
            Self::LayerUnrepresentable => "LAYER_UNREPRESENTABLE",
            Self::NeedsIds => "NEEDS_IDS",
            Self::SourceChanged => "SOURCE_CHANGED",
            Self::OutputExists => "OUTPUT_EXISTS",
            Self::OutputConflict => "OUTPUT_CONFLICT",
            Self::DamagedOwners => "DAMAGED_OWNERS",
        }
    }
}

/// Why work on a layer failed.
#[derive(Clone, Debug)]
pub struct Error {
    /// The kind.
    pub code: Code,
    /// Of a failed system call.
    pub errno: Option<i32>,
    /// What it was about: a path in the layer, or a file of the host. Bytes.
    pub path: Option<Vec<u8>>,
    /// Lower case, no final period.
    pub message: String,
}

/// What fails here.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    pub(crate) fn new(code: Code, path: &[u8], message: impl Into<String>) -> Self {
        Self { code, errno: None, path: Some(path.to_vec()), message: message.into() }
    }

    pub(crate) fn cancelled() -> Self {
        Self { code: Code::Cancelled, errno: None, path: None, message: "cancelled".into() }
    }

    /// `doing` is a verb phrase without its object, such as `cannot open`.
    pub(crate) fn io(doing: &str, path: &[u8], errno: Errno) -> Self {
        let reason = std::io::Error::from_raw_os_error(errno.raw_os_error());
        Self {
            code: Code::Io,
            errno: Some(errno.raw_os_error()),
            path: Some(path.to_vec()),
            message: format!("{doing} '{}': {}", show(path), plain_reason(&reason)),
        }
    }

    pub(crate) fn std_io(doing: &str, path: &[u8], error: &std::io::Error) -> Self {
        Self {
            code: Code::Io,
            errno: error.raw_os_error(),
            path: Some(path.to_vec()),
            message: format!("{doing} '{}': {}", show(path), plain_reason(error)),
        }
    }

    /// Symbolic name of the errno, for example `ENOSPC`.
    pub fn errno_name(&self) -> Option<String> {
        self.errno.map(tsbuild_sys::error::errno_name)
    }
}

impl From<tsbuild_owners::Error> for Error {
    fn from(error: tsbuild_owners::Error) -> Self {
        match &error {
            tsbuild_owners::Error::Io { doing, path, error } => {
                Self::std_io(&format!("cannot {doing}"), path.as_os_str().as_encoded_bytes(), error)
            }
            tsbuild_owners::Error::Damaged { path, .. } => Self::new(
                Code::DamagedOwners,
                path.as_os_str().as_encoded_bytes(),
                error.to_string(),
            ),
        }
    }
}

/// Rust appends `(os error N)`, which the errno says already.
fn plain_reason(error: &std::io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or(&text).to_lowercase()
}

/// For messages: what is not UTF-8 or not printable is escaped.
pub(crate) fn show(path: &[u8]) -> String {
    String::from_utf8_lossy(path)
        .chars()
        .flat_map(|character| {
            if character.is_control() {
                character.escape_default().collect::<Vec<_>>()
            } else {
                vec![character]
            }
        })
        .collect()
}

impl fmt::Display for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.code.as_str(), self.message)
    }
}

impl std::error::Error for Error {}
