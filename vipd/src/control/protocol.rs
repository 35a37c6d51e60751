//! What travels on the control socket: a request a line, an answer a line.

use serde::{Deserialize, Serialize};

/// Longest request line in bytes, without its newline.
pub const MAX_REQUEST_BYTES: usize = 64 * 1024;
/// Longest answer in bytes: thousands of instances, and an end to a peer that never stops talking.
pub const MAX_ANSWER_BYTES: u64 = 64 * 1024 * 1024;

/// What a client may ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "kebab-case")]
pub enum Request {
    /// `{"command":"status"}`, answered by a [`StatusReport`](super::model::StatusReport).
    Status,
    /// `{"command":"stats"}`, answered by a [`StatsReport`](super::model::StatsReport).
    Stats,
}

/// The answer to a request that cannot be answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorAnswer {
    /// One sentence for the person who asked.
    pub error: String,
}
