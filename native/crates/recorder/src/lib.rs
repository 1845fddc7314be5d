//! Owners that a step gives to its files, in a namespace that has one id: the calls that would give them are heard of through
//! seccomp's user notification (seccomp_unotify(2)), recorded, and answered as if they had been done; and what was recorded is shown to
//! whoever asks. So the step finds what it did, and the layer gets what the step meant.
//!
//! What a step can do to its recorder harms the step alone: it acts within the root of the process that calls, with no
//! right that the step does not have, and ends when the last of the step's processes does.

mod acl;
mod calls;
mod credentials;
mod filters;
mod probe;
mod session;
mod supervisor;
mod table;
mod view;

pub use credentials::Credentials;
pub use filters::{pretending, recording, recording_devices};
pub use probe::probe;
pub use session::{LISTENER, Recorded, Session};
pub use tsbuild_seccomp::{Error as FilterError, Instruction};
