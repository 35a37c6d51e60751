//! An impaired link: a thread that relays frames between a node's switch port and the bridge, and
//! loses some of them. Frames to the node can also be delayed, duplicated and reordered.
//!
//! The kernel's network emulator (netem) has the same features, but is not part of every kernel.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::retry_on_intr;
use socket2::Socket;

use super::action::Impairment;
use super::scheduling;
use crate::links;
use crate::namespace::Namespace;
use crate::packet_socket;
use crate::random::Random;

/// Longest wait for frames, after which the thread checks whether to stop.
const STOP_POLL: Duration = Duration::from_millis(20);
/// Size of the buffer for a frame, in bytes.
const LONGEST_FRAME: usize = 2048;

/// A running relay. It stops when dropped.
#[derive(Debug)]
pub(crate) struct Relay {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<io::Result<()>>>,
}

impl Relay {
    /// Starts a relay in the switch's namespace between `port`, the interface to the node, and
    /// `stub`, an interface to the bridge.
    ///
    /// # Errors
    /// Returns an error if an interface does not exist, or if the sockets or the thread cannot be
    /// created.
    pub(crate) fn start(
        switch: &Namespace,
        (port, stub): (&str, &str),
        impairment: Impairment,
        random: Random,
    ) -> Result<Self> {
        let (port, stub) = (port.to_owned(), stub.to_owned());
        let (port, stub) = switch
            .run(move || {
                let open = |name: &str| anyhow::Ok(packet_socket::receiver(links::index(name)?)?);
                anyhow::Ok((open(&port)?, open(&stub)?))
            })
            .context("opening the relay's packet sockets")?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = thread::Builder::new().name("relay".to_owned()).spawn(move || {
            // Without CAP_SYS_NICE, the link is merely slower.
            let _ = scheduling::real_time(scheduling::WITNESS);
            let mut link = Link { port, stub, impairment, random, delayed: BinaryHeap::new(), count: 0 };
            while !stopped.load(Ordering::Relaxed) {
                link.turn()?;
            }
            Ok(())
        });
        Ok(Self { stop, thread: Some(thread.context("starting a relay")?) })
    }

    /// Ends the relay.
    ///
    /// # Errors
    /// Returns an error if the relay failed earlier: the link was then cut instead of impaired.
    pub(crate) fn end(mut self) -> Result<()> {
        self.stop().context("relaying frames of an impaired link")
    }

    fn stop(&mut self) -> io::Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        let Some(thread) = self.thread.take() else { return Ok(()) };
        thread.join().unwrap_or_else(|_| Err(io::Error::other("the relay's thread has panicked")))
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        // Drop cannot report an error.
        let _ = self.stop();
    }
}

struct Link {
    port: Socket,
    stub: Socket,
    impairment: Impairment,
    random: Random,
    /// Frames to the node, sorted by due time and then by order of arrival.
    delayed: BinaryHeap<Reverse<(Instant, usize, Vec<u8>)>>,
    count: usize,
}

impl Link {
    fn turn(&mut self) -> io::Result<()> {
        let due = self.delayed.peek().map(|Reverse((due, ..))| due.saturating_duration_since(Instant::now()));
        let wait = due.unwrap_or(STOP_POLL).min(STOP_POLL);
        let timeout = Timespec { tv_sec: 0, tv_nsec: i64::from(wait.subsec_nanos()) };
        let mut ready = [PollFd::new(&self.port, PollFlags::IN), PollFd::new(&self.stub, PollFlags::IN)];
        retry_on_intr(|| poll(&mut ready, Some(&timeout)))?;
        while let Some(frame) = next(&self.stub)? {
            self.impair(frame);
        }
        while let Some(frame) = next(&self.port)? {
            if !self.random.percent(self.impairment.loss_from.into()) {
                send(&self.stub, &frame);
            }
        }
        while self.delayed.peek().is_some_and(|Reverse((due, ..))| *due <= Instant::now())
            && let Some(Reverse((.., frame))) = self.delayed.pop()
        {
            send(&self.port, &frame);
        }
        Ok(())
    }

    fn impair(&mut self, frame: Vec<u8>) {
        let Impairment { loss_to, delay, reorder, duplicate, .. } = self.impairment;
        if self.random.percent(loss_to.into()) {
            return;
        }
        let overtakes = self.random.percent(reorder.into());
        let due = Instant::now() + if overtakes { Duration::ZERO } else { delay };
        if self.random.percent(duplicate.into()) {
            self.delay(due, frame.clone());
        }
        self.delay(due, frame);
    }

    fn delay(&mut self, due: Instant, frame: Vec<u8>) {
        self.count += 1;
        self.delayed.push(Reverse((due, self.count, frame)));
    }
}

fn next(socket: &Socket) -> io::Result<Option<Vec<u8>>> {
    let mut buffer = [0; LONGEST_FRAME];
    match packet_socket::receive_now(socket, &mut buffer) {
        Ok(received) => Ok(Some(buffer[..received.length].to_vec())),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
        // The interface was set down. The socket remains usable.
        Err(error) if error.raw_os_error() == Some(libc::ENETDOWN) => Ok(None),
        Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(None),
        Err(error) => Err(error),
    }
}

/// Sends a frame. If the interface is down, the frame is lost, as on a cut cable.
fn send(socket: &Socket, frame: &[u8]) {
    let _ = socket.send(frame);
}
