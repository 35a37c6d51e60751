//! Notifications of state changes: commands, and lines in a FIFO.

mod fifo;
pub(crate) mod notice;
mod queue;
mod runner;
