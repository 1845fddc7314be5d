//! Makes the namespaces and starts the worker in them.
fn main() {}
