//! Debian packages: reads `.deb` files and unpacks many of them at once into an empty root, in the state in which
//! `dpkg --unpack` would leave them, so that `dpkg --configure` can take over inside.

mod ar;
mod control;
mod deb;
mod error;
mod root;
mod unpack;

pub use ar::Members;
pub use deb::{Deb, Hashing};
pub use error::Error;
pub use unpack::{Options, Package, Unpacked, unpack};
