//! Another process as its supervisor sees it: its memory, its limits, how its structures look; and the supervisor's own view of files.

use std::{
    ffi::CStr,
    io,
    os::fd::{AsFd, AsRawFd},
};

fn check(result: i64) -> io::Result<i64> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

const PAGE: u64 = 4096;

/// Reads memory of a process, as much of it as there is up to the length of `buffer`.
///
/// # Errors
/// `EFAULT` when nothing is there; `ESRCH`, `EPERM`.
pub fn read_memory(pid: i32, address: u64, buffer: &mut [u8]) -> io::Result<usize> {
    // Cut at the pages' borders: a part that cannot be read whole is not read at all.
    let mut parts = [libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 }; 32];
    let (mut count, mut at) = (0, 0_usize);
    while at < buffer.len() && count < parts.len() {
        let place = address.wrapping_add(at as u64);
        let length = (buffer.len() - at).min((PAGE - place % PAGE) as usize);
        parts[count] = libc::iovec { iov_base: place as *mut libc::c_void, iov_len: length };
        count += 1;
        at += length;
    }
    let local = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: at };
    // SAFETY: the local part is valid for writing; the remote ones are addresses of the other process, which the kernel checks.
    let read = check(unsafe {
        libc::process_vm_readv(pid, &raw const local, 1, parts.as_ptr(), count as libc::c_ulong, 0)
            as i64
    })?;
    Ok(read as usize)
}

/// Reads a string that ends with a zero byte, of at most `limit` bytes without it.
///
/// # Errors
/// As [`read_memory`]; `ENAMETOOLONG`.
pub fn read_string(pid: i32, address: u64, limit: usize) -> io::Result<Vec<u8>> {
    // Most are short, and reading costs by the byte.
    let mut text = vec![0; 256.min(limit + 1)];
    loop {
        let read = read_memory(pid, address, &mut text)?;
        if let Some(end) = text[..read].iter().position(|byte| *byte == 0) {
            text.truncate(end);
            return Ok(text);
        }
        if read < text.len() {
            return Err(io::Error::from_raw_os_error(libc::EFAULT));
        }
        if text.len() > limit {
            return Err(io::Error::from_raw_os_error(libc::ENAMETOOLONG));
        }
        text.resize(limit + 1, 0);
    }
}

/// Writes all of `bytes` into the memory of a process.
///
/// # Errors
/// `EFAULT` when it cannot be written there; `ESRCH`, `EPERM`.
pub fn write_memory(pid: i32, address: u64, bytes: &[u8]) -> io::Result<()> {
    let local = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
    let remote = libc::iovec { iov_base: address as *mut libc::c_void, iov_len: bytes.len() };
    // SAFETY: the local part is only read; the remote one is an address of the other process, which the kernel checks.
    let written = check(unsafe {
        libc::process_vm_writev(pid, &raw const local, 1, &raw const remote, 1, 0) as i64
    })?;
    if written as usize == bytes.len() {
        Ok(())
    } else {
        Err(io::Error::from_raw_os_error(libc::EFAULT))
    }
}

