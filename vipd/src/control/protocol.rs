//! Messages on the control socket. Each request and each reply is one line of JSON.

use serde::{Deserialize, Serialize};

/// Maximum length of a request in bytes, without the newline.
pub const MAX_REQUEST_BYTES: usize = 64 * 1024;
/// Maximum number of bytes that a client reads of a reply: enough for thousands of instances.
pub const MAX_REPLY_BYTES: u64 = 64 * 1024 * 1024;

/// A request from a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "kebab-case")]
pub enum Request {
    /// `{"command":"status"}`. The reply is a [`StatusReport`](super::model::StatusReport).
    Status,
    /// `{"command":"stats"}`. The reply is a [`StatsReport`](super::model::StatsReport).
    Stats,
    /// `{"command":"events","follow":true}`. The reply is an
    /// [`EventRecord`](super::event::EventRecord) per line: the events that are kept and, with `follow`,
    /// all later ones. Then the agent closes the connection.
    Events {
        /// Whether to send later events.
        #[serde(default)]
        follow: bool,
    },
}

/// The reply to a request that is invalid or cannot be served.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorReply {
    /// A message for the user.
    pub error: String,
}
