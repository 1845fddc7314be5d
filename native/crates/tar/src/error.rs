//! What can be wrong with an archive.

use std::{fmt, io};

/// Why an archive could not be read or written.
#[derive(Debug)]
pub enum Error {
    /// The reader or writer below failed.
    Io(io::Error),
    /// The bytes are not a tar archive, or break its rules.
    Malformed {
        /// Position in the archive of the header that is at fault.
        offset: u64,
        /// What is wrong, lower case.
        reason: String,
    },
    /// A header is larger than we are willing to hold.
    Limit {
        /// Position in the archive of the header that is at fault.
        offset: u64,
        /// Which limit.
        reason: String,
    },
    /// An entry that tar cannot express.
    Unrepresentable(String),
}

impl fmt::Display for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => write!(formatter, "{error}"),
            Self::Malformed { offset, reason } => {
                write!(formatter, "bad tar archive at byte {offset}: {reason}")
            }
            Self::Limit { offset, reason } => {
                write!(formatter, "tar archive over a limit at byte {offset}: {reason}")
            }
            Self::Unrepresentable(reason) => {
                write!(formatter, "tar cannot express this entry: {reason}")
            }
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io(error) => Some(error),
            _ => None,
        }
    }
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}
