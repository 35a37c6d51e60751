//! Requested changes and their results.

use tokio::sync::{mpsc, oneshot};

use crate::control::access::Credentials;
use crate::control::model::ChangeReport;
use crate::control::protocol::Request;

/// Reply to a change, or a message for the user.
pub(super) type Outcome = Result<ChangeReport, String>;

/// A requested change.
#[derive(Debug)]
pub(super) struct Order {
    pub(super) request: Request,
    pub(super) by: Author,
}

/// Who has requested a change.
#[derive(Debug)]
pub(super) enum Author {
    /// A client of the control socket, which waits for the outcome.
    Client(Credentials, oneshot::Sender<Outcome>),
    /// The sender of SIGHUP. The outcome is logged.
    Signal(u32),
}

/// The channel through which changes are requested.
pub(super) type Orders = mpsc::Sender<Order>;

/// Logs the outcome of a change and passes it to the client.
pub(super) fn finish(author: Author, outcome: Outcome) {
    let (user, process) = match &author {
        Author::Client(peer, _) => (Some(peer.uid), peer.pid.and_then(|pid| u32::try_from(pid).ok())),
        Author::Signal(sender) => (None, Some(*sender)),
    };
    match &outcome {
        Ok(report) => {
            for change in &report.changes {
                tracing::info!(user, process, "{change}");
            }
            for warning in &report.warnings {
                tracing::warn!(user, process, "{warning}");
            }
        }
        Err(error) => {
            for line in error.lines() {
                tracing::error!(user, process, "{line}");
            }
        }
    }
    if let Author::Client(_, reply) = author {
        // The client may have disconnected.
        let _ = reply.send(outcome);
    }
}
