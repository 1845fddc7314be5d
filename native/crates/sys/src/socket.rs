//! Unix sockets over which processes hand each other descriptors.

use std::{
    io,
    os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
};

fn check(result: i64) -> io::Result<i64> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// Two ends, both closed on exec.
///
/// # Errors
/// The kernel's.
pub fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let mut ends = [0; 2];
    // SAFETY: the array has room for two.
    check(i64::from(unsafe {
        libc::socketpair(
            libc::AF_UNIX,
            libc::SOCK_SEQPACKET | libc::SOCK_CLOEXEC,
            0,
            ends.as_mut_ptr(),
        )
    }))?;
    // SAFETY: both were just made and belong to nobody else.
    Ok(unsafe { (OwnedFd::from_raw_fd(ends[0]), OwnedFd::from_raw_fd(ends[1])) })
}

/// Room for one descriptor and its head, aligned as `cmsghdr` is.
type Control = [u64; 4];

/// Sends one byte, and with it a descriptor where there is one.
///
/// # Errors
/// The kernel's; `EPIPE` when nobody is there.
pub fn send(socket: BorrowedFd<'_>, word: u8, fd: Option<BorrowedFd<'_>>) -> io::Result<()> {
    let mut control: Control = [0; 4];
    let mut part = libc::iovec { iov_base: (&raw const word).cast_mut().cast(), iov_len: 1 };
    // SAFETY: the structures hold numbers and pointers; zero is valid for all.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    (message.msg_iov, message.msg_iovlen) = (&raw mut part, 1);
    if let Some(fd) = fd {
        let size = size_of::<libc::c_int>() as u32;
        message.msg_control = control.as_mut_ptr().cast();
        // SAFETY: pure arithmetic; and the control buffer has room for one head with one descriptor.
        unsafe {
            message.msg_controllen = libc::CMSG_SPACE(size) as _;
            let head = libc::CMSG_FIRSTHDR(&raw const message);
            (*head).cmsg_level = libc::SOL_SOCKET;
            (*head).cmsg_type = libc::SCM_RIGHTS;
            (*head).cmsg_len = libc::CMSG_LEN(size) as _;
            std::ptr::write_unaligned(libc::CMSG_DATA(head).cast::<libc::c_int>(), fd.as_raw_fd());
        }
    }
    // SAFETY: all that the message points to outlives the call.
    check(unsafe {
        libc::sendmsg(socket.as_raw_fd(), &raw const message, libc::MSG_NOSIGNAL) as i64
    })
    .map(drop)
}

/// Receives what [`send`] sent. `None` when the other end was closed by all who had it.
///
/// # Errors
/// The kernel's.
pub fn receive(socket: BorrowedFd<'_>) -> io::Result<Option<(u8, Option<OwnedFd>)>> {
    let mut control: Control = [0; 4];
    let mut word = 0_u8;
    let mut part = libc::iovec { iov_base: (&raw mut word).cast(), iov_len: 1 };
    // SAFETY: as above.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    (message.msg_iov, message.msg_iovlen) = (&raw mut part, 1);
    message.msg_control = control.as_mut_ptr().cast();
    message.msg_controllen = size_of::<Control>() as _;
    let received = loop {
        // SAFETY: all that the message points to outlives the call.
        let result = check(unsafe {
            libc::recvmsg(socket.as_raw_fd(), &raw mut message, libc::MSG_CMSG_CLOEXEC) as i64
        });
        match result {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(None),
            other => break other?,
        }
    };
    if received == 0 {
        return Ok(None);
    }
    // SAFETY: the kernel has filled the control buffer up to the length that it set; a descriptor in it is ours now.
    let fd = unsafe {
        let head = libc::CMSG_FIRSTHDR(&raw const message);
        if !head.is_null()
            && (*head).cmsg_level == libc::SOL_SOCKET
            && (*head).cmsg_type == libc::SCM_RIGHTS
        {
            let number = std::ptr::read_unaligned(libc::CMSG_DATA(head).cast::<libc::c_int>());
            Some(OwnedFd::from_raw_fd(number))
        } else {
            None
        }
    };
    Ok(Some((word, fd)))
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read, Write},
        os::fd::AsFd,
    };

    use super::*;

    #[test]
    fn a_descriptor_crosses() {
        let (near, far) = pair().unwrap();
        let (reader, writer) = crate::process::pipe().unwrap();
        send(near.as_fd(), 7, Some(writer.as_fd())).unwrap();
        send(near.as_fd(), 8, None).unwrap();
        drop((near, writer));
        let (word, fd) = receive(far.as_fd()).unwrap().unwrap();
        assert_eq!(word, 7);
        std::fs::File::from(fd.unwrap()).write_all(b"hi").unwrap();
        let mut text = String::new();
        std::fs::File::from(reader).read_to_string(&mut text).unwrap();
        assert_eq!(text, "hi");
        let (word, fd) = receive(far.as_fd()).unwrap().unwrap();
        assert!(word == 8 && fd.is_none());
        assert!(receive(far.as_fd()).unwrap().is_none());
    }
}
