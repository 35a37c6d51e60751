//! Pings a host at a fixed interval.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use socket2::{Domain, Protocol, Socket, Type};

use crate::namespace::Namespace;
use crate::packet_socket;
use crate::time::WallTime;

/// Read timeout, after which the receiver checks whether to stop. The receiver also waits this
/// long for replies to the last probes.
const STOP_POLL: Duration = Duration::from_millis(20);
/// Next ICMP identifier. Each prober needs its own, because a raw socket receives the replies to
/// all probers.
static NEXT_IDENTIFIER: AtomicU16 = AtomicU16::new(1);

const ECHO_REPLY: u8 = 0;
const ECHO_REQUEST: u8 = 8;
/// Length of type, code, checksum, identifier, sequence number, and the 64-bit probe number.
const PROBE_LENGTH: usize = 16;

/// One echo request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Probe {
    /// Send time.
    pub sent: WallTime,
    /// Kernel receive timestamp of the first reply; `None` if there was none.
    pub answered: Option<WallTime>,
}

/// All probes, in the order in which they were sent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Probes(pub Vec<Probe>);

impl Probes {
    /// Returns the number of probes sent.
    pub fn sent(&self) -> usize {
        self.0.len()
    }

    /// Returns the number of probes without a reply.
    pub fn lost(&self) -> usize {
        self.0.iter().filter(|probe| probe.answered.is_none()).count()
    }

    /// Returns the start and length of the longest gap between consecutive replies, that is, the
    /// outage of the VIP. Returns `None` if there are fewer than two replies.
    pub fn longest_gap(&self) -> Option<(WallTime, Duration)> {
        let mut answers: Vec<_> = self.0.iter().filter_map(|probe| probe.answered).collect();
        answers.sort_unstable();
        answers
            .windows(2)
            .map(|pair| (pair[0], pair[1].saturating_since(pair[0])))
            .max_by_key(|&(_, gap)| gap)
    }

    /// Returns the time of the first reply at or after `time`.
    pub fn first_reply_since(&self, time: WallTime) -> Option<WallTime> {
        self.0.iter().filter_map(|probe| probe.answered).filter(|&answered| answered >= time).min()
    }
}

/// Sends pings and receives the replies on two threads, which stop when the prober is dropped.
#[derive(Debug)]
pub struct Prober {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<io::Result<()>>>,
}

#[derive(Debug)]
struct Shared {
    socket: Socket,
    identifier: u16,
    probes: Mutex<Vec<Probe>>,
    stop: AtomicBool,
}

impl Prober {
    /// Starts pinging `target` from a namespace, with one probe every `spacing`.
    ///
    /// # Errors
    /// Returns an error if the socket or a thread cannot be created.
    pub fn start(client: &Namespace, target: Ipv4Addr, spacing: Duration) -> Result<Self> {
        let socket = client
            .run(move || {
                let socket = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::ICMPV4))?;
                packet_socket::stamp(&socket)?;
                socket.set_read_timeout(Some(STOP_POLL))?;
                socket.connect(&SocketAddrV4::new(target, 0).into())?;
                io::Result::Ok(socket)
            })
            .with_context(|| format!("opening a raw ICMP socket to {target} (needs CAP_NET_RAW)"))?;
        let shared = Arc::new(Shared {
            socket,
            identifier: NEXT_IDENTIFIER.fetch_add(1, Ordering::Relaxed),
            probes: Mutex::new(Vec::new()),
            stop: AtomicBool::new(false),
        });
        let mut prober = Self { shared: Arc::clone(&shared), threads: Vec::new() };
        let receiver = Arc::clone(&shared);
        prober.threads.push(spawn("ping receiver", move || receiver.receive())?);
        prober.threads.push(spawn("ping sender", move || shared.send(spacing))?);
        Ok(prober)
    }

    /// Returns the ICMP identifier of this prober.
    pub fn identifier(&self) -> u16 {
        self.shared.identifier
    }

    /// Returns the number of probes answered so far.
    pub fn answered(&self) -> usize {
        self.shared.probes().iter().filter(|probe| probe.answered.is_some()).count()
    }

    /// Returns the time of the first reply at or after `time`, if any.
    pub fn first_reply_since(&self, time: WallTime) -> Option<WallTime> {
        let probes = self.shared.probes();
        // Includes replies to probes that were sent up to one round trip before `time`.
        probes.iter().filter_map(|probe| probe.answered).filter(|&answered| answered >= time).min()
    }

    /// Stops pinging and returns all probes.
    ///
    /// # Errors
    /// Returns an error if sending or receiving failed for a reason other than the state of the
    /// network or a full queue.
    pub fn stop(mut self) -> Result<Probes> {
        self.shared.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            match thread.join() {
                Ok(result) => result.context("pinging")?,
                Err(_) => bail!("a thread of the prober panicked"),
            }
        }
        Ok(Probes(std::mem::take(&mut *self.shared.probes())))
    }
}

