//! The control socket.

pub mod model;
