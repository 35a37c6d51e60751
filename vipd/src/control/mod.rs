//! The control socket: one JSON object a line, for `vipd status` and `vipd stats`.

pub mod client;
pub mod counters;
pub mod model;
pub mod protocol;
pub mod runtime;
pub mod server;

#[cfg(test)]
mod tests;
