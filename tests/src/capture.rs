//! Captures every frame that enters the switch, exactly once.
//!
//! Frames are captured at the switch's end of each cable, because a capture on a node would miss
//! the frames that an XDP program drops there. Only ingress is captured, so a frame that the switch
//! floods appears once, on the port of its actual sender.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use socket2::Socket;

use crate::frame::Frame;
use crate::links;
use crate::namespace::Namespace;
use crate::packet_socket;
use crate::station::Station;
use crate::time::WallTime;

/// Read timeout, after which the capture thread checks whether to stop.
const STOP_POLL: Duration = Duration::from_millis(20);
/// Size of the buffer for a frame: large enough for frames merged by GRO.
const LONGEST_FRAME: usize = 1 << 16;

/// A running capture. It stops when dropped.
#[derive(Debug)]
pub struct Capture {
    shared: Arc<Shared>,
    reader: Option<JoinHandle<io::Result<()>>>,
}

#[derive(Debug)]
struct Shared {
    frames: Mutex<Vec<Frame>>,
    stop: AtomicBool,
    drops: AtomicU32,
    /// Station to record as the sender of all frames; `None` to derive it from the switch port.
    sender: Option<Station>,
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
        Self::read_from(packet_socket::segment_receiver(interface).and_then(with_timeout), Some(sender))
    }

    fn open(namespace: &Namespace, sender: Option<Station>, interface: u32) -> Result<Self> {
        Self::read_from(namespace.run(move || socket(interface)), sender)
    }

    fn read_from(socket: io::Result<Socket>, sender: Option<Station>) -> Result<Self> {
        let socket =
            socket.context("opening the capture's packet socket (needs CAP_NET_RAW and CAP_NET_ADMIN)")?;
        let shared = Arc::new(Shared {
            frames: Mutex::new(Vec::new()),
            stop: AtomicBool::new(false),
            drops: AtomicU32::new(0),
            sender,
        });
        let reader = thread::Builder::new()
            .name("capture".to_owned())
            .spawn({
                let shared = Arc::clone(&shared);
                move || shared.read(&socket)
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
        let frames = self.shared.frames();
        let first = frames.partition_point(|frame| frame.time < start);
        frames[first..].iter().filter_map(pick).collect()
    }

    /// Returns whether a frame captured at or after `start` satisfies `wanted`.
    pub fn has(&self, start: WallTime, wanted: impl Fn(&Frame) -> bool) -> bool {
        let frames = self.shared.frames();
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
        let drops = self.shared.drops.load(Ordering::Relaxed);
        ensure!(drops == 0, "the capture lost {drops} frames; the machine is overloaded");
        Ok(std::mem::take(&mut *self.shared.frames()))
    }
}

fn socket(interface: u32) -> io::Result<Socket> {
    packet_socket::receiver(interface).and_then(with_timeout)
}

fn with_timeout(socket: Socket) -> io::Result<Socket> {
    socket.set_read_timeout(Some(STOP_POLL))?;
    Ok(socket)
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
    fn frames(&self) -> MutexGuard<'_, Vec<Frame>> {
        self.frames.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads until `stop` is set and the socket is empty.
    fn read(&self, socket: &Socket) -> io::Result<()> {
        let mut buffer = vec![0; LONGEST_FRAME];
        loop {
            // Load `stop` before reading. Once it is set, read only frames that are already queued:
            // waiting for more might never end.
            let stop = self.stop.load(Ordering::Relaxed);
            let receive = if stop { packet_socket::receive_now } else { packet_socket::receive };
            match receive(socket, &mut buffer) {
                Ok(received) => {
                    // Skip frames on the bridge interface itself: they were already captured on a
                    // port.
                    if let Some(from) = self.sender.or_else(|| Station::behind_port(received.interface)) {
                        let bytes = buffer[..received.length].to_vec();
                        self.frames().push(Frame { time: received.time, from, bytes });
                    }
                }
                // A port went down or was deleted. The socket remains usable.
                Err(error) if error.raw_os_error() == Some(libc::ENETDOWN) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if stop {
                        self.drops.fetch_add(packet_socket::drops(socket)?, Ordering::Relaxed);
                        return Ok(());
                    }
                }
                Err(error) => return Err(error),
            }
        }
    }
}
