//! An attacker on the segment, at the switch port of the clients. It receives all adverts, but has
//! no key.
//!
//! | attack | packets |
//! | --- | --- |
//! | spoof | priority 255 or 0 in the name of a node, unsigned or with a wrong HMAC |
//! | cut and paste | the same with the trailer of another advert, or an advert with another VRID |
//! | flood | 3,000 adverts at once with wrong HMACs, in the name of a node or an unknown router |
//! | replay | a captured advert: at once, after 1 s, or after up to 30 s |
//!
//! A flood exceeds a router's budget for signed adverts.
//!
//! All packets have the client's MAC as their Ethernet source. With another source, the switch
//! would forward the clients' packets to the wrong port, which signed adverts cannot prevent.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use socket2::Socket;
use vipd_witness::{Advert, Mac, Trailer, Version};

use crate::frame::{self, Frame};
use crate::lab::Lab;
use crate::links;
use crate::packet_socket;
use crate::random::Random;
use crate::station::{INTERFACE, Station};
use crate::time::WallTime;

/// Pause between two turns.
const SPACING: Duration = Duration::from_millis(20);
/// Setting `window` of the routers' `hmac`, in seconds.
pub(super) const WINDOW: u32 = 2;
/// Time after which a router refuses a replay, whether or not it has received the advert: the
/// window and, because times are compared in whole seconds, one second more.
pub(super) const STALE: Duration = Duration::from_secs(3);
/// Delays of replays, in milliseconds.
const DELAYS: [u64; 7] = [0, 0, 1_000, 1_000, 3_500, 10_000, 30_000];
/// A key that no router has.
const KEY: [u8; 32] = [0xee; 32];
/// Number of packets of a flood. The user space of a router verifies at most 768 adverts of a
/// sender at once, and then 20,000 per second.
const FLOOD: usize = 3_000;
/// How far the sequence of a flood is ahead of the current time, in units of 2⁻³² s: half a second.
/// Without this lead, the rest of a flood would count as replays after the node's next advert.
const AHEAD: u64 = 1 << 31;
/// Size of the buffer for a frame, in bytes.
const LONGEST_FRAME: usize = 2048;

/// A running attacker. It stops when dropped.
#[derive(Debug)]
pub(super) struct Attacker {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Attacker {
    /// Starts an attacker whose packets depend on the seed and on the captured adverts.
    pub(super) fn start(lab: &Lab, seed: u64) -> Result<Self> {
        let client = lab.host(Station::Client)?;
        let (receiver, sender) = client
            .run(|| {
                let interface = links::index(INTERFACE)?;
                anyhow::Ok((packet_socket::segment_receiver(interface)?, packet_socket::sender(interface)?))
            })
            .context("opening the attacker's packet sockets (needs CAP_NET_RAW and CAP_NET_ADMIN)")?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let mut forger = Forger {
            receiver,
            sender,
            random: Random::new(!seed),
            captured: Vec::new(),
            planned: Vec::new(),
        };
        let thread = thread::Builder::new().name("attacker".to_owned()).spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                forger.turn();
                thread::sleep(SPACING);
            }
        });
        Ok(Self { stop, thread: Some(thread.context("starting the attacker")?) })
    }
}

impl Drop for Attacker {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // The thread does not panic.
            let _ = thread.join();
        }
    }
}

struct Forger {
    receiver: Socket,
    sender: Socket,
    random: Random,
    captured: Vec<frame::Advert>,
    /// Replays, each with the time at which it is sent.
    planned: Vec<(Instant, Vec<u8>)>,
}

impl Forger {
    fn turn(&mut self) {
        self.capture();
        let now = Instant::now();
        for (_, frame) in self.planned.extract_if(.., |(due, _)| *due <= now) {
            send(&self.sender, &frame);
        }
        if !self.captured.is_empty() {
            self.forge();
        }
    }

    /// Receives adverts, and plans replays of some of them.
    fn capture(&mut self) {
        let mut buffer = [0; LONGEST_FRAME];
        while let Ok(received) = packet_socket::receive_now(&self.receiver, &mut buffer) {
            let bytes = buffer[..received.length].to_vec();
            let mut frame = Frame { time: WallTime::now(), from: Station::Client, bytes };
            let Some(advert) = frame.advert() else { continue };
            let delay = Duration::from_millis(self.random.pick(&DELAYS));
            // A router that has just started has not received the original, so it may accept a
            // replay within the window. A replay of priority 0 would then cause a takeover.
            let is_accepted = advert.priority == 0 && !delay.is_zero() && delay < STALE;
            if self.random.percent(15) && !is_accepted {
                set_source(&mut frame.bytes, Station::Client.mac());
                self.planned.push((Instant::now() + delay, frame.bytes));
            }
            self.captured.push(advert);
        }
    }

    /// Sends a packet of the attacker's own making.
    fn forge(&mut self) {
        // Half of the packets imitate the latest adverts.
        let count = self.captured.len();
        let from = if self.random.percent(50) { count.saturating_sub(8) } else { 0 };
        let [advert, other] = [(); 2].map(|()| self.captured[from + self.random.below(count - from)].clone());
        let priority = self.random.pick(&[0, 255]);
        let forged = |priority| Advert {
            source_mac: Station::Client.mac(),
            addresses: advert.addresses.clone(),
            interval: advert.interval,
            ..Advert::new(Version::V3, advert.vrid, priority, advert.source)
        };
        let wrong = || Some(Trailer::new(&KEY, 1));
        match self.random.below(50) {
            0 => {
                let trailer = Trailer::new(&KEY, 1);
                let signed = Some(Trailer { sequence: trailer.sequence + AHEAD, ..trailer });
                let source = if self.random.percent(50) { advert.source } else { unknown(advert.source) };
                let flood = Advert { signed, source, ..forged(advert.priority) }.frame();
                for _ in 0..FLOOD {
                    send(&self.sender, &flood);
                }
            }
            1..13 => send(&self.sender, &forged(priority).frame()),
            13..25 => send(&self.sender, &Advert { signed: wrong(), ..forged(priority) }.frame()),
            // With the trailer of an identical message, the packet would be a replay, but at an
            // arbitrary time.
            25..37
                if (other.source, other.vrid, other.priority) != (advert.source, advert.vrid, priority) =>
            {
                let trailer = other.trailer.clone();
                send(&self.sender, &Advert { trailer, ..forged(priority) }.frame());
            }
            37..49 if other.vrid != advert.vrid => {
                let (vrid, trailer) = (other.vrid, advert.trailer.clone());
                send(&self.sender, &Advert { vrid, trailer, ..forged(advert.priority) }.frame());
            }
            _ => {}
        }
    }
}

/// Returns an address on the segment that no node has.
fn unknown(node: IpAddr) -> IpAddr {
    match node {
        IpAddr::V4(address) => (address | Ipv4Addr::new(0, 0, 0, 0x80)).into(),
        IpAddr::V6(address) => (address | Ipv6Addr::new(0, 0, 0, 0, 0, 0, 0, 0x8000)).into(),
    }
}

/// Sets the Ethernet source of a frame.
fn set_source(frame: &mut [u8], mac: Mac) {
    if let Some(source) = frame.get_mut(6..12) {
        source.copy_from_slice(&mac.0);
    }
}

/// Sends a frame. Errors are ignored: a frame that is lost while a link is down is no attack.
fn send(socket: &Socket, frame: &[u8]) {
    let _: io::Result<usize> = socket.send(frame);
}
