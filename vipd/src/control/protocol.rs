//! Messages on the control socket: each request and each answer is a line of JSON.

use serde::{Deserialize, Serialize};

/// Longest request line in bytes, without its newline.
pub const MAX_REQUEST_BYTES: usize = 64 * 1024;
/// Longest answer in bytes: enough for thousands of instances, and a bound on what a client reads.
pub const MAX_ANSWER_BYTES: u64 = 64 * 1024 * 1024;

/// A request of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "kebab-case")]
pub enum Request {
    /// `{"command":"status"}`, answered by a [`StatusReport`](super::model::StatusReport).
    Status,
    /// `{"command":"stats"}`, answered by a [`StatsReport`](super::model::StatsReport).
    Stats,
}

/// The answer to an invalid or refused request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorAnswer {
    /// A sentence for the user.
    pub error: String,
}
