//! Starts programs from a large process of many threads. A fork copies its page tables, two milliseconds for a Node that has worked;
//! posix_spawn(3) lets the child use them until it executes the program.

use std::{
    ffi::CString,
    io,
    mem::MaybeUninit,
    os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd},
};

use crate::process::pipe;

/// What the program has under one number, from 0 on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// Nothing, and nobody who reads.
    Null,
    /// A pipe that we write to.
    FromUs,
    /// A pipe that we read from.
    ToUs,
    /// What we have under that number.
    Same(RawFd),
}

/// A program that was started. It has to be waited for.
#[derive(Debug)]
pub struct Spawned {
    /// Its process.
    pub pid: i32,
    /// Our ends of pipes, in the order of the streams.
    pub ends: Vec<Option<OwnedFd>>,
}

fn check(result: i32) -> io::Result<()> {
    if result == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(result)) }
}

struct Actions(libc::posix_spawn_file_actions_t);

impl Actions {
    fn new() -> io::Result<Self> {
        let mut actions = MaybeUninit::uninit();
        // SAFETY: it initialises what it is given, unless it fails.
        check(unsafe { libc::posix_spawn_file_actions_init(actions.as_mut_ptr()) })?;
        // SAFETY: it did not fail.
        Ok(Self(unsafe { actions.assume_init() }))
    }
}

impl Drop for Actions {
    fn drop(&mut self) {
        // SAFETY: it was initialised, and is not used any more.
        unsafe { libc::posix_spawn_file_actions_destroy(&mut self.0) };
    }
}

struct Attributes(libc::posix_spawnattr_t);

impl Attributes {
    /// Signals are what a fresh program expects: none blocked, none ignored.
    fn new() -> io::Result<Self> {
        let mut attributes = MaybeUninit::uninit();
        // SAFETY: it initialises what it is given, unless it fails.
        check(unsafe { libc::posix_spawnattr_init(attributes.as_mut_ptr()) })?;
        // SAFETY: it did not fail.
        let mut attributes = Self(unsafe { attributes.assume_init() });
        let flags = libc::POSIX_SPAWN_SETSIGDEF | libc::POSIX_SPAWN_SETSIGMASK;
        // SAFETY: the sets are initialised by sigemptyset and sigfillset before they are read; all outlives the calls.
        unsafe {
            let (mut none, mut all) = (std::mem::zeroed(), std::mem::zeroed());
            libc::sigemptyset(&mut none);
            libc::sigfillset(&mut all);
            check(libc::posix_spawnattr_setsigmask(&mut attributes.0, &none))?;
            check(libc::posix_spawnattr_setsigdefault(&mut attributes.0, &all))?;
            check(libc::posix_spawnattr_setflags(&mut attributes.0, flags as libc::c_short))?;
        }
        Ok(attributes)
    }
}

impl Drop for Attributes {
    fn drop(&mut self) {
        // SAFETY: it was initialised, and is not used any more.
        unsafe { libc::posix_spawnattr_destroy(&mut self.0) };
    }
}

