//! Sends arbitrary frames, one at a time or at a given rate.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustix::thread::{CpuSet, sched_getaffinity, sched_getcpu, sched_setaffinity};
use socket2::Socket;

use crate::links;
use crate::namespace::Namespace;
use crate::packet_socket;
use crate::station::INTERFACE;

/// Maximum number of late frames sent back to back before a pause. The receive queue of a veth with
/// an XDP program holds 256 frames.
const BURST: usize = 32;
/// Pause after a burst of late frames.
const BURST_PAUSE: Duration = Duration::from_micros(50);
/// Frames per system call of a flood.
const BATCH: usize = 32;

/// A packet socket that sends raw frames from an interface of a host.
#[derive(Debug)]
pub struct Injector {
    socket: Socket,
    name: String,
}

/// The number of frames sent, and the time taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SendReport {
    /// Number of frames sent.
    pub sent: usize,
    /// Time from just before the first frame to just after the last.
    pub elapsed: Duration,
}

impl Injector {
    /// Opens the host's [`INTERFACE`] for sending. If the interface is deleted and created again,
    /// open a new injector.
    ///
    /// # Errors
    /// Returns an error if the host has no such interface, or the socket cannot be opened.
    pub fn open(host: &Namespace) -> Result<Self> {
        Self::open_at(host, INTERFACE)
    }

    /// Opens another interface of the host for sending.
    ///
    /// # Errors
    /// Returns an error if the host has no such interface, or the socket cannot be opened.
    pub fn open_at(host: &Namespace, interface: &str) -> Result<Self> {
        let name = host.name().to_owned();
        let wanted = interface.to_owned();
        let socket = host
            .run(move || {
                let interface = links::index(&wanted)?;
                packet_socket::sender(interface).context("binding a packet socket (needs CAP_NET_RAW)")
            })
            .with_context(|| format!("opening {interface} on {name} for sending"))?;
        Ok(Self { socket, name })
    }

    /// Opens an interface of the calling thread's namespace for sending.
    ///
    /// # Errors
    /// Returns an error if the socket cannot be opened.
    pub fn of_interface(name: &str, index: u32) -> Result<Self> {
        let socket = packet_socket::sender(index)
            .with_context(|| format!("opening {name} for sending (needs CAP_NET_RAW)"))?;
        Ok(Self { socket, name: name.to_owned() })
    }

    /// Sends a frame.
    ///
    /// # Errors
    /// Returns an error if the interface is down or deleted, or its queue is full.
    pub fn send(&self, frame: &[u8]) -> Result<()> {
        let sent = self
            .socket
            .send(frame)
            .with_context(|| format!("sending {} bytes from {}", frame.len(), self.name))?;
        ensure!(sent == frame.len(), "{} sent {sent} of {} bytes", self.name, frame.len());
        Ok(())
    }

    /// Sends `count` frames spread evenly over `duration`, cycling through `frames`. If the machine
    /// cannot keep up, frames are sent late, but none are dropped and bursts are too short to
    /// overflow receive queues.
    ///
    /// # Errors
    /// Returns an error if `frames` is empty and `count` is not 0, if `count` exceeds 32 bits, if a
    /// frame cannot be sent, or if the thread cannot be bound to its CPU.
    pub fn send_paced(&self, frames: &[Vec<u8>], count: usize, duration: Duration) -> Result<SendReport> {
        ensure!(!frames.is_empty() || count == 0, "no frames to send {count} times");
        let _pinned = Pinned::to_current_cpu()?;
        let start = Instant::now();
        for (number, frame) in frames.iter().cycle().take(count).enumerate() {
            let part = u32::try_from(number).context("too many frames")?;
            let whole = u32::try_from(count).context("too many frames")?;
            let due = start + duration.mul_f64(f64::from(part) / f64::from(whole));
            let early = due.saturating_duration_since(Instant::now());
            if !early.is_zero() {
                thread::sleep(early);
            } else if number.is_multiple_of(BURST) {
                thread::sleep(BURST_PAUSE);
            }
            self.send(frame)?;
        }
        Ok(SendReport { sent: count, elapsed: start.elapsed() })
    }

    /// Sends frames back to back, with a single system call if the kernel accepts them all.
    ///
    /// # Errors
    /// Returns an error if the interface is down or deleted, or its queue is full.
    pub fn send_all(&self, frames: &[&[u8]]) -> Result<()> {
        packet_socket::send_all(&self.socket, frames)
            .with_context(|| format!("sending {} frames from {}", frames.len(), self.name))
    }

    /// Cycles through `frames` for `duration`, sending `rate` frames per second, or as many as one
    /// thread can if `rate` is `None`. Late frames are sent without a pause and may overflow
    /// receive queues.
    ///
    /// # Errors
    /// See [`Injector::send_all`].
    pub fn flood(&self, frames: &[Vec<u8>], rate: Option<u32>, duration: Duration) -> Result<SendReport> {
        let mut turns = frames.iter().map(Vec::as_slice).cycle();
        let mut batch = Vec::with_capacity(BATCH);
        let pause = rate.map(|rate| Duration::from_secs(BATCH as u64) / rate);
        let (start, mut sent) = (Instant::now(), 0);
        while start.elapsed() < duration {
            if let Some(pause) = pause {
                let due = start + pause * u32::try_from(sent / BATCH).context("more than 2^32 batches")?;
                thread::sleep(due.saturating_duration_since(Instant::now()));
            }
            batch.clear();
            batch.extend(turns.by_ref().take(BATCH));
            self.send_all(&batch)?;
            sent += batch.len();
        }
        Ok(SendReport { sent, elapsed: start.elapsed() })
    }
}

/// Keeps the calling thread on its CPU until dropped.
///
/// A veth delivers frames on the CPU that sent the first of them. If the sender moved to another
/// CPU, and the hypervisor stopped the previous CPU, the receive queue would overflow.
struct Pinned {
    allowed: CpuSet,
}

impl Pinned {
    fn to_current_cpu() -> Result<Self> {
        let allowed = sched_getaffinity(None).context("reading the CPUs of the thread")?;
        let mut only = CpuSet::new();
        only.set(sched_getcpu());
        sched_setaffinity(None, &only).context("binding the thread to its CPU")?;
        Ok(Self { allowed })
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        // Drop cannot report an error.
        let _ = sched_setaffinity(None, &self.allowed);
    }
}

impl SendReport {
    /// Returns the average rate, in frames per second.
    pub fn rate(self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "far fewer than 2^53 frames")]
        let sent = self.sent as f64;
        sent / self.elapsed.as_secs_f64()
    }
}
