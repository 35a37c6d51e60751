//! The control socket, which serves all commands that query or change a running agent: one JSON
//! object per line.

pub mod access;
pub mod client;
pub mod counters;
pub mod event;
pub(crate) mod explain;
pub mod model;
pub mod protocol;
pub mod runtime;
pub mod server;
pub mod stream;

#[cfg(test)]
mod tests;
