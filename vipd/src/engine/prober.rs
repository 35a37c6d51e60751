//! The thread that checks whether BPF programs are still attached and first at their hook.
//!
//! The queries take the rtnl lock (for an XDP link, `bpf_xdp_link_fill_link_info` in
//! `net/core/dev.c`), which a driver may hold for seconds while resetting its rings. The engine
//! therefore never makes these queries itself, and only reads the latest result.

use std::io;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Weak};
use std::thread;

use vipd_common::Timestamp;

use super::clock;
use super::poll::Waker;
use crate::config::Realtime;
use crate::process::capabilities::{ThreadKind, confine};
use crate::realtime;
use crate::xdp::Position;

/// Stack size in bytes. Small, because the process's memory is locked.
const STACK: usize = 128 * 1024;

/// The latest probe results of an attachment. The thread stops probing when it finds the program
/// detached or behind another program, or when the engine drops the attachment.
#[derive(Debug, Default)]
pub(crate) struct Attachment {
    /// Start time of the last probe that found the program attached and first, in nanoseconds; 0 if
    /// there was none.
    attached_at: AtomicU64,
    /// A [`Position`]; initially [`Position::First`].
    position: AtomicU8,
    /// The pending request: a [`Probing`].
    pending: AtomicU8,
}

/// A request for a probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
enum Probing {
    None,
    /// Wake the engine only if the program is not first.
    Unawaited,
    /// Wake the engine after the probe.
    Awaited,
}

impl Attachment {
    /// Returns the start time of the last probe that found the program attached and first, or
    /// `Timestamp::ZERO` if there was none.
    pub(crate) fn attached_at(&self) -> Timestamp {
        Timestamp::from_nanos(self.attached_at.load(Ordering::Acquire))
    }

    /// Returns the latest known position. Every position other than [`Position::First`] is final,
    /// because attaching the program again creates a new BPF link and a new attachment.
    pub(crate) fn position(&self) -> Position {
        const BEHIND: u8 = Position::Behind as u8;
        const DETACHED: u8 = Position::Detached as u8;
        match self.position.load(Ordering::Acquire) {
            BEHIND => Position::Behind,
            DETACHED => Position::Detached,
            _ => Position::First,
        }
    }
}

/// Queries the kernel for the position of the program. May block.
type Probe = Box<dyn Fn() -> Position + Send>;

enum Job {
    /// Add an attachment and probe it.
    Watch { attachment: Weak<Attachment>, probe: Probe },
    /// Probe all attachments with a pending request.
    Requested,
}

/// The engine's handle to the prober thread, which ends when the handle is dropped. The handle's
/// methods never block.
pub(crate) struct Prober(Sender<Job>);

impl Prober {
    /// Starts the thread, which wakes the engine when it finds a program detached or behind another
    /// program, and after each awaited probe.
    ///
    /// # Errors
    /// `EAGAIN` if the thread cannot be started.
    pub(crate) fn start(waker: Waker, realtime: Realtime) -> io::Result<Self> {
        let (sender, jobs) = channel();
        let builder = thread::Builder::new().name("xdp-probe".to_owned()).stack_size(STACK);
        builder.spawn(move || {
            if realtime == Realtime::Auto {
                // The failure is not reported here, because the engine reports the same failure for
                // its own thread.
                let _ = realtime::schedule_fifo();
            }
            confine(ThreadKind::XdpProbe);
            run(&jobs, &waker);
        })?;
        Ok(Self(sender))
    }

    /// Adds an attachment, which is probed immediately and later on request.
    pub(crate) fn watch(&self, probe: impl Fn() -> Position + Send + 'static) -> Arc<Attachment> {
        let attachment = Arc::new(Attachment::default());
        attachment.pending.store(Probing::Unawaited as u8, Ordering::Release);
        // Never fails, because the thread runs as long as this handle exists.
        let _ = self.0.send(Job::Watch { attachment: Arc::downgrade(&attachment), probe: Box::new(probe) });
        attachment
    }

