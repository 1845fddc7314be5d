//! The filter that a step with one id runs under: what needs other ids is recorded by a supervisor outside, or only pretended.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
};

use tsbuild_recorder::{Instruction, LISTENER, pretending, recording, recording_devices};
use tsbuild_sys::{process, seccomp, socket};

/// Where the socket to the supervisor comes in, and where it is moved to: next to the others.
const SOCKET_FD: i32 = 6;
const OWN_SOCKET_FD: i32 = 5;

/// What becomes of owners.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Owners {
    /// A supervisor writes them down.
    Recorded,
    /// It writes down devices alone: ids are real.
    Devices,
    /// Nobody does.
    Pretended,
}

impl Owners {
    /// From its word.
    pub fn parse(word: &str) -> Option<Self> {
        match word {
            "recorded" => Some(Self::Recorded),
            "devices" => Some(Self::Devices),
            "pretended" => Some(Self::Pretended),
            _ => None,
        }
    }

    /// For this process and what it starts. Nothing else may be done before the program is.
    pub fn install(self, supervisor: Option<&OwnedFd>) -> io::Result<()> {
        let impossible = |error: tsbuild_recorder::FilterError| io::Error::other(error);
        let listen = |program: &[Instruction]| {
            let socket = supervisor.ok_or(io::ErrorKind::InvalidInput)?;
            let listener = seccomp::install_with_listener(program)?;
            socket::send(socket.as_fd(), LISTENER, Some(listener.as_fd()))
        };
        match self {
            Self::Recorded => {
                seccomp::no_new_privileges()?;
                listen(&recording().map_err(impossible)?)
            }
            // Not worth that set-user-ID programs lose their effect: devices cannot be made then.
            Self::Devices => match listen(&recording_devices().map_err(impossible)?) {
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
                other => other,
            },
            Self::Pretended => {
                seccomp::no_new_privileges()?;
                seccomp::install(&pretending().map_err(impossible)?)
            }
        }
    }
}

/// The socket, at a number next to those that we keep.
pub fn take_socket() -> io::Result<OwnedFd> {
    let socket = process::inherited(SOCKET_FD)?;
    process::duplicate_to(&socket, OWN_SOCKET_FD)?;
    process::inherited(OWN_SOCKET_FD)
}
