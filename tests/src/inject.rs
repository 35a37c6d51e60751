//! Sends arbitrary frames, singly or at a given rate.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use socket2::Socket;

use crate::links;
use crate::namespace::Namespace;
use crate::packet_socket;
use crate::station::INTERFACE;

/// Late frames sent back to back, and the pause after them: a veth queue with an XDP program holds
/// 256.
const BURST: usize = 32;
const BREATH: Duration = Duration::from_micros(50);
/// Frames of a flood per system call.
const BATCH: usize = 32;

/// A socket that sends whole frames from a host's interface.
#[derive(Debug)]
pub struct Injector {
    socket: Socket,
    name: String,
}

/// Result of sending at a rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SendReport {
    /// Frames sent.
    pub sent: usize,
    /// Time from before the first to after the last frame.
    pub elapsed: Duration,
}

impl Injector {
    /// Opens the host's [`INTERFACE`]. Reopen it after the interface was deleted and created again.
    ///
    /// # Errors
    /// When the host has no such interface, or the kernel refuses the socket.
    pub fn open(host: &Namespace) -> Result<Self> {
        Self::open_at(host, INTERFACE)
    }

    /// Opens another interface of the host.
    ///
    /// # Errors
    /// When the host has no such interface, or the kernel refuses the socket.
    pub fn open_at(host: &Namespace, interface: &str) -> Result<Self> {
        let name = host.name().to_owned();
        let wanted = interface.to_owned();
        let socket = host
            .run(move || {
                let interface = links::index(&wanted)?;
                packet_socket::sender(interface).context("binding a packet socket (needs CAP_NET_RAW)")
            })
            .with_context(|| format!("opening {interface} of {name} for sending"))?;
        Ok(Self { socket, name })
    }

    /// Sends a frame.
    ///
    /// # Errors
    /// When the interface is down or deleted, or its queue stays full.
    pub fn send(&self, frame: &[u8]) -> Result<()> {
        let sent = self
            .socket
            .send(frame)
            .with_context(|| format!("sending {} bytes from {}", frame.len(), self.name))?;
        ensure!(sent == frame.len(), "{} sent {sent} of {} bytes", self.name, frame.len());
        Ok(())
    }

    /// Sends `count` frames evenly over `duration`, cycling through `frames`. A machine that cannot
    /// keep the rate sends frames late, but not fewer, and not in bursts that overflow receive
    /// queues.
    ///
    /// # Errors
    /// When `frames` is empty, or one cannot be sent.
    pub fn send_paced(&self, frames: &[Vec<u8>], count: usize, duration: Duration) -> Result<SendReport> {
        ensure!(!frames.is_empty() || count == 0, "no frames to send {count} times");
        let start = Instant::now();
        for (number, frame) in frames.iter().cycle().take(count).enumerate() {
            let part = u32::try_from(number).context("more frames than 2^32")?;
            let whole = u32::try_from(count).context("more frames than 2^32")?;
            let due = start + duration.mul_f64(f64::from(part) / f64::from(whole));
            let early = due.saturating_duration_since(Instant::now());
            if !early.is_zero() {
                thread::sleep(early);
            } else if number.is_multiple_of(BURST) {
                thread::sleep(BREATH);
            }
            self.send(frame)?;
        }
        Ok(SendReport { sent: count, elapsed: start.elapsed() })
    }

    /// Sends frames back to back, with one system call if the kernel accepts all.
    ///
    /// # Errors
    /// When the interface is down or deleted, or its queue stays full.
    pub fn send_all(&self, frames: &[&[u8]]) -> Result<()> {
        packet_socket::send_all(&self.socket, frames)
            .with_context(|| format!("sending {} frames from {}", frames.len(), self.name))
    }

    /// Sends frames in turn for `duration`, at `rate` per second, or as fast as one thread can
    /// without a rate. Late frames are sent without a pause and may overflow receive queues.
    ///
    /// # Errors
    /// As [`Injector::send_all`].
    pub fn flood(&self, frames: &[Vec<u8>], rate: Option<u32>, duration: Duration) -> Result<SendReport> {
        let mut turns = frames.iter().map(Vec::as_slice).cycle();
        let mut batch = Vec::with_capacity(BATCH);
        let pause = rate.map(|rate| Duration::from_secs(BATCH as u64) / rate);
        let (start, mut sent) = (Instant::now(), 0);
        while start.elapsed() < duration {
            if let Some(pause) = pause {
                let due = start + pause * u32::try_from(sent / BATCH).context("more batches than 2^32")?;
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

impl SendReport {
    /// Frames per second.
    pub fn rate(self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "frames of seconds")]
        let sent = self.sent as f64;
        sent / self.elapsed.as_secs_f64()
    }
}
