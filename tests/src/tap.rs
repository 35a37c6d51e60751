//! Receives the frames that reach a host's network stack.

use std::io;

use anyhow::{Context, Result, ensure};
use socket2::Socket;

use crate::namespace::Namespace;
use crate::packet_socket;

/// Large enough for any frame, including frames merged by GRO.
const LONGEST_FRAME: usize = 1 << 16;

/// A packet socket on a host. It receives frames that a program at TC ingress drops, but not frames
/// that an XDP program drops.
#[derive(Debug)]
pub struct Tap {
    socket: Socket,
}

impl Tap {
    /// Opens a tap on all interfaces of the host.
    ///
    /// # Errors
    /// Returns an error if the socket cannot be opened.
    pub fn open(host: &Namespace) -> Result<Self> {
        let socket = host
            .run(|| packet_socket::receiver(0))
            .context("opening a packet socket (needs CAP_NET_RAW and CAP_NET_ADMIN)")?;
        Ok(Self { socket })
    }

    /// Returns the frames received since the last call, in order.
    ///
    /// # Errors
    /// Returns an error if reading fails, or if the socket's buffer overflowed.
    pub fn drain(&self) -> Result<Vec<Vec<u8>>> {
        let mut buffer = vec![0; LONGEST_FRAME];
        let mut frames = Vec::new();
        loop {
            match packet_socket::receive_now(&self.socket, &mut buffer) {
                Ok(received) => frames.push(buffer[..received.length].to_vec()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.raw_os_error() == Some(libc::ENETDOWN) => {}
                Err(error) => return Err(error).context("reading a packet socket"),
            }
        }
        let drops = packet_socket::drops(&self.socket)?;
        ensure!(drops == 0, "the tap lost {drops} frames");
        Ok(frames)
    }
}
