//! The control thread's part in a succession: taking over from a predecessor, and
//! [handing over](hand_over) to a successor.

pub(super) mod hand_over;

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use tokio::io::unix::AsyncFd;
use tokio::sync::watch;
use tokio::time::timeout;

use super::{DiscardCounters, FromEngine, Supervisor};
use crate::control::runtime::RuntimeDir;
use crate::control::server::Source;
use crate::engine::succession::Resumed;
use crate::handover::{self, Channel, Message};
use crate::process::{SignalStream, register};
use crate::service::signals::Response;
use crate::service::successor::Heir;
use crate::service::systemd::Systemd;
use crate::service::upgrade::SavedService;
use crate::service::worker::Worker;

/// The outcome of running the control thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::service) enum End {
    /// The engine has ended. Unless it failed, all routers have been shut down.
    Stopped,
    /// Another process runs the routers, or the next process that systemd starts will.
    HandedOver,
}

/// The outcome of [`serve`](Supervisor::serve).
pub(super) enum Served {
    Stopped,
    HandedOver {
        /// The channel to the successor. Closing the channel signals the end of this process.
        channel: Channel,
        /// Whether the routers stay suspended until this process has ended, so that it must not
        /// wait for anything.
        is_suspended: bool,
    },
}

/// The agent's connections to its worker, its clients and its predecessor.
pub(super) struct Connections<'a> {
    pub(super) worker: &'a Worker,
    /// Whether the control socket accepts clients.
    pub(super) is_open: &'a watch::Sender<bool>,
    /// The predecessor, until it has ended.
    pub(super) predecessor: Option<AsyncFd<Channel>>,
    /// Whether this process is the main process of the service. The successor of a running agent is
    /// reported as the main process after it has taken over; after a restart, the value is true.
    pub(super) is_main: bool,
}

/// A message from the predecessor after this process has taken over.
pub(super) enum FromPredecessor {
    /// Memory with a [`SavedService`], the state of the predecessor's service. In an upgrade, the
    /// predecessor has already reported this process to systemd as the main process.
    Service(Option<OwnedFd>),
    /// The predecessor has ended.
    Ended,
}

impl<S: Source + DiscardCounters> Supervisor<S> {
    /// Waits until the engine has taken over, and adopts the predecessor's states. Returns the
    /// channel, from which the caller must read the predecessor's last messages.
    pub(super) async fn take_over(
        &mut self,
        heir: Heir,
        runtime_dir: &RuntimeDir,
        worker: &Worker,
        signals: &mut SignalStream,
        from: &mut FromEngine,
    ) -> anyhow::Result<AsyncFd<Channel>> {
        let Heir { channel, resumed: mut awaited, is_stopping, lock, memberships, is_main, .. } = heir;
        let mut pending = None;
        let resumed = loop {
            tokio::select! {
                signal = signals.receive(), if pending.is_none() => {
                    let signal = signal.context("cannot wait for signals")?;
                    if let (Response::Stop, _) = Response::to(signal) {
                        is_stopping.store(true, Ordering::SeqCst);
                        pending = Some(signal);
                    }
                }
                Some(request) = from.requests.recv() => {
                    ensure!(worker.submit(request), "the worker thread panicked; this is a bug in vipd");
                }
                resumed = &mut awaited => break resumed.context("the engine has ended")?,
            }
        };
        drop(memberships);
        let mut states = Vec::new();
        for Resumed { router, state, reason } in resumed {
            let state = reason.map(|_| state);
            if let Some(state) = state {
                let source = &self.source;
                self.events.resume(router, state);
                self.log.resume(router, |row| source.row(row));
            }
            states.extend(self.log.instance(router).map(|instance| (Arc::clone(instance), state)));
        }
        self.notifications.resume(&states, self.administrator.groups());
        lock.take_over();
        if let Err(error) = runtime_dir.take_over() {
            tracing::warn!("{error}");
        }
        let (version, instances) = (env!("CARGO_PKG_VERSION"), states.len());
        if is_main {
            tracing::info!(version, instances, "continuing with the state of the previous process");
        } else {
            tracing::info!(version, instances, "took over from the predecessor");
        }
        // The engine may have taken over before the signal arrived. If the predecessor has ended,
        // the engine takes over in any case.
        if let Some(signal) = pending {
            self.signal(signal);
        }
        Ok(register(channel)?)
    }

    /// Handles a message from the predecessor.
    pub(super) fn handle_predecessor(&mut self, message: FromPredecessor, systemd: &mut Systemd) {
        match message {
            FromPredecessor::Service(memory) => {
                let saved = memory.context("the message contains no state").and_then(|memory| {
                    Ok(serde_json::from_slice::<SavedService>(&handover::read(&memory)?)?)
                });
                match saved {
                    Ok(SavedService { events, notifications, fifo_dropped }) => {
                        self.events.log().resume(events);
                        self.notifications.counts().resume(&notifications, fifo_dropped);
                    }
                    Err(error) => {
                        tracing::warn!(%error, "events and notification counters of the predecessor are lost");
                    }
                }
                systemd.ready();
            }
            FromPredecessor::Ended => self.notifications.release(),
        }
    }

    /// Waits for the predecessor, if any, to end, but only for a limited time. Notifications that
    /// were held back can then be delivered.
    pub(super) async fn outlive_predecessor(
        &mut self,
        predecessor: &mut Option<AsyncFd<Channel>>,
        systemd: &mut Systemd,
    ) {
        while predecessor.is_some() {
            let message = timeout(PREDECESSOR_TIMEOUT, next(predecessor)).await;
            if let Err(_) | Ok(FromPredecessor::Ended) = message {
                *predecessor = None;
            }
            self.handle_predecessor(message.unwrap_or(FromPredecessor::Ended), systemd);
        }
    }
}

/// Maximum time that a stopping process waits for each message from its predecessor, and then for
/// the predecessor to end, which the predecessor's notification commands may delay.
const PREDECESSOR_TIMEOUT: Duration = Duration::from_secs(10);

/// Waits for the next message from the predecessor, or forever if there is no predecessor.
pub(super) async fn next(predecessor: &mut Option<AsyncFd<Channel>>) -> FromPredecessor {
    let Some(channel) = predecessor else { return std::future::pending().await };
    loop {
        let Ok(mut ready) = channel.readable().await else { return FromPredecessor::Ended };
        match ready.try_io(|channel| channel.get_ref().try_receive()) {
            Ok(Ok((Message::Service, memory))) => return FromPredecessor::Service(memory),
            Ok(Ok(_)) | Err(_) => {}
            Ok(Err(_)) => return FromPredecessor::Ended,
        }
    }
}
