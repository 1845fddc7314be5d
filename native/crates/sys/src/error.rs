//! One error for the whole crate: what failed, on which path, and the kernel's reason.

use std::{
    fmt, io,
    path::{Path, PathBuf},
};

use rustix::io::Errno;

/// The crate's result.
pub type Result<T> = std::result::Result<T, Error>;

/// A failure as it crosses to JavaScript.
#[derive(Debug)]
pub struct Error {
    /// Stable word: `IO`, `CANCELLED`, `SOURCE_CHANGED`, `TOO_LARGE`, `NOT_A_DIRECTORY`, `IS_A_DIRECTORY`, `TOO_MANY_LAYERS`, `NEEDS_IDS`,
    /// `DAMAGED_OWNERS`.
    pub code: &'static str,
    /// The kernel's reason.
    pub errno: Option<i32>,
    /// What it was about.
    pub path: Option<PathBuf>,
    /// Lower case, no final period, without the path.
    pub message: String,
}

impl Error {
    /// A system call on `path` failed; `doing` completes "cannot …".
    pub fn io(doing: &str, path: impl AsRef<Path>, error: impl Into<io::Error>) -> Self {
        let error = error.into();
        let errno = error.raw_os_error();
        let reason = errno.map_or_else(|| error.to_string(), |number| describe(number).to_owned());
        let path = path.as_ref();
        Self {
            code: "IO",
            errno,
            message: format!("cannot {doing} '{}': {reason}", path.display()),
            path: Some(path.to_owned()),
        }
    }

    /// A failure that is not the kernel's.
    pub fn of(code: &'static str, path: impl AsRef<Path>, message: impl Into<String>) -> Self {
        Self { code, errno: None, path: Some(path.as_ref().to_owned()), message: message.into() }
    }

    /// The caller asked for the end.
    pub fn cancelled() -> Self {
        Self { code: "CANCELLED", errno: None, path: None, message: "cancelled".into() }
    }

    /// Name of the errno, for example `ENOSPC`.
    pub fn errno_name(&self) -> Option<String> {
        self.errno.map(errno_name)
    }
}

impl From<tsbuild_owners::Error> for Error {
    fn from(error: tsbuild_owners::Error) -> Self {
        let message = error.to_string();
        match error {
            tsbuild_owners::Error::Io { doing, path, error } => Self::io(doing, path, error),
            tsbuild_owners::Error::Damaged { path, .. } => {
                Self::of("DAMAGED_OWNERS", path, message)
            }
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.message)
    }
}

impl std::error::Error for Error {}

const NAMES: &[(Errno, &str, &str)] = &[
    (Errno::PERM, "EPERM", "operation not permitted"),
    (Errno::NOENT, "ENOENT", "no such file or directory"),
    (Errno::SRCH, "ESRCH", "no such process"),
    (Errno::INTR, "EINTR", "interrupted system call"),
    (Errno::IO, "EIO", "input/output error"),
    (Errno::NXIO, "ENXIO", "no such device or address"),
    (Errno::TOOBIG, "E2BIG", "argument list too long"),
    (Errno::NOEXEC, "ENOEXEC", "exec format error"),
    (Errno::BADF, "EBADF", "bad file descriptor"),
    (Errno::CHILD, "ECHILD", "no child processes"),
    (Errno::AGAIN, "EAGAIN", "resource temporarily unavailable"),
    (Errno::NOMEM, "ENOMEM", "cannot allocate memory"),
    (Errno::ACCESS, "EACCES", "permission denied"),
    (Errno::FAULT, "EFAULT", "bad address"),
    (Errno::BUSY, "EBUSY", "device or resource busy"),
    (Errno::EXIST, "EEXIST", "file exists"),
    (Errno::XDEV, "EXDEV", "invalid cross-device link"),
    (Errno::NODEV, "ENODEV", "no such device"),
    (Errno::NOTDIR, "ENOTDIR", "not a directory"),
    (Errno::ISDIR, "EISDIR", "is a directory"),
    (Errno::INVAL, "EINVAL", "invalid argument"),
    (Errno::NFILE, "ENFILE", "too many open files in system"),
    (Errno::MFILE, "EMFILE", "too many open files"),
    (Errno::TXTBSY, "ETXTBSY", "text file busy"),
    (Errno::FBIG, "EFBIG", "file too large"),
    (Errno::NOSPC, "ENOSPC", "no space left on device"),
    (Errno::ROFS, "EROFS", "read-only file system"),
    (Errno::MLINK, "EMLINK", "too many links"),
    (Errno::RANGE, "ERANGE", "numerical result out of range"),
    (Errno::PIPE, "EPIPE", "broken pipe"),
    (Errno::NAMETOOLONG, "ENAMETOOLONG", "file name too long"),
    (Errno::NOSYS, "ENOSYS", "function not implemented"),
    (Errno::NOTEMPTY, "ENOTEMPTY", "directory not empty"),
    (Errno::LOOP, "ELOOP", "too many levels of symbolic links"),
    (Errno::NODATA, "ENODATA", "no data available"),
    (Errno::OVERFLOW, "EOVERFLOW", "value too large for defined data type"),
    // As Node names it, so that errors of either kind read alike.
    (Errno::OPNOTSUPP, "ENOTSUP", "operation not supported"),
    (Errno::DQUOT, "EDQUOT", "disk quota exceeded"),
    (Errno::STALE, "ESTALE", "stale file handle"),
    (Errno::USERS, "EUSERS", "too many users"),
];

fn entry(number: i32) -> Option<&'static (Errno, &'static str, &'static str)> {
    NAMES.iter().find(|(errno, _, _)| errno.raw_os_error() == number)
}

/// `ENOENT` for 2; `E123` for one that has no name here.
pub fn errno_name(number: i32) -> String {
    entry(number).map_or_else(|| format!("E{number}"), |(_, name, _)| (*name).to_owned())
}

/// What the errno means, independent of the locale.
pub fn describe(number: i32) -> &'static str {
    entry(number).map_or("unknown error", |(_, _, text)| text)
}
