//! A client that continually sends requests for the VIP to all nodes, so that each node that uses
//! the VIP answers on the wire.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result, anyhow};

use crate::frame::{Arp, Frame};
use crate::inject::Injector;
use crate::lab::Lab;
use crate::station::{Mac, Station, VIP};

/// Pause between two turns. In each turn, the client sends an ARP request to all nodes and an echo
/// request to the MAC of each node.
pub const SPACING: Duration = Duration::from_millis(2);

/// A running client. It stops when dropped.
#[derive(Debug)]
pub struct Client {
    done: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<()>>>,
}

impl Client {
    /// Starts a client on the lab's client host.
    ///
    /// # Errors
    /// Returns an error if the socket or the thread cannot be created.
    pub fn start(lab: &Lab) -> Result<Self> {
        let injector = Injector::open(lab.host(Station::Client)?)?;
        let nodes = lab.stations().filter(|station| *station != Station::Client);
        let mut frames = vec![arp_request()];
        frames.extend(nodes.map(|node| echo_request(node.mac())));
        let done = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&done);
        let body = move || {
            while !flag.load(Ordering::Relaxed) {
                frames.iter().try_for_each(|frame| injector.send(frame))?;
                thread::sleep(SPACING);
            }
            Ok(())
        };
        let thread = thread::Builder::new().name("client".to_owned()).spawn(body);
        Ok(Self { done, thread: Some(thread.context("starting the client's thread")?) })
    }

    /// Stops the client.
    ///
    /// # Errors
    /// Returns an error if a request could not be sent.
    pub fn stop(mut self) -> Result<()> {
        self.join().unwrap_or(Ok(()))
    }

    fn join(&mut self) -> Option<Result<()>> {
        self.done.store(true, Ordering::Relaxed);
        let thread = self.thread.take()?;
        Some(thread.join().unwrap_or_else(|_| Err(anyhow!("the client's thread panicked"))))
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        // Drop cannot report an error.
        let _ = self.join();
    }
}

/// Returns whether a frame is the client's ARP request, the first request of a turn.
pub fn is_request(frame: &Frame) -> bool {
    let asks = |arp: Arp| arp.operation == 1 && arp.target == VIP && arp.sender == Station::Client.ipv4();
    frame.from == Station::Client && frame.arp().is_some_and(asks)
}

/// Returns whether a frame is an answer from the VIP: an ARP reply other than an announcement, or
/// an echo reply.
pub fn is_answer(frame: &Frame) -> bool {
    let is_reply =
        frame.arp().is_some_and(|arp| arp.operation == 2 && arp.sender == VIP && arp.target != VIP);
    is_reply || is_echo_reply(frame)
}

/// Returns whether a frame shows that its sender uses the VIP: an answer, a gratuitous ARP, or an
/// ARP request with the VIP as its source.
pub fn uses_vip(frame: &Frame) -> bool {
    frame.arp().is_some_and(|arp| arp.sender == VIP) || is_echo_reply(frame)
}

fn is_echo_reply(frame: &Frame) -> bool {
    frame.echo().is_some_and(|echo| echo.reply && echo.source == VIP)
}

/// Returns the client's ARP request for the VIP.
pub fn arp_request() -> Vec<u8> {
    let client = Station::Client;
    let mut frame = vec![0xff; 6];
    frame.extend(client.mac().0);
    frame.extend([0x08, 0x06, 0, 1, 8, 0, 6, 4, 0, 1]);
    frame.extend(client.mac().0);
    frame.extend(client.ipv4().octets());
    frame.extend([0; 6]);
    frame.extend(VIP.octets());
    frame
}

fn echo_request(to: Mac) -> Vec<u8> {
    let mut frame = to.0.to_vec();
    frame.extend(Station::Client.mac().0);
    frame.extend([0x08, 0]);
    let mut packet = vec![0x45, 0, 0, 28, 0, 0, 0, 0, 64, 1, 0, 0];
    packet.extend(Station::Client.ipv4().octets());
    packet.extend(VIP.octets());
    let sum = vipd_witness::internet_checksum(&packet);
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
    let mut echo = vec![8, 0, 0, 0, 0x12, 0x34, 0, 1];
    let sum = vipd_witness::internet_checksum(&echo);
    echo[2..4].copy_from_slice(&sum.to_be_bytes());
    frame.extend(packet);
    frame.extend(echo);
    frame
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::WallTime;

    fn frame(bytes: Vec<u8>) -> Frame {
        Frame { time: WallTime::from_parts(0, 0), from: Station::Node(1), bytes }
    }

    fn arp(operation: u8, target: [u8; 4]) -> Frame {
        let mut bytes = arp_request();
        bytes[21] = operation;
        bytes[28..32].copy_from_slice(&VIP.octets());
        bytes[38..42].copy_from_slice(&target);
        frame(bytes)
    }

    #[test]
    fn requests_do_not_use_the_vip() {
        for (bytes, is_first) in [(arp_request(), true), (echo_request(Station::Node(1).mac()), false)] {
            let frame = Frame { from: Station::Client, ..frame(bytes) };
            assert!(!uses_vip(&frame));
            assert_eq!(is_request(&frame), is_first);
        }
        let echo = frame(echo_request(Station::Node(1).mac()));
        assert_eq!(echo.echo().map(|echo| (echo.reply, echo.destination)), Some((false, VIP)));
    }

    #[test]
    fn announcements_and_requests_from_the_vip_are_not_answers() {
        let client = Station::Client.ipv4().octets();
        for (operation, target, answers) in
            [(2, client, true), (1, client, false), (1, VIP.octets(), false), (2, VIP.octets(), false)]
        {
            let frame = arp(operation, target);
            assert!(uses_vip(&frame) && !is_request(&frame));
            assert_eq!(is_answer(&frame), answers, "operation {operation}, target {target:?}");
        }
    }

    #[test]
    fn echo_reply_from_the_vip_is_an_answer() {
        let mut bytes = echo_request(Station::Client.mac());
        bytes[26..30].copy_from_slice(&VIP.octets());
        bytes[34] = 0;
        assert!(is_answer(&frame(bytes.clone())) && uses_vip(&frame(bytes.clone())));
        bytes[26..30].copy_from_slice(&Station::Node(1).ipv4().octets());
        assert!(!uses_vip(&frame(bytes)));
    }
}
