//! The standard streams of a step's program, and what passes through them: pipes, or a pseudo-terminal.
//!
//! Pipes are ours and not what we were given: that may be sockets, which cannot be opened again through `/dev/stdout`. With a
//! terminal, our standard input carries frames: `d`, a length and so many bytes for the program, or `r`, columns and rows. Numbers
//! are big-endian, the length of four bytes, the others of two. Without one it carries the bytes alone.

use std::{
    collections::VecDeque,
    fs::File,
    io::{self, Read, Write},
    os::fd::{AsFd, AsRawFd, OwnedFd},
};

use tsbuild_sys::{
    process::{self, Ended},
    terminal::{self, Size},
};

/// What of the program's streams is more than output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Input {
    /// It has none.
    None,
    /// What we get.
    Pipe,
    /// All three streams are a terminal.
    Terminal(Size),
}

/// The program's ends.
pub struct Theirs {
    input: Option<OwnedFd>,
    output: OwnedFd,
    errors: OwnedFd,
    terminal: bool,
}

/// Our ends.
pub struct Ours {
    input: Option<Feed>,
    /// With where it goes.
    outputs: Vec<(OwnedFd, i32)>,
    /// Kept open: without anybody on the other end the terminal would be at its end, and a program may still come back to it.
    _terminal: Option<OwnedFd>,
}

/// Makes both, for a program of this user.
pub fn open(input: Input, uid: u32, gid: u32) -> io::Result<(Theirs, Ours)> {
    if let Input::Terminal(size) = input {
        let terminal = terminal::open(size, uid, gid)?;
        terminal::make_console(&terminal);
        let copy = || terminal.theirs.try_clone();
        let theirs =
            Theirs { input: Some(copy()?), output: copy()?, errors: copy()?, terminal: true };
        let feed = Feed::new(terminal.ours.try_clone()?, Some(Frames::default()))?;
        let ours = Ours {
            input: Some(feed),
            outputs: vec![(terminal.ours, 1)],
            _terminal: Some(terminal.theirs),
        };
        return Ok((theirs, ours));
    }
    let (out, out_write) = process::pipe()?;
    let (err, err_write) = process::pipe()?;
    process::give_to(&out_write, uid, gid);
    process::give_to(&err_write, uid, gid);
    let (their_input, feed) = if input == Input::Pipe {
        let (read, write) = process::pipe()?;
        process::give_to(&read, uid, gid);
        terminal::do_not_block(write.as_raw_fd())?;
        (Some(read), Some(Feed::new(write, None)?))
    } else {
        (None, None)
    };
    Ok((
        Theirs { input: their_input, output: out_write, errors: err_write, terminal: false },
        Ours { input: feed, outputs: vec![(out, 1), (err, 2)], _terminal: None },
    ))
}

impl Theirs {
    /// In the child: they become its standard streams.
    pub fn install(&self) -> io::Result<()> {
        if self.terminal {
            terminal::take_over(&self.output)?;
        }
        if let Some(input) = &self.input {
            process::duplicate_to(input, 0)?;
        }
        process::duplicate_to(&self.output, 1)?;
        process::duplicate_to(&self.errors, 2)
    }
}

impl Ours {
    /// Passes everything on until the program has ended and what it wrote has been read.
    ///
    /// Daemons that it left may hold its streams open for ever; what is in them when the program ends is the end.
    ///
    /// Gives `None` when `ending` says that it is to end before.
    pub fn pass_on(
        self,
        pid: i32,
        children: &OwnedFd,
        ending: Option<&OwnedFd>,
    ) -> io::Result<Option<Ended>> {
        let Self { mut input, outputs, _terminal } = self;
        let mut outputs: Vec<_> =
            outputs.into_iter().map(|(fd, target)| (File::from(fd), target)).collect();
        let mut ended = None;
        let mut buffer = vec![0; 64 * 1024];
        loop {
            let mut readable = vec![children.as_raw_fd()];
            readable.extend(ending.map(AsRawFd::as_raw_fd));
            let before_outputs = readable.len();
            readable.extend(outputs.iter().map(|(file, _)| file.as_raw_fd()));
            let mut writable = Vec::new();
            if let Some(feed) = input.as_ref().filter(|_| ended.is_none()) {
                if feed.waiting.is_empty() {
                    readable.push(feed.from.as_raw_fd());
                } else {
                    writable.push(feed.to.as_raw_fd());
                }
            }
            let timeout = if ended.is_some() { 0 } else { -1 };
            let ready = process::poll(&readable, &writable, timeout)?;
            if ready[1..before_outputs].contains(&true) {
                return Ok(None);
            }
            let (ready_outputs, ready_input) = ready[before_outputs..].split_at(outputs.len());
            let (ready_outputs, ready_input) =
                (ready_outputs.to_vec(), ready_input.contains(&true));
            let mut read = false;
            let mut is_ready = ready_outputs.iter();
            let mut failure = None;
            outputs.retain_mut(|(file, target)| {
                if is_ready.next() != Some(&true) {
                    return true;
                }
                match file.read(&mut buffer) {
                    Ok(0) => false,
                    Ok(count) => {
                        read = true;
                        failure = write_to(*target, &buffer[..count]).err();
                        true
                    }
                    Err(error) => match error.kind() {
                        io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock => true,
                        _ => {
                            failure = Some(error);
                            false
                        }
                    },
                }
            });
            if let Some(error) = failure {
                return Err(error);
            }
            if ready_input
                && let Some(feed) = &mut input
                && !feed.go_on(&mut buffer)
            {
                input = None;
            }
            if ready[0] {
                drain(children);
                while let Ok(Some((found, how))) = process::wait_nohang(-1) {
                    if found == pid {
                        ended = Some(how);
                    }
                }
            }
            if let Some(ended) = ended
                && !read
                && !ready_outputs.contains(&true)
            {
                return Ok(Some(ended));
            }
        }
    }
}

