//! What can go wrong.

use std::{fmt, io, path::PathBuf};

/// Why packages could not be unpacked.
#[derive(Debug)]
pub enum Error {
    /// A system call failed.
    Io {
        /// What it was about.
        path: PathBuf,
        /// The failure.
        source: io::Error,
    },
    /// Not a package, or one that breaks the rules.
    BadArchive {
        /// The package file.
        path: PathBuf,
        /// What is wrong, lower case.
        reason: String,
    },
    /// A package expands beyond all proportion.
    Limit {
        /// The package file.
        path: PathBuf,
    },
    /// The file is not the one that was meant.
    Digest {
        /// The package file.
        path: PathBuf,
        /// Hex SHA-256 that it should have.
        expected: String,
        /// Hex SHA-256 that it has.
        actual: String,
    },
    /// Two packages hold the same file, and neither says that it replaces the other.
    Conflict {
        /// The path inside the root.
        path: PathBuf,
        /// Names of the packages.
        packages: [String; 2],
    },
    /// An owner that this user namespace does not have.
    NeedsIds {
        /// The path inside the root.
        path: PathBuf,
        /// Owner.
        uid: u64,
        /// Group.
        gid: u64,
    },
    /// Somebody lost interest.
    Cancelled,
}

impl Error {
    /// Symbolic name of the errno, for example `ENOSPC`.
    pub fn errno_name(&self) -> Option<String> {
        let Self::Io { source, .. } = self else { return None };
        source.raw_os_error().map(tsbuild_sys::error::errno_name)
    }

    pub(crate) fn io(path: impl Into<PathBuf>, source: impl Into<io::Error>) -> Self {
        Self::Io { path: path.into(), source: source.into() }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io { path, source } => write!(formatter, "'{}': {source}", path.display()),
            Self::BadArchive { path, reason } => {
                write!(formatter, "'{}' is not a good Debian package: {reason}", path.display())
            }
            Self::Limit { path } => {
                write!(formatter, "'{}' expands beyond the limits", path.display())
            }
            Self::Digest { path, expected, actual } => {
                write!(formatter, "'{}' has the SHA-256 {actual}, not {expected}", path.display())
            }
            Self::Conflict { path, packages: [first, second] } => {
                write!(
                    formatter,
                    "the packages '{first}' and '{second}' both hold '{}'",
                    path.display()
                )
            }
            Self::NeedsIds { path, uid, gid } => {
                write!(
                    formatter,
                    "'{}' belongs to {uid}:{gid}, which cannot be mapped here",
                    path.display()
                )
            }
            Self::Cancelled => write!(formatter, "cancelled"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io { source, .. } => Some(source),
            _ => None,
        }
    }
}
