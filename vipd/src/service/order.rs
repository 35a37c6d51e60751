//! Requested changes and their results.

use tokio::sync::{mpsc, oneshot};

use super::line::{Line, by_subject};
use crate::control::access::Credentials;
use crate::control::model::ChangeReport;
use crate::control::protocol::Request;

/// Result of a requested change.
pub(super) type Outcome = Result<Done, Refusal>;

/// A change that was made.
#[derive(Debug, Default)]
pub(super) struct Done {
    pub(super) changes: Vec<Line>,
    pub(super) warnings: Vec<String>,
}

/// A change that was refused.
#[derive(Debug)]
pub(super) struct Refusal {
    /// The instance that cannot be changed, if the refusal concerns exactly one existing instance;
    /// otherwise `None`.
    instance: Option<String>,
    /// Message for the user, possibly of several lines.
    message: String,
}

impl Refusal {
    /// Creates a refusal to change an instance.
    pub(super) fn of(instance: &str, message: String) -> Self {
        Self { instance: Some(instance.to_owned()), message }
    }
}

impl From<String> for Refusal {
    fn from(message: String) -> Self {
        Self { instance: None, message }
    }
}

/// A requested change.
#[derive(Debug)]
pub(super) struct Order {
    pub(super) request: Request,
    pub(super) by: Author,
}

/// The origin of a requested change.
#[derive(Debug)]
pub(super) enum Author {
    /// A client of the control socket, waiting for the outcome.
    Client(Credentials, oneshot::Sender<Result<ChangeReport, String>>),
    /// The sender of SIGHUP, by process ID. The outcome is logged.
    Signal(u32),
    /// This process, after it has taken over from a predecessor. The outcome is logged.
    Succession,
}

impl Author {
    /// Returns whether the author has the rights of root. The agent's own user does not have them:
    /// tracked scripts and notification commands run as this user, but without the agent's
    /// capabilities.
    pub(super) fn is_root(&self) -> bool {
        match self {
            Self::Client(peer, _) => peer.uid == 0,
            Self::Signal(_) | Self::Succession => true,
        }
    }
}

/// The sending end of the channel of requested changes.
pub(super) type Orders = mpsc::Sender<Order>;

/// Logs the outcome of a change, and sends it to the client that requested the change, if any.
pub(super) fn finish(author: Author, outcome: Outcome) {
    let (user, process) = match &author {
        Author::Client(peer, _) => (Some(peer.uid), peer.pid.and_then(|pid| u32::try_from(pid).ok())),
        Author::Signal(sender) => (None, Some(*sender)),
        Author::Succession => (None, None),
    };
    match &outcome {
        Ok(done) => {
            for (subject, text) in by_subject(&done.changes) {
                let (instance, group) = subject.fields();
                tracing::info!(instance, group, user, process, "{text}");
            }
            for warning in &done.warnings {
                tracing::warn!(user, process, "{warning}");
            }
        }
        Err(Refusal { instance, message }) => {
            for line in message.lines() {
                tracing::error!(instance = instance.as_deref(), user, process, "{line}");
            }
        }
    }
    if let Author::Client(_, reply) = author {
        let answer = match outcome {
            Ok(Done { changes, warnings }) => {
                Ok(ChangeReport { changes: changes.iter().map(Line::to_string).collect(), warnings })
            }
            Err(refusal) => Err(refusal.message),
        };
        // The client may have disconnected.
        let _ = reply.send(answer);
    }
}
