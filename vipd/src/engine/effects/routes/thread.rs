//! A thread that adds routes and rules, and checks them.
//!
//! Each request takes the rtnl lock, which a driver may hold for seconds. Checks run at any time,
//! and must not block the engine.

use std::io;
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::thread;

use crate::config::Realtime;
use crate::engine::poll::Waker;
use crate::netlink::{BATCH, Change, Requests};
use crate::process::capabilities::{ThreadKind, confine};
use crate::realtime;

/// Stack size in bytes. Small, because the process's memory is locked.
const STACK: usize = 128 * 1024;

/// Why a change was refused: the error number, and the kernel's explanation if there is one.
pub(super) type Refusal = (i32, Option<Box<str>>);

/// Results in the order of the changes, or the failure of the socket.
pub(super) type Results = io::Result<Vec<Option<Refusal>>>;

/// The engine's handle to the thread, which ends when the handle is dropped.
#[derive(Debug)]
pub(super) struct RouteThread {
    submitted: Sender<Vec<Change>>,
    results: Receiver<Results>,
}

impl RouteThread {
    /// Starts the thread, which wakes the engine when it has the results of the changes of a
    /// [`submit`](Self::submit).
    ///
    /// # Errors
    /// Returns an error if the netlink socket cannot be opened or the thread cannot be started.
    pub(super) fn start(waker: Waker, realtime: Realtime) -> io::Result<Self> {
        let mut requests = Requests::open()?;
        let (submitted, batches) = channel::<Vec<Change>>();
        let (sender, results) = channel();
        let builder = thread::Builder::new().name("routes".to_owned()).stack_size(STACK);
        builder.spawn(move || {
            if realtime == Realtime::Auto {
                // The failure is not reported here, because the engine reports the same failure for
                // its own thread.
                let _ = realtime::schedule_fifo();
            }
            confine(ThreadKind::Routes);
            for changes in batches {
                if sender.send(apply(&mut requests, &changes)).is_err() {
                    return;
                }
                waker.wake();
            }
        })?;
        Ok(Self { submitted, results })
    }

    /// Returns the handle to a thread that has ended.
    #[cfg(test)]
    pub(super) fn ended() -> Self {
        Self { submitted: channel().0, results: channel().1 }
    }

    /// Submits changes. The results of the previous changes must already have been received.
    pub(super) fn submit(&self, changes: &[Change]) {
        // If the thread has ended, receiving the results returns an error.
        let _ = self.submitted.send(changes.to_vec());
    }

    /// Returns the results, or `None` if they are not available yet.
    pub(super) fn try_receive(&self) -> Option<Results> {
        match self.results.try_recv() {
            Ok(results) => Some(results),
            Err(TryRecvError::Empty) => None,
            Err(TryRecvError::Disconnected) => Some(Err(io::ErrorKind::BrokenPipe.into())),
        }
    }

    /// Waits for the results.
    pub(super) fn receive(&self) -> Results {
        self.results.recv().unwrap_or_else(|_| Err(io::ErrorKind::BrokenPipe.into()))
    }
}

/// Applies changes in order.
pub(super) fn apply(requests: &mut Requests, changes: &[Change]) -> Results {
    let mut refusals = vec![None; changes.len()];
    let mut result = Ok(());
    requests.submit(changes);
    // Waits for all batches even after an error. Otherwise, the next wait would receive the result
    // of a batch that was skipped here.
    for (batch, refusals) in changes.chunks(BATCH).zip(refusals.chunks_mut(BATCH)) {
        result = result.and(requests.wait_explained(batch, |change, error, explanation| {
            let index = batch.iter().position(|other| std::ptr::eq(other, change)).unwrap_or_default();
            if let Some(refusal) = refusals.get_mut(index) {
                *refusal = Some((error.raw_os_error().unwrap_or_default(), explanation.map(Box::from)));
            }
        }));
    }
    result.map(|()| refusals)
}