/// The soft limit of a process's real-time CPU time, in microseconds; `None` is no limit.
///
/// # Errors
/// `ESRCH`, `EPERM`.
pub fn real_time_limit(pid: i32) -> io::Result<Option<u64>> {
    let mut limit = libc::rlimit64 { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the structure outlives the call.
    check(i64::from(unsafe {
        libc::prlimit64(pid, libc::RLIMIT_RTTIME, std::ptr::null(), &raw mut limit)
    }))?;
    Ok((limit.rlim_cur != libc::RLIM64_INFINITY).then_some(limit.rlim_cur))
}

/// Sets it; the hard limit stays.
///
/// # Errors
/// `EINVAL` above the hard limit; `ESRCH`, `EPERM`.
pub fn set_real_time_limit(pid: i32, soft: u64) -> io::Result<()> {
    let mut limit = libc::rlimit64 { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the structure outlives both calls.
    unsafe {
        check(i64::from(libc::prlimit64(
            pid,
            libc::RLIMIT_RTTIME,
            std::ptr::null(),
            &raw mut limit,
        )))?;
        limit.rlim_cur = soft;
        check(i64::from(libc::prlimit64(
            pid,
            libc::RLIMIT_RTTIME,
            &raw const limit,
            std::ptr::null_mut(),
        )))
        .map(drop)
    }
}

/// What is said of a file instead of what the disk says.
#[derive(Debug, Clone, Copy)]
pub struct Pretended {
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// File type bits of the mode, major and minor number.
    pub device: Option<(u32, u32, u32)>,
}

const TYPE_BITS: u32 = libc::S_IFMT;

fn stat_of(fd: impl AsFd, pretended: &Pretended) -> io::Result<libc::stat> {
    // SAFETY: the structure holds numbers only.
    let mut stat: libc::stat = unsafe { std::mem::zeroed() };
    // SAFETY: the structure outlives the call, the path is a string.
    check(i64::from(unsafe {
        libc::fstatat(fd.as_fd().as_raw_fd(), c"".as_ptr(), &raw mut stat, libc::AT_EMPTY_PATH)
    }))?;
    (stat.st_uid, stat.st_gid) = (pretended.uid, pretended.gid);
    if let Some((kind, major, minor)) = pretended.device {
        stat.st_mode = (stat.st_mode & !TYPE_BITS) | kind;
        stat.st_rdev = libc::makedev(major, minor);
    }
    Ok(stat)
}

fn bytes_of<T>(value: &T) -> Vec<u8> {
    // SAFETY: a structure of the kernel's interface that was zeroed before it was filled, so that no byte is undefined.
    unsafe { std::slice::from_raw_parts((&raw const *value).cast::<u8>(), size_of::<T>()) }.to_vec()
}

/// `struct stat` of this machine's architecture.
///
/// # Errors
/// The kernel's.
pub fn stat_bytes(fd: impl AsFd, pretended: &Pretended) -> io::Result<Vec<u8>> {
    stat_of(fd, pretended).map(|stat| bytes_of(&stat))
}

/// `struct stat64` of i386 (`arch/x86/include/uapi/asm/stat.h`).
///
/// # Errors
/// The kernel's.
pub fn i386_stat64_bytes(fd: impl AsFd, pretended: &Pretended) -> io::Result<Vec<u8>> {
    let stat = stat_of(fd, pretended)?;
    let mut bytes = Vec::with_capacity(96);
    bytes.extend((stat.st_dev as u64).to_le_bytes());
    bytes.extend([0; 4]);
    bytes.extend((stat.st_ino as u32).to_le_bytes());
    bytes.extend((stat.st_mode as u32).to_le_bytes());
    bytes.extend((stat.st_nlink as u32).to_le_bytes());
    bytes.extend((stat.st_uid as u32).to_le_bytes());
    bytes.extend((stat.st_gid as u32).to_le_bytes());
    bytes.extend((stat.st_rdev as u64).to_le_bytes());
    bytes.extend([0; 4]);
    bytes.extend((stat.st_size as u64).to_le_bytes());
    bytes.extend((stat.st_blksize as u32).to_le_bytes());
    bytes.extend((stat.st_blocks as u64).to_le_bytes());
    for (seconds, nanoseconds) in [
        (stat.st_atime, stat.st_atime_nsec),
        (stat.st_mtime, stat.st_mtime_nsec),
        (stat.st_ctime, stat.st_ctime_nsec),
    ] {
        bytes.extend((seconds as u32).to_le_bytes());
        bytes.extend((nanoseconds as u32).to_le_bytes());
    }
    bytes.extend((stat.st_ino as u64).to_le_bytes());
    Ok(bytes)
}

/// `struct statx` with what is asked for by `mask`.
///
/// # Errors
/// The kernel's.
pub fn statx_bytes(
    fd: impl AsFd,
    flags: i32,
    mask: u32,
    pretended: &Pretended,
) -> io::Result<Vec<u8>> {
    const SYNC_FLAGS: i32 = libc::AT_STATX_FORCE_SYNC | libc::AT_STATX_DONT_SYNC;
    // SAFETY: the structure holds numbers only.
    let mut stat: libc::statx = unsafe { std::mem::zeroed() };
    // SAFETY: the structure outlives the call, the path is a string.
    check(i64::from(unsafe {
        libc::statx(
            fd.as_fd().as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH | (flags & SYNC_FLAGS),
            mask,
            &raw mut stat,
        )
    }))?;
    (stat.stx_uid, stat.stx_gid) = (pretended.uid, pretended.gid);
    if let Some((kind, major, minor)) = pretended.device {
        stat.stx_mode = (stat.stx_mode & !(TYPE_BITS as u16)) | kind as u16;
        (stat.stx_rdev_major, stat.stx_rdev_minor) = (major, minor);
    }
    Ok(bytes_of(&stat))
}

/// This thread's root, working directory and umask are its own from now on.
///
/// # Errors
/// The kernel's.
pub fn own_file_view() -> io::Result<()> {
    // SAFETY: an integer only; other threads keep what they share.
    check(i64::from(unsafe { libc::unshare(libc::CLONE_FS) })).map(drop)
}

/// The root of this thread, if it has called [`own_file_view`].
///
/// # Errors
/// The kernel's.
pub fn change_root(path: &CStr) -> io::Result<()> {
    // SAFETY: the path is a string.
    check(i64::from(unsafe { libc::chroot(path.as_ptr()) })).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_read_up_to_where_it_ends() {
        let pid = std::process::id() as i32;
        // SAFETY: a fresh mapping of two pages, of which the second is taken away again.
        let page = unsafe {
            let map = libc::mmap(
                std::ptr::null_mut(),
                2 * PAGE as usize,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            );
            libc::munmap(map.byte_add(PAGE as usize), PAGE as usize);
            map as u64
        };
        write_memory(pid, page + PAGE - 6, b"abcde\0").unwrap();
        assert_eq!(read_string(pid, page + PAGE - 6, 4095).unwrap(), b"abcde");
        assert_eq!(
            read_string(pid, page + PAGE - 6, 3).unwrap_err().raw_os_error(),
            Some(libc::ENAMETOOLONG)
        );
        write_memory(pid, page + PAGE - 1, b"f").unwrap();
        let cut = read_string(pid, page + PAGE - 6, 4095).unwrap_err();
        assert_eq!(cut.raw_os_error(), Some(libc::EFAULT));
        let none = read_string(pid, page + PAGE, 4095).unwrap_err();
        assert_eq!(none.raw_os_error(), Some(libc::EFAULT));
        let over = write_memory(pid, page + PAGE - 2, b"abcd").unwrap_err();
        assert_eq!(over.raw_os_error(), Some(libc::EFAULT));
    }
}
