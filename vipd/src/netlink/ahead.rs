//! A thread that makes changes while its owner goes on with those that are made.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use netlink_sys::Socket;

use super::monitor::for_each;

/// A datagram of requests, of which the last wants an answer.
#[derive(Debug)]
pub(super) struct Exchange {
    pub(super) requests: Vec<u8>,
    /// Sequence number of the last.
    pub(super) last: u32,
}

impl Exchange {
    /// Sends the requests, and returns every answer up to the last request's. The kernel answers within the call that sends.
    pub(super) fn make(&self, socket: &Socket) -> io::Result<Vec<u8>> {
        socket.send(&self.requests, 0)?;
        let mut answers = Vec::new();
        let mut answered = false;
        while !answered {
            let mut datagram = Vec::with_capacity(8 << 10);
            receive(socket, &mut datagram)?;
            for_each(&datagram, |answer| answered |= answer.header.sequence_number == self.last);
            // Datagrams end aligned, as messages do.
            answers.append(&mut datagram);
        }
        Ok(answers)
    }
}

/// The owner's hold on the thread. It makes everything it was given without waiting for the owner, and ends with this.
#[derive(Debug)]
pub(super) struct Ahead {
    exchanges: Sender<Exchange>,
    answers: Receiver<io::Result<Vec<u8>>>,
}

impl Ahead {
    /// Starts the thread, with the priority of who calls (pthread_attr_setinheritsched(3)): who waits for it must not wait for
    /// somebody that anybody can hold up.
    pub(super) fn start(socket: Arc<Socket>) -> io::Result<Self> {
        let (exchanges, given) = channel::<Exchange>();
        let (made, answers) = channel();
        thread::Builder::new().name("addresses".to_owned()).spawn(move || {
            for exchange in given {
                if made.send(exchange.make(&socket)).is_err() {
                    return;
                }
            }
        })?;
        Ok(Self { exchanges, answers })
    }

    /// Gives it something to make.
    pub(super) fn give(&self, exchange: Exchange) {
        // Should it have ended, there is no answer, and that is said there.
        let _ = self.exchanges.send(exchange);
    }

    /// The answers to the next of what it was given.
    pub(super) fn take(&self) -> io::Result<Vec<u8>> {
        self.answers.recv().map_err(|_| io::ErrorKind::BrokenPipe)?
    }
}

/// One datagram into the emptied buffer.
pub(super) fn receive(socket: &Socket, buffer: &mut Vec<u8>) -> io::Result<()> {
    loop {
        buffer.clear();
        match socket.recv(buffer, 0) {
            Ok(_) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
