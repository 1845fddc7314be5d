//! Pseudo-terminals, for the launcher, which opens them inside of the sandbox, from the sandbox's own devpts; and the user's terminal.

use std::{
    io,
    os::{
        fd::{AsRawFd, FromRawFd, OwnedFd, RawFd},
        unix::fs::symlink,
    },
};

/// Columns and rows, in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    /// Characters in a row.
    pub columns: u16,
    /// Rows.
    pub rows: u16,
}

/// Both ends of a pseudo-terminal.
pub struct Terminal {
    /// What a terminal emulator holds. Reading and writing it do not block.
    pub ours: OwnedFd,
    /// What the programs on the terminal have as standard streams.
    pub theirs: OwnedFd,
}

fn check(result: i32) -> io::Result<i32> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// Opens a pseudo-terminal that belongs to this user. It becomes nobody's controlling terminal.
///
/// # Errors
/// The kernel's; `ENOENT` where `/dev` has no devpts.
pub fn open(size: Size, uid: u32, gid: u32) -> io::Result<Terminal> {
    const FLAGS: i32 = libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC;
    // SAFETY: the path ends in zero.
    let ours = check(unsafe { libc::open(c"/dev/ptmx".as_ptr(), FLAGS | libc::O_NONBLOCK) })?;
    // SAFETY: it was just made and belongs to nobody else.
    let ours = unsafe { OwnedFd::from_raw_fd(ours) };
    let unlocked: i32 = 0;
    // SAFETY: reads an integer that outlives the call.
    check(unsafe { libc::ioctl(ours.as_raw_fd(), libc::TIOCSPTLCK, &raw const unlocked) })?;
    // By descriptor and not by name: what lies at that path may be something else.
    // SAFETY: integers only.
    let theirs = check(unsafe { libc::ioctl(ours.as_raw_fd(), libc::TIOCGPTPEER, FLAGS) })?;
    // SAFETY: as above.
    let theirs = unsafe { OwnedFd::from_raw_fd(theirs) };
    resize(&ours, size)?;
    erase_whole_characters(&theirs)?;
    // As login(1) leaves a terminal. In a namespace of one id it is the user's already.
    // SAFETY: integers only.
    unsafe {
        let _ = libc::fchown(theirs.as_raw_fd(), uid, gid);
        let _ = libc::fchmod(theirs.as_raw_fd(), 0o620);
    }
    Ok(Terminal { ours, theirs })
}

/// Makes `/dev/console` the terminal, unless there is something else. Failure is harmless.
pub fn make_console(terminal: &Terminal) {
    let mut number: libc::c_uint = 0;
    // SAFETY: writes an integer that outlives the call.
    let found = unsafe { libc::ioctl(terminal.ours.as_raw_fd(), libc::TIOCGPTN, &raw mut number) };
    if found == 0 {
        let _ = symlink(format!("pts/{number}"), "/dev/console");
    }
}

/// The foreground programs get SIGWINCH if the size is another.
///
/// # Errors
/// The kernel's.
pub fn resize(ours: &OwnedFd, Size { columns, rows }: Size) -> io::Result<()> {
    let size = libc::winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: reads a structure that outlives the call.
    check(unsafe { libc::ioctl(ours.as_raw_fd(), libc::TIOCSWINSZ, &raw const size) }).map(drop)
}

/// The backspace key takes away all bytes of a character in UTF-8.
fn erase_whole_characters(theirs: &OwnedFd) -> io::Result<()> {
    // SAFETY: the structure is filled by the first call before it is read, and outlives both.
    unsafe {
        let mut settings: libc::termios = std::mem::zeroed();
        check(libc::tcgetattr(theirs.as_raw_fd(), &raw mut settings))?;
        settings.c_iflag |= libc::IUTF8;
        check(libc::tcsetattr(theirs.as_raw_fd(), libc::TCSANOW, &raw const settings)).map(drop)
    }
}

/// What is written to this terminal reaches it as it is: no carriage returns are put before line feeds. False: it is none.
pub fn write_as_is(fd: RawFd) -> bool {
    // SAFETY: the structure is filled by the first call before it is read, and outlives both.
    unsafe {
        let mut settings: libc::termios = std::mem::zeroed();
        if libc::tcgetattr(fd, &raw mut settings) != 0 {
            return false;
        }
        settings.c_oflag &= !libc::OPOST;
        libc::tcsetattr(fd, libc::TCSADRAIN, &raw const settings) == 0
    }
}

/// The caller becomes leader of a session whose controlling terminal this is, in the foreground.
///
/// # Errors
/// The kernel's.
pub fn take_over(theirs: &OwnedFd) -> io::Result<()> {
    // SAFETY: takes nothing.
    check(unsafe { libc::setsid() })?;
    // SAFETY: integers only; 0 takes it from nobody.
    check(unsafe { libc::ioctl(theirs.as_raw_fd(), libc::TIOCSCTTY, 0) }).map(drop)
}

/// Writing to it fails with `EAGAIN` where it would wait.
///
/// # Errors
/// The kernel's.
pub fn do_not_block(fd: RawFd) -> io::Result<()> {
    // SAFETY: integers only.
    let flags = check(unsafe { libc::fcntl(fd, libc::F_GETFL) })?;
    // SAFETY: integers only.
    check(unsafe { libc::fcntl(fd, libc::F_SETFL, flags | libc::O_NONBLOCK) }).map(drop)
}
