//! A thread that changes addresses while the engine announces the addresses already added.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use rtnetlink::sys::Socket;

use super::wire::messages;

/// Buffer size for one answer, in bytes. An error takes 36 bytes, because `NETLINK_CAP_ACK` omits
/// the payload of the request. The kernel's explanation takes up to about 120 bytes more.
const ANSWER: usize = 512;

/// Requests that are sent in one system call, and the answers to them.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub(super) requests: Vec<u8>,
    pub(super) answers: Vec<u8>,
    /// Sequence number of the first request.
    pub(super) first: u32,
    /// Sequence number of the last request. Only this request has `NLM_F_ACK`.
    pub(super) last: u32,
}

impl Batch {
    /// Sends the requests and receives all answers. The kernel has queued the answers by the time
    /// the send returns.
    pub(super) fn run(&mut self, socket: &Socket) -> io::Result<()> {
        socket.send(&self.requests, 0)?;
        self.answers.clear();
        let mut answered = false;
        while !answered {
            let start = self.answers.len();
            receive(socket, &mut self.answers, ANSWER)?;
            let datagram = self.answers.get(start..).unwrap_or_default();
            answered = messages(datagram).any(|answer| answer.sequence_number() == self.last);
            // The next message must start at a multiple of 4 bytes.
            self.answers.resize(self.answers.len().next_multiple_of(4), 0);
        }
        Ok(())
    }
}

/// A completed batch and its result.
pub(super) type Outcome = (Batch, io::Result<()>);

/// Runs batches in order on its own thread, which ends when the worker is dropped.
#[derive(Debug)]
pub(super) struct AddressWorker {
    submitted: Sender<Batch>,
    outcomes: Receiver<Outcome>,
}

impl AddressWorker {
    /// Starts the thread, which inherits the caller's scheduling policy
    /// (pthread_attr_setinheritsched(3)), so that a real-time caller never waits for a thread with
    /// ordinary scheduling.
    pub(super) fn start(socket: Arc<Socket>) -> io::Result<Self> {
        let (submitted, batches) = channel::<Batch>();
        let (sender, outcomes) = channel();
        thread::Builder::new().name("addresses".to_owned()).spawn(move || {
            for mut batch in batches {
                let result = batch.run(&socket);
                if sender.send((batch, result)).is_err() {
                    return;
                }
            }
        })?;
        Ok(Self { submitted, outcomes })
    }

    /// Queues a batch.
    pub(super) fn submit(&self, batch: Batch) {
        // If the thread has ended, `wait` returns an error.
        let _ = self.submitted.send(batch);
    }

    /// Waits for the oldest outstanding batch.
    ///
    /// # Errors
    /// `BrokenPipe` if the thread has ended.
    pub(super) fn wait(&self) -> io::Result<Outcome> {
        self.outcomes.recv().map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

/// Receives one datagram of up to `room` bytes and appends it to the buffer.
pub(super) fn receive(socket: &Socket, buffer: &mut Vec<u8>, room: usize) -> io::Result<()> {
    loop {
        buffer.reserve(room);
        match socket.recv(buffer, 0) {
            Ok(_) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
