//! Notifications of state changes: commands, and lines in a FIFO.

mod changes;
mod fifo;
pub(crate) mod notice;
mod queue;
mod runner;
