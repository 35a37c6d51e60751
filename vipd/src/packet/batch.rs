//! Sends many frames with one system call.

use std::io;
use std::ops::Range;

use super::socket::{AT_ONCE, PacketSocket};

/// Frames to send on one interface, in order, each with a tag for its result.
///
/// Sending keeps the allocated memory for later frames, so that nothing is allocated in the steady
/// state.
#[derive(Debug)]
pub struct Batch<T> {
    bytes: Vec<u8>,
    frames: Vec<(T, Range<usize>)>,
}

impl<T> Default for Batch<T> {
    fn default() -> Self {
        Self { bytes: Vec::new(), frames: Vec::new() }
    }
}

impl<T: Copy> Batch<T> {
    /// Adds a frame.
    pub fn push(&mut self, tag: T, frame: &[u8]) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(frame);
        self.frames.push((tag, start..self.bytes.len()));
    }

    /// Returns whether the batch has no frames.
    pub fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// Sends all frames without blocking, and empties the batch. Passes each tag and its result to
    /// `done`. If the kernel refuses a frame, later frames are still sent.
    pub fn send(&mut self, socket: &PacketSocket, mut done: impl FnMut(T, io::Result<()>)) {
        let mut next = 0;
        while next < self.frames.len() {
            let ready = self.frames.iter().skip(next).take(AT_ONCE);
            let frames = ready.filter_map(|(_, range)| self.bytes.get(range.clone()));
            // An error refers to the first frame of the call: sendmmsg(2) returns the number of
            // frames sent before a refused frame.
            let (sent, refused) = match socket.send_many(frames) {
                Ok(sent) => (sent, None),
                Err(error) => (0, Some(error)),
            };
            let tags = self.frames.iter().skip(next).map(|(tag, _)| *tag);
            tags.clone().take(sent).for_each(|tag| done(tag, Ok(())));
            // Sending no frame is treated as an error, because repeating the call could loop
            // forever.
            let refused = refused.or_else(|| (sent == 0).then(|| io::ErrorKind::WriteZero.into()));
            next += sent;
            if let (Some(error), Some((tag, _))) = (refused, self.frames.get(next)) {
                done(*tag, Err(error));
                next += 1;
            }
        }
        self.bytes.clear();
        self.frames.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[ignore = "needs CAP_NET_RAW"]
    fn each_frame_is_reported_once_and_in_order() {
        // Interface 1 is the loopback interface, which refuses frames shorter than an Ethernet
        // header.
        let Ok(socket) = PacketSocket::open(1) else {
            panic!(
                "cannot open an AF_PACKET socket on the loopback interface: needs CAP_NET_RAW (run as root, with \
                 `cargo xtask test`)"
            );
        };
        let mut batch = Batch::default();
        let good = [0; 60];
        let lengths: Vec<usize> =
            (0..2 * AT_ONCE + 7).map(|index| if index % 5 == 0 { 3 } else { 60 }).collect();
        for (index, length) in lengths.iter().enumerate() {
            batch.push(index, &good[..*length]);
        }
        let mut reported = Vec::new();
        batch.send(&socket, |index, result| reported.push((index, result.is_ok())));
        let wanted: Vec<_> = lengths.iter().map(|length| *length == 60).enumerate().collect();
        assert_eq!(reported, wanted);
        assert!(batch.is_empty());
    }
}
