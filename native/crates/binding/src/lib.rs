//! Node-API functions: convert, call, map the error. No logic. What they are is declared in `src/native/addon.ts`.

// Nothing registers the functions in a test build, which clippy makes even though there are no tests here.
#![cfg_attr(test, allow(dead_code, unused_imports))]

mod cancel;
mod copy_entries;
mod debian;
mod error;
mod fs;
mod hashed_file;
mod layer;
mod recorder;
mod seccomp;
mod spawn;
mod tree_index;
mod work;
