//! Node-API functions: convert, call, map the error. No logic. What they are is declared in `src/native/addon.ts`.

mod cancel;
mod debian;
mod error;
mod fs;
mod layer;
mod pooled;