/// From our standard input to the program.
struct Feed {
    from: File,
    to: File,
    /// Of a terminal.
    frames: Option<Frames>,
    /// For the program, which has not taken it yet.
    waiting: VecDeque<u8>,
    /// Nothing more comes.
    ended: bool,
    last: u8,
}

impl Feed {
    fn new(to: OwnedFd, frames: Option<Frames>) -> io::Result<Self> {
        // Not the buffered one of the library: polling would not see what that holds.
        let from = File::from(io::stdin().as_fd().try_clone_to_owned()?);
        let to = File::from(to);
        Ok(Self { from, to, frames, waiting: VecDeque::new(), ended: false, last: b'\n' })
    }

    /// Reads where nothing waits, writes what waits. False: it is over, and the program's input ends when this is dropped.
    fn go_on(&mut self, buffer: &mut [u8]) -> bool {
        if self.waiting.is_empty() {
            match self.from.read(buffer) {
                Ok(0) => self.end(),
                Ok(count) => self.take(&buffer[..count]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => self.end(),
            }
        }
        while !self.waiting.is_empty() {
            match self.to.write(self.waiting.as_slices().0) {
                Ok(count) => drop(self.waiting.drain(..count)),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return true,
                // It reads no more, and may go on without.
                Err(_) => return false,
            }
        }
        !self.ended
    }

    fn take(&mut self, bytes: &[u8]) {
        match &mut self.frames {
            None => self.waiting.extend(bytes),
            Some(frames) => {
                frames.arrived.extend(bytes);
                while let Some(frame) = frames.next() {
                    match frame {
                        Frame::Data(data) => {
                            self.last = data.last().copied().unwrap_or(self.last);
                            self.waiting.extend(data);
                        }
                        Frame::Size(size) => {
                            if let Ok(to) = self.to.try_clone() {
                                let _ = terminal::resize(&OwnedFd::from(to), size);
                            }
                        }
                    }
                }
            }
        }
    }

    /// A terminal has no end: what a person would type says it, twice where a line was begun.
    fn end(&mut self) {
        const END_OF_TRANSMISSION: u8 = 4;
        self.ended = true;
        if self.frames.is_some() {
            if self.last != b'\n' && self.last != b'\r' {
                self.waiting.push_back(END_OF_TRANSMISSION);
            }
            self.waiting.push_back(END_OF_TRANSMISSION);
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Frame {
    Data(Vec<u8>),
    Size(Size),
}

/// Takes frames from bytes that come in pieces.
#[derive(Default)]
struct Frames {
    arrived: VecDeque<u8>,
    /// Of the frame whose bytes are coming.
    missing: usize,
}

impl Frames {
    const HEADER: usize = 5;

    fn next(&mut self) -> Option<Frame> {
        while self.missing == 0 {
            let header: Vec<u8> = self.arrived.iter().take(Self::HEADER).copied().collect();
            let [kind, a, b, c, d] = header.try_into().ok()?;
            self.arrived.drain(..Self::HEADER);
            if kind == b'r' {
                let (columns, rows) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
                return Some(Frame::Size(Size { columns, rows }));
            }
            self.missing = u32::from_be_bytes([a, b, c, d]) as usize;
        }
        let count = self.missing.min(self.arrived.len());
        if count == 0 {
            return None;
        }
        self.missing -= count;
        Some(Frame::Data(self.arrived.drain(..count).collect()))
    }
}

fn write_to(target: i32, bytes: &[u8]) -> io::Result<()> {
    if target == 1 {
        let mut stdout = io::stdout().lock();
        stdout.write_all(bytes)?;
        stdout.flush()
    } else {
        io::stderr().lock().write_all(bytes)
    }
}

fn drain(events: &OwnedFd) {
    let Ok(copy) = events.try_clone() else { return };
    let mut file = File::from(copy);
    let mut buffer = [0; 1024];
    while matches!(file.read(&mut buffer), Ok(1..)) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frames_of(pieces: &[&[u8]]) -> (Vec<u8>, Vec<Size>) {
        let mut frames = Frames::default();
        let (mut data, mut sizes) = (Vec::new(), Vec::new());
        for piece in pieces {
            frames.arrived.extend(*piece);
            while let Some(frame) = frames.next() {
                match frame {
                    Frame::Data(bytes) => data.extend(bytes),
                    Frame::Size(size) => sizes.push(size),
                }
            }
        }
        (data, sizes)
    }

    #[test]
    fn frames_may_be_cut_anywhere() {
        let all = b"d\0\0\0\x03abcr\0\x50\0\x18d\0\0\0\0d\0\0\0\x02d\0r\0\x01\0\x02";
        let whole = frames_of(&[all]);
        assert_eq!(whole.0, b"abcd\0");
        assert_eq!(whole.1, [Size { columns: 80, rows: 24 }, Size { columns: 1, rows: 2 }]);
        for cut in 1..all.len() {
            assert_eq!(frames_of(&[&all[..cut], &all[cut..]]), whole);
        }
        let bytes: Vec<&[u8]> = all.chunks(1).collect();
        assert_eq!(frames_of(&bytes), whole);
    }
}
