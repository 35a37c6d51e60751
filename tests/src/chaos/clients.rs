//! Clients that continuously send questions about all addresses.
//!
//! In each turn, three kinds of questions are sent for each router: an ARP request or Neighbor
//! Solicitation to all nodes, a ping to the MAC that the client has learned, and a ping to each
//! node. The last kind is sent at the node's switch port, so that it reaches a node that still
//! answers for a virtual MAC that the switch has learned at another port.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use socket2::Socket;

use super::observation::{DIRECT, LEARNED, SOURCES, source4, source6};
use super::questions;
use super::scheduling;
use super::segment::Segment;
use super::wire::Learned;
use crate::lab::Lab;
use crate::links;
use crate::packet_socket;
use crate::station::{INTERFACE, PREFIX, PREFIX6, Station};

/// Time between the starts of consecutive turns.
const SPACING: Duration = Duration::from_millis(10);

/// Running clients. They stop when dropped.
#[derive(Debug)]
pub(super) struct Clients {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Clients {
    /// Starts the clients.
    pub(super) fn start(lab: &Lab, segment: &Segment, learned: Learned) -> Result<Self> {
        let client = lab.host(Station::Client)?;
        let socket = client
            .run(|| {
                for number in 0..SOURCES {
                    // The client's kernel must answer ARP and ND for the source addresses of the
                    // questions.
                    links::add_address(INTERFACE, source4(number), PREFIX)?;
                    links::add_address(INTERFACE, source6(number), PREFIX6)?;
                }
                anyhow::Ok(packet_socket::sender(links::index(INTERFACE)?)?)
            })
            .context("preparing the client's interface (needs CAP_NET_RAW and CAP_NET_ADMIN)")?;
        let at_port = |node: u8| {
            let port = Station::Node(node).port_name();
            let socket =
                lab.switch().run(move || anyhow::Ok(packet_socket::sender(links::index(&port)?)?))?;
            anyhow::Ok((node, socket))
        };
        let ports = segment.nodes().map(at_port).collect::<Result<_>>()?;
        let stop = Arc::new(AtomicBool::new(false));
        let mut asker = Asker { segment: segment.clone(), learned, socket, ports, number: 0 };
        let stopped = Arc::clone(&stop);
        let thread = thread::Builder::new().name("clients".to_owned()).spawn(move || {
            // Without CAP_SYS_NICE, load on the machine makes gaps longer.
            let _ = scheduling::real_time(scheduling::WITNESS);
            let mut due = Instant::now();
            while !stopped.load(Ordering::Relaxed) {
                asker.ask();
                due = (due + SPACING).max(Instant::now());
                thread::sleep(due.saturating_duration_since(Instant::now()));
            }
        });
        Ok(Self { stop, thread: Some(thread.context("starting the clients")?) })
    }
}

impl Drop for Clients {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // The thread does not panic.
            let _ = thread.join();
        }
    }
}

struct Asker {
    segment: Segment,
    learned: Learned,
    socket: Socket,
    /// For each node, a socket that sends frames from the switch to the node.
    ports: Vec<(u8, Socket)>,
    number: u16,
}

impl Asker {
    fn ask(&mut self) {
        self.number = self.number.wrapping_add(1);
        for (index, router) in self.segment.routers.iter().enumerate() {
            send(&self.socket, &questions::neighbor(router, self.number));
            if let Some(mac) = self.learned.get(index) {
                send(&self.socket, &questions::echo(router, mac, LEARNED, self.number));
            }
            for (node, socket) in &self.ports {
                send(socket, &questions::echo(router, router.mac(*node), DIRECT, self.number));
            }
        }
    }
}

/// Sends a frame. Errors are ignored, because a question that is lost while a link is down is part
/// of the fault.
fn send(socket: &Socket, frame: &[u8]) {
    let _: io::Result<usize> = socket.send(frame);
}
