//! Captures all frames at the switch's ports, in both directions.
//!
//! A frame to a node is captured when the switch sends it to the node, after any delay; a frame
//! from a node is captured when it enters the switch, before it may be lost. All timestamps come
//! from one clock.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use socket2::Socket;

use super::observation::{Interpreter, Meaning, Question};
use super::scheduling;
use super::segment::Segment;
use crate::namespace::Namespace;
use crate::packet_socket;
use crate::station::{Mac, Station};
use crate::time::WallTime;

/// Read timeout, after which the thread checks whether to stop.
const STOP_POLL: Duration = Duration::from_millis(20);
/// Size of the buffer for a frame, in bytes.
const LONGEST_FRAME: usize = 1 << 16;
/// Flag above the MAC's 48 bits, set once a MAC has been learned.
const PRESENT: u64 = 1 << 48;

/// A captured frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Kernel timestamp.
    pub time: WallTime,
    /// Station behind the switch port.
    pub port: Station,
    /// Whether the station sent the frame; otherwise the frame was sent to it.
    pub sent: bool,
    /// The frame, starting with the destination MAC.
    pub bytes: Vec<u8>,
}

/// The MAC that the client has learned for each router, as in its neighbor table.
#[derive(Debug, Clone)]
pub(crate) struct Learned(Arc<[AtomicU64]>);

/// A running capture. It stops when dropped.
#[derive(Debug)]
pub(crate) struct Wire {
    shared: Arc<Shared>,
    socket: Arc<Socket>,
    reader: Option<JoinHandle<io::Result<()>>>,
}

#[derive(Debug)]
struct Shared {
    records: Mutex<Vec<Record>>,
    stop: AtomicBool,
}

impl Learned {
    fn new(routers: usize) -> Self {
        Self((0..routers).map(|_| AtomicU64::new(0)).collect())
    }

    /// Returns the MAC of a router, if the client has learned one.
    pub(crate) fn get(&self, router: usize) -> Option<Mac> {
        let value = self.0.get(router)?.load(Ordering::Relaxed);
        let [_, _, mac @ ..] = (value & !PRESENT).to_be_bytes();
        (value & PRESENT != 0).then_some(Mac(mac))
    }

    fn set(&self, router: usize, mac: [u8; 6]) {
        let value = mac.iter().fold(0, |value, byte| value << 8 | u64::from(*byte)) | PRESENT;
        if let Some(slot) = self.0.get(router) {
            slot.store(value, Ordering::Relaxed);
        }
    }
}

impl Wire {
    /// Starts a capture in the switch's namespace. Also returns the MACs that the client learns
    /// while the capture runs.
    ///
    /// # Errors
    /// Returns an error if the socket or the thread cannot be created.
    pub(crate) fn start(switch: &Namespace, segment: &Segment) -> Result<(Self, Learned)> {
        let socket = switch
            .run(|| {
                let socket = packet_socket::tap()?;
                socket.set_read_timeout(Some(STOP_POLL))?;
                io::Result::Ok(socket)
            })
            .context("opening the capture's packet socket (needs CAP_NET_RAW and CAP_NET_ADMIN)")?;
        let socket = Arc::new(socket);
        let shared = Arc::new(Shared { records: Mutex::new(Vec::new()), stop: AtomicBool::new(false) });
        let learned = Learned::new(segment.routers.len());
        let mut client = Client { interpreter: Interpreter::new(segment), learned: learned.clone() };
        let reader = thread::Builder::new().name("wire".to_owned()).spawn({
            let (shared, socket) = (Arc::clone(&shared), Arc::clone(&socket));
            move || {
                // Without CAP_SYS_NICE, load on the machine delays this thread. The delay does not
                // matter, since the kernel stamps the frames.
                let _ = scheduling::real_time(scheduling::WITNESS);
                shared.read(&socket, &mut client)
            }
        });
        Ok((Self { shared, socket, reader: Some(reader.context("starting the capture's thread")?) }, learned))
    }

    /// Returns the frames captured since the last call, in the order of their timestamps. Keeps
    /// frames stamped after `until` for the next call.
    ///
    /// # Errors
    /// Returns an error if the capture has failed, or if the kernel dropped frames.
    pub(crate) fn take(&mut self, until: WallTime) -> Result<Vec<Record>> {
        if self.reader.as_ref().is_none_or(JoinHandle::is_finished) {
            match self.reader.take().map(JoinHandle::join) {
                Some(Ok(Err(error))) => return Err(error).context("reading the capture's packet socket"),
                _ => bail!("the capture has stopped"),
            }
        }
        ensure_no_drops(&self.socket)?;
        let mut all = std::mem::take(&mut *self.shared.records());
        // Frames received on different CPUs may be queued out of timestamp order.
        all.sort_by_key(|record| record.time);
        let later = all.split_off(all.partition_point(|record| record.time <= until));
        self.shared.records().splice(0..0, later);
        Ok(all)
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        if let Some(reader) = self.reader.take() {
            // Drop cannot report an error.
            let _ = reader.join();
        }
    }
}

/// Learns the MACs of the routers from the frames that the client receives.
struct Client {
    interpreter: Interpreter,
    learned: Learned,
}

impl Client {
    fn learn(&mut self, record: &Record) {
        if let Some(observation) = self.interpreter.read(record)
            && matches!(observation.meaning, Meaning::Answer(Question::Neighbor(_)) | Meaning::Announcement)
            && let Some(mac) = record.bytes.get(6..12).and_then(|mac| mac.try_into().ok())
        {
            self.learned.set(observation.router, mac);
        }
    }
}

impl Shared {
    fn records(&self) -> MutexGuard<'_, Vec<Record>> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read(&self, socket: &Socket, client: &mut Client) -> io::Result<()> {
        let mut buffer = vec![0; LONGEST_FRAME];
        while !self.stop.load(Ordering::Relaxed) {
            match packet_socket::receive(socket, &mut buffer) {
                Ok(received) => {
                    // Skips frames at the bridges and at the ends of impaired links: no station is
                    // behind these interfaces.
                    let Some(port) = Station::behind_port(received.interface) else { continue };
                    let bytes = buffer[..received.length].to_vec();
                    let record = Record { time: received.time, port, sent: !received.outgoing, bytes };
                    if port == Station::Client && !record.sent {
                        client.learn(&record);
                    }
                    self.records().push(record);
                }
                Err(error) if error.raw_os_error() == Some(libc::ENETDOWN) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// Returns an error if the kernel has dropped frames: without them, lawful behavior could look
/// unlawful.
fn ensure_no_drops(socket: &Socket) -> io::Result<()> {
    match packet_socket::drops(socket)? {
        0 => Ok(()),
        drops => Err(io::Error::other(format!("the capture lost {drops} frames; the machine is overloaded"))),
    }
}