    /// Requests a probe that wakes the engine only if the program is not first. Does nothing if a
    /// request is already pending.
    pub(crate) fn request(&self, attachment: &Attachment) {
        self.submit(attachment, Probing::Unawaited);
    }

    /// Requests a probe that wakes the engine when it completes.
    pub(crate) fn request_awaited(&self, attachment: &Attachment) {
        self.submit(attachment, Probing::Awaited);
    }

    fn submit(&self, attachment: &Attachment, probing: Probing) {
        if attachment.pending.fetch_max(probing as u8, Ordering::AcqRel) == Probing::None as u8 {
            let _ = self.0.send(Job::Requested);
        }
    }
}

struct Watched {
    attachment: Weak<Attachment>,
    probe: Probe,
}

fn run(jobs: &Receiver<Job>, waker: &Waker) {
    let mut all: Vec<Watched> = Vec::new();
    while let Ok(job) = jobs.recv() {
        if let Job::Watch { attachment, probe } = job {
            all.push(Watched { attachment, probe });
        }
        all.retain(|watched| probe(watched, waker));
    }
}

/// Probes an attachment if a probe was requested. Returns whether to keep the attachment.
fn probe(watched: &Watched, waker: &Waker) -> bool {
    let Some(attachment) = watched.attachment.upgrade() else { return false };
    let pending = attachment.pending.swap(Probing::None as u8, Ordering::AcqRel);
    if pending == Probing::None as u8 {
        return true;
    }
    let now = clock::now();
    let position = (watched.probe)();
    let is_first = position == Position::First;
    if is_first {
        attachment.attached_at.store(now.as_nanos(), Ordering::Release);
    } else {
        attachment.position.store(position as u8, Ordering::Release);
    }
    if pending == Probing::Awaited as u8 || !is_first {
        waker.wake();
    }
    is_first
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::RecvTimeoutError;
    use std::time::Duration;

    use super::*;
    use crate::engine::poll::Poll;

    const SOON: Duration = Duration::from_secs(60);

    #[test]
    fn blocked_probe_does_not_block_the_engine_or_count_as_a_result() {
        let mut poll = Poll::new().expect("a poll");
        let prober = Prober::start(poll.waker(), Realtime::Off).expect("a thread");
        let (begun, has_begun) = channel();
        let (release, released) = channel();
        let attachment = prober.watch(move || {
            let _ = begun.send(());
            released.recv().unwrap_or(Position::Detached)
        });
        has_begun.recv_timeout(SOON).expect("the first probe begins without a request");
        prober.request(&attachment);
        prober.request_awaited(&attachment);
        assert_eq!((attachment.attached_at(), attachment.position()), (Timestamp::ZERO, Position::First));
        let before = clock::now();
        release.send(Position::First).expect("the probe is waiting");
        has_begun.recv_timeout(SOON).expect("the requested probe begins");
        let first = attachment.attached_at();
        assert!(first > Timestamp::ZERO && first <= before, "the timestamp is the start of the probe");
        release.send(Position::First).expect("the probe is waiting");
        poll.wait(None).expect("the engine is woken after an awaited probe");
        assert!(attachment.attached_at() > first);
    }

    #[test]
    fn displaced_program_wakes_the_engine_and_is_not_probed_again() {
        let mut poll = Poll::new().expect("a poll");
        let prober = Prober::start(poll.waker(), Realtime::Off).expect("a thread");
        for position in [Position::Behind, Position::Detached] {
            let (sender, calls) = channel();
            let attachment = prober.watch(move || {
                let _ = sender.send(());
                position
            });
            poll.wait(None).expect("the engine is woken");
            assert_eq!(attachment.position(), position);
            assert_eq!(calls.recv_timeout(SOON), Ok(()));
            assert_eq!(calls.recv_timeout(SOON), Err(RecvTimeoutError::Disconnected));
        }
    }
}
