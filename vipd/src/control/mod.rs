//! The control socket, which serves `vipd status`, `vipd stats` and `vipd events`: one JSON object per line.

pub mod access;
pub mod client;
pub mod counters;
pub mod event;
pub mod model;
pub mod protocol;
pub mod runtime;
pub mod server;
pub mod stream;

#[cfg(test)]
mod tests;