/// Starts `argv[0]`, a path, in the root directory.
///
/// # Errors
/// The kernel's, those of executing the program among them.
pub fn spawn(argv: &[CString], environment: &[CString], streams: &[Stream]) -> io::Result<Spawned> {
    let Some(program) = argv.first() else {
        return Err(io::Error::from_raw_os_error(libc::EINVAL));
    };
    let mut actions = Actions::new()?;
    let attributes = Attributes::new()?;
    // SAFETY: the path ends with a zero byte, and is copied.
    check(unsafe { libc::posix_spawn_file_actions_addchdir_np(&mut actions.0, c"/".as_ptr()) })?;
    let mut ends = Vec::new();
    // Until the program has copies.
    let mut theirs = Vec::new();
    for (number, stream) in streams.iter().enumerate() {
        let number = number as RawFd;
        let (own, given) = match *stream {
            Stream::Null => {
                // SAFETY: as above.
                check(unsafe {
                    libc::posix_spawn_file_actions_addopen(
                        &mut actions.0,
                        number,
                        c"/dev/null".as_ptr(),
                        libc::O_RDWR,
                        0,
                    )
                })?;
                (None, None)
            }
            Stream::FromUs => pipe().map(|(read, write)| (Some(write), Some(read)))?,
            Stream::ToUs => pipe().map(|(read, write)| (Some(read), Some(write)))?,
            Stream::Same(fd) => (None, Some(above(fd, streams.len())?)),
        };
        ends.push(own);
        if let Some(given) = given {
            let given = if given.as_raw_fd() < streams.len() as RawFd {
                above(given.as_raw_fd(), streams.len())?
            } else {
                given
            };
            // SAFETY: integers only.
            check(unsafe {
                libc::posix_spawn_file_actions_adddup2(&mut actions.0, given.as_raw_fd(), number)
            })?;
            theirs.push(given);
        }
    }
    let pointers = |strings: &[CString]| -> Vec<*mut libc::c_char> {
        let own = strings.iter().map(|string| string.as_ptr().cast_mut());
        own.chain([std::ptr::null_mut()]).collect()
    };
    let (argv_pointers, environment_pointers) = (pointers(argv), pointers(environment));
    let mut pid = 0;
    // SAFETY: both arrays end in null and point to strings that outlive the call; actions and attributes were initialised.
    check(unsafe {
        libc::posix_spawn(
            &mut pid,
            program.as_ptr(),
            &actions.0,
            &attributes.0,
            argv_pointers.as_ptr(),
            environment_pointers.as_ptr(),
        )
    })?;
    Ok(Spawned { pid, ends })
}

/// A copy of a number beyond those that the program is to have: otherwise one would be replaced before it is copied.
fn above(fd: RawFd, count: usize) -> io::Result<OwnedFd> {
    // SAFETY: integers only.
    let copy = unsafe { libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, count as RawFd) };
    if copy < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: it was just made and belongs to nobody else.
    Ok(unsafe { OwnedFd::from_raw_fd(copy) })
}

#[cfg(test)]
mod tests {
    use std::{
        fs::File,
        io::{Read, Write},
    };

    use super::*;
    use crate::process::{Ended, wait, wait_until_ended};

    fn words(words: &[&str]) -> Vec<CString> {
        words.iter().map(|word| CString::new(*word).expect("no zero bytes")).collect()
    }

    #[test]
    fn gives_pipes_by_their_numbers() {
        let script = "read line; echo \"$line $A\" >&3; pwd; exit 7";
        let streams = [Stream::FromUs, Stream::ToUs, Stream::Null, Stream::ToUs];
        let spawned = spawn(&words(&["/bin/sh", "-c", script]), &words(&["A=b"]), &streams)
            .expect("there is a shell");
        let mut ends = spawned.ends.into_iter();
        let mut next = || ends.next().flatten().map(File::from);
        let (mut input, mut output) = (next().expect("a pipe"), next().expect("a pipe"));
        assert!(next().is_none());
        let mut third = next().expect("a pipe");
        input.write_all(b"hello\n").expect("somebody reads");
        drop(input);
        let (mut said, mut third_said) = (String::new(), String::new());
        output.read_to_string(&mut said).expect("it can be read");
        third.read_to_string(&mut third_said).expect("it can be read");
        assert_eq!((said.as_str(), third_said.as_str()), ("/\n", "hello b\n"));
        wait_until_ended(spawned.pid).expect("a child");
        assert_eq!(wait(spawned.pid).expect("a child"), (spawned.pid, Ended::Exited(7)));
    }

    #[test]
    fn says_why_a_program_cannot_be_started() {
        let error = spawn(&words(&["/no/such"]), &[], &[Stream::Null]).expect_err("it is missing");
        assert_eq!(error.raw_os_error(), Some(libc::ENOENT));
    }
}
