//! Captures every frame that enters the switch, exactly once.
//!
//! Frames are captured at the switch's end of each cable, because a capture on a node would miss
//! the frames that an XDP program drops there. Only ingress is captured, so a frame that the switch
//! floods appears once, on the port of its actual sender.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use anyhow::{Context, Result, bail, ensure};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::retry_on_intr;
use socket2::Socket;

use crate::frame::Frame;
use crate::links;
use crate::namespace::Namespace;
use crate::packet_socket;
use crate::station::Station;
use crate::time::WallTime;

/// Timeout of a wait for frames, after which the capture thread checks whether to stop.
const STOP_POLL: Timespec = Timespec { tv_sec: 0, tv_nsec: 20_000_000 };
/// Size of the buffer for a frame: large enough for frames merged by GRO.
const LONGEST_FRAME: usize = 1 << 16;

/// A running capture. It stops when dropped.
///
/// A query also covers the frames that reached a port before the query, but have not yet been read
/// by the capture's thread.
///
/// # Panics
/// A query panics if reading fails.
#[derive(Debug)]
pub struct Capture {
    shared: Arc<Shared>,
    reader: Option<JoinHandle<io::Result<()>>>,
}

#[derive(Debug)]
struct Shared {
    socket: Socket,
    received: Mutex<Received>,
    stop: AtomicBool,
    /// Station to record as the sender of all frames; `None` to derive it from the switch port.
    sender: Option<Station>,
}

#[derive(Debug)]
struct Received {
    frames: Vec<Frame>,
    buffer: Vec<u8>,
}

impl Capture {
    /// Starts a capture in the switch's namespace. Captures every frame sent after this function
    /// returns.
    ///
    /// # Errors
    /// Returns an error if the socket or the thread cannot be created.
    pub fn start(switch: &Namespace) -> Result<Self> {
        Self::open(switch, None, 0)
    }

    /// Starts a capture, in the switch's namespace, of one station's frames only. Under a flood, a
    /// capture of all ports would lose frames.
    ///
    /// # Errors
    /// Returns an error if the station is not plugged in, or the socket or the thread cannot be
    /// created.
    pub fn of_station(switch: &Namespace, station: Station) -> Result<Self> {
        let port = station.port_name();
        let interface = switch.run(move || links::index(&port))?;
        Self::open(switch, Some(station), interface)
    }

    /// Starts a capture of the untagged VRRP, ARP, ICMP and ICMPv6 frames that arrive at an
    /// interface of the calling thread's namespace. `sender` is recorded as the sender of all
    /// frames.
    ///
    /// # Errors
    /// Returns an error if the socket or the thread cannot be created.
    pub fn of_interface(interface: u32, sender: Station) -> Result<Self> {
        Self::read_from(packet_socket::segment_receiver(interface), Some(sender))
    }

    fn open(namespace: &Namespace, sender: Option<Station>, interface: u32) -> Result<Self> {
        Self::read_from(namespace.run(move || packet_socket::receiver(interface)), sender)
    }

    fn read_from(socket: io::Result<Socket>, sender: Option<Station>) -> Result<Self> {
        let socket =
            socket.context("opening the capture's packet socket (needs CAP_NET_RAW and CAP_NET_ADMIN)")?;
        let received = Received { frames: Vec::new(), buffer: vec![0; LONGEST_FRAME] };
        let stop = AtomicBool::new(false);
        let shared = Arc::new(Shared { socket, received: Mutex::new(received), stop, sender });
        let reader = thread::Builder::new()
            .name("capture".to_owned())
            .spawn({
                let shared = Arc::clone(&shared);
                move || shared.read()
            })
            .context("starting the capture's thread")?;
        Ok(Self { shared, reader: Some(reader) })
    }

    /// Returns the frames captured at or after `start`, in order of arrival.
    pub fn since(&self, start: WallTime) -> Vec<Frame> {
        self.filter_map(start, |frame| Some(frame.clone()))
    }

    /// Applies `pick` to the frames captured at or after `start`, in order of arrival, and returns
    /// its results. Cheaper than [`Capture::since`] if few frames match.
    pub fn filter_map<T>(&self, start: WallTime, pick: impl FnMut(&Frame) -> Option<T>) -> Vec<T> {
        let frames = &self.shared.current().frames;
        let first = frames.partition_point(|frame| frame.time < start);
        frames[first..].iter().filter_map(pick).collect()
    }

    /// Returns whether a frame captured at or after `start` satisfies `wanted`.
    pub fn has(&self, start: WallTime, wanted: impl Fn(&Frame) -> bool) -> bool {
        let frames = &self.shared.current().frames;
        frames.iter().rev().take_while(|frame| frame.time >= start).any(wanted)
    }

    /// Stops the capture and returns all frames, in order of arrival.
    ///
    /// # Errors
    /// Returns an error if reading failed, or if the kernel dropped frames because the reader was
    /// too slow.
    pub fn stop(mut self) -> Result<Vec<Frame>> {
        self.shared.stop.store(true, Ordering::Relaxed);
        let Some(reader) = self.reader.take() else { bail!("the capture was already stopped") };
        match reader.join() {
            Ok(result) => result.context("reading the capture's packet socket")?,
            Err(_) => bail!("the capture thread panicked"),
        }
        let mut received = self.shared.received();
        let drops = packet_socket::drops(&self.shared.socket).context("reading the capture's statistics")?;
        ensure!(drops == 0, "the capture lost {drops} frames; the machine is overloaded");
        Ok(std::mem::take(&mut received.frames))
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        if let Some(reader) = self.reader.take() {
            // Drop cannot report an error.
            let _ = reader.join();
        }
    }
}

impl Shared {
    fn received(&self) -> MutexGuard<'_, Received> {
        self.received.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads the queued frames, and returns all frames received so far.
    fn current(&self) -> MutexGuard<'_, Received> {
        let mut received = self.received();
        self.drain(&mut received).expect("the capture's packet socket can be read");
        received
    }

    /// Reads frames until `stop` is set.
    fn read(&self) -> io::Result<()> {
        loop {
            // Load `stop` before the frames are read, to read those that arrived before it was set.
            let stop = self.stop.load(Ordering::Relaxed);
            self.drain(&mut self.received())?;
            if stop {
                return Ok(());
            }
            let mut ready = [PollFd::new(&self.socket, PollFlags::IN)];
            retry_on_intr(|| poll(&mut ready, Some(&STOP_POLL)))?;
        }
    }

    /// Reads the frames that arrived before this call. Waiting for an empty queue might never end.
    fn drain(&self, received: &mut Received) -> io::Result<()> {
        let start = WallTime::now();
        let Received { frames, buffer } = received;
        loop {
            match packet_socket::receive_now(&self.socket, buffer) {
                Ok(packet) => {
                    // Skip frames on the bridge interface itself: they were already captured on a
                    // port.
                    if let Some(from) = self.sender.or_else(|| Station::behind_port(packet.interface)) {
                        let bytes = buffer[..packet.length].to_vec();
                        frames.push(Frame { time: packet.time, from, bytes });
                    }
                    if packet.time > start {
                        return Ok(());
                    }
                }
                // The interface to which the socket is bound went down or was deleted. The socket
                // receives again once the interface is up, but never after a deletion.
                Err(error) if error.raw_os_error() == Some(libc::ENETDOWN) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }
}