impl Drop for Prober {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            // Drop cannot report an error.
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn probes(&self) -> MutexGuard<'_, Vec<Probe>> {
        self.probes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn send(&self, spacing: Duration) -> io::Result<()> {
        let mut due = Instant::now();
        while !self.stop.load(Ordering::Relaxed) {
            let number = {
                let mut probes = self.probes();
                probes.push(Probe { sent: WallTime::now(), answered: None });
                probes.len() - 1
            };
            match self.socket.send(&echo_request(self.identifier, number)) {
                Ok(_) => {}
                // No route, no ARP reply or a full queue: the probe is lost, which is not an error.
                Err(error) if is_network_state(&error) => {}
                Err(error) => return Err(error),
            }
            due += spacing;
            thread::sleep(due.saturating_duration_since(Instant::now()));
        }
        Ok(())
    }

    fn receive(&self) -> io::Result<()> {
        let mut buffer = [0; 256];
        let mut stopping_since = None;
        loop {
            // Stop after a fixed time: replies to other probers may keep arriving on this socket.
            if self.stop.load(Ordering::Relaxed)
                && stopping_since.get_or_insert_with(Instant::now).elapsed() >= STOP_POLL
            {
                return Ok(());
            }
            match packet_socket::receive(&self.socket, &mut buffer) {
                Ok(received) => {
                    if let Some(number) = answered_probe(&buffer[..received.length], self.identifier)
                        && let Some(probe) = self.probes().get_mut(number)
                    {
                        // With two masters, there are two replies; the client uses the first.
                        probe.answered.get_or_insert(received.time);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) if is_network_state(&error) => {}
                Err(error) => return Err(error),
            }
        }
    }
}

fn spawn(
    name: &str,
    body: impl FnOnce() -> io::Result<()> + Send + 'static,
) -> Result<JoinHandle<io::Result<()>>> {
    thread::Builder::new().name(name.to_owned()).spawn(body).with_context(|| format!("starting the {name}"))
}

fn is_network_state(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(
            libc::EHOSTUNREACH
                | libc::ENETUNREACH
                | libc::ENETDOWN
                | libc::EHOSTDOWN
                | libc::ENOBUFS
                | libc::ECONNREFUSED
                | libc::EINTR
        )
    )
}

fn echo_request(identifier: u16, number: usize) -> [u8; PROBE_LENGTH] {
    let number = (number as u64).to_be_bytes();
    let mut packet = [0; PROBE_LENGTH];
    packet[0] = ECHO_REQUEST;
    packet[4..6].copy_from_slice(&identifier.to_be_bytes());
    packet[6..8].copy_from_slice(&number[6..]);
    packet[8..].copy_from_slice(&number);
    let checksum = vipd_witness::internet_checksum(&packet);
    packet[2..4].copy_from_slice(&checksum.to_be_bytes());
    packet
}

/// Returns the probe number of the echo reply in an IPv4 packet, or `None` if the packet is not a
/// reply to this prober.
fn answered_probe(packet: &[u8], identifier: u16) -> Option<usize> {
    let icmp = packet.get(usize::from(packet.first()? & 0xf) * 4..)?;
    let ours = *icmp.first()? == ECHO_REPLY && *icmp.get(4..6)? == identifier.to_be_bytes();
    let number = u64::from_be_bytes(icmp.get(8..PROBE_LENGTH)?.try_into().ok()?);
    ours.then(|| usize::try_from(number).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: i64) -> WallTime {
        WallTime::from_parts(1, millis * 1_000_000)
    }

    #[test]
    fn longest_gap_is_between_replies_not_between_probes() {
        let probe = |sent, answered: Option<i64>| Probe { sent: at(sent), answered: answered.map(at) };
        let probes = Probes(vec![
            probe(0, Some(1)),
            probe(10, None),
            probe(20, None),
            probe(30, Some(36)),
            probe(40, Some(41)),
        ]);
        assert_eq!((probes.sent(), probes.lost()), (5, 2));
        assert_eq!(probes.longest_gap(), Some((at(1), Duration::from_millis(35))));
        assert_eq!(probes.first_reply_since(at(2)), Some(at(36)));
        assert_eq!(probes.first_reply_since(at(42)), None);
        assert_eq!(Probes::default().longest_gap(), None);
    }

    #[test]
    fn reply_matches_only_probes_of_its_prober() {
        let mut reply = vec![0x45; 20];
        reply.extend(echo_request(7, 70_000));
        assert_eq!(answered_probe(&reply, 7), None, "a request is not a reply");
        reply[20] = ECHO_REPLY;
        assert_eq!(answered_probe(&reply, 7), Some(70_000), "not truncated to the 16-bit sequence number");
        assert_eq!(answered_probe(&reply, 8), None, "another prober");
        assert_eq!(answered_probe(&reply[..30], 7), None, "truncated");
    }
}
