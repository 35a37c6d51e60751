//! The guardian's immediate response to the engine's death: ends the leases and sends the
//! priority-0 adverts, without allocating memory.

use super::memory::Memory;
use super::record::{PacketView, View};
use super::writer::LARGEST;
use crate::engine::clock;
use crate::packet::AnyInterface;
use crate::xdp::GuardianLeases;

/// Maximum number of Ethernet frames per system call.
const AT_ONCE: usize = 64;
/// Bytes for the frames of one system call: 512 for each of 64 frames. If frames are longer, fewer
/// are sent per call.
const BATCH: usize = 32 << 10;

/// Responds to the engine's death, with buffers allocated in advance.
pub(super) struct Death {
    memory: Memory,
    leases: GuardianLeases,
    sockets: AnyInterface,
    /// By row, whether the row had a lease when the engine died: the host was master, or had left
    /// Master and had not removed its VIPs yet.
    masters: Vec<bool>,
    record: Vec<u64>,
    frames: Frames,
}

/// The result of [`Death::answer`], for the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sent {
    /// Rows whose lease was ended.
    pub(super) masters: usize,
    /// Priority-0 adverts sent.
    pub(super) adverts: usize,
    /// Priority-0 adverts that the kernel refused.
    pub(super) refused: usize,
}

impl Death {
    pub(super) fn new(memory: Memory, leases: GuardianLeases, sockets: AnyInterface) -> Self {
        let masters = vec![false; memory.rows()];
        // A page of the buffers takes memory only once it is used, even if memory is locked
        // (`MCL_ONFAULT`).
        Self { memory, leases, sockets, masters, record: vec![0; LARGEST], frames: Frames::new() }
    }

    pub(super) fn memory(&self) -> &Memory {
        &self.memory
    }

    /// Ends all leases, and sends the priority-0 adverts of all masters that are not fenced. A
    /// fenced router has left Master, or another router has become master.
    pub(super) fn answer(&mut self) -> Sent {
        let mut sent = Sent::default();
        for (row, is_master) in self.masters.iter_mut().enumerate() {
            *is_master = self.leases.end(row);
            sent.masters += usize::from(*is_master);
        }
        for (row, _) in self.masters.iter().enumerate().filter(|(_, is_master)| **is_master) {
            if self.leases.is_fenced(row) {
                continue;
            }
            let record = self.memory.read(row, &mut self.record).and_then(View::new);
            let Some(record) = record else { continue };
            // The HMAC covers neither the destination nor the checksum, so all packets share it.
            let signed = record
                .packets()
                .next()
                .map(|packet| record.sign(&packet, self.memory.sequence(row), clock::wall(clock::now())));
            let trailer = signed.flatten();
            let trailer = trailer.as_ref().map_or(&[][..], |trailer| trailer);
            for packet in record.packets() {
                send(&self.sockets, &mut self.frames, record.ifindex(), &packet, trailer, &mut sent);
            }
        }
        self.frames.flush(&self.sockets, &mut sent);
        sent
    }

    /// Returns the leases, the memory and, by row, whether the row had a lease.
    pub(super) fn into_parts(self) -> (GuardianLeases, Memory, Vec<bool>) {
        (self.leases, self.memory, self.masters)
    }
}

/// Sends a packet followed by its trailer, or queues it.
fn send(
    sockets: &AnyInterface,
    frames: &mut Frames,
    ifindex: u32,
    packet: &PacketView<'_>,
    trailer: &[u8],
    sent: &mut Sent,
) {
    match packet.route {
        None => frames.push(sockets, ifindex, [packet.bytes, trailer], sent),
        Some((source, peer)) => match sockets.send_to(ifindex, source, peer, [packet.bytes, trailer]) {
            Ok(()) => sent.adverts += 1,
            Err(_) => sent.refused += 1,
        },
    }
}

/// Ethernet frames that are sent together.
struct Frames {
    bytes: Box<[u8]>,
    /// Index of the interface of each frame, and the end of the frame in `bytes`.
    ends: [(u32, usize); AT_ONCE],
    count: usize,
}

impl Frames {
    fn new() -> Self {
        Self { bytes: vec![0; BATCH].into(), ends: [(0, 0); AT_ONCE], count: 0 }
    }

    /// Queues a frame, given as two parts.
    fn push(&mut self, sockets: &AnyInterface, ifindex: u32, [frame, trailer]: [&[u8]; 2], sent: &mut Sent) {
        let length = frame.len() + trailer.len();
        if self.count == AT_ONCE || self.bytes.len() - self.end() < length {
            self.flush(sockets, sent);
        }
        let start = self.end();
        let Some(room) = self.bytes.get_mut(start..start + length) else {
            sent.refused += 1;
            return;
        };
        let (first, second) = room.split_at_mut(frame.len());
        first.copy_from_slice(frame);
        second.copy_from_slice(trailer);
        self.ends[self.count] = (ifindex, start + length);
        self.count += 1;
    }

    /// Sends the frames. If the kernel refuses a frame, later frames are still sent.
    fn flush(&mut self, sockets: &AnyInterface, sent: &mut Sent) {
        let mut next = 0;
        while next < self.count {
            let ready = self.ends.iter().enumerate().take(self.count).skip(next);
            let frames = ready.filter_map(|(index, (ifindex, end))| {
                let start = index.checked_sub(1).map_or(0, |former| self.ends[former].1);
                Some((*ifindex, self.bytes.get(start..*end)?))
            });
            let accepted = sockets.send_frames(frames).unwrap_or(0);
            sent.adverts += accepted;
            next += accepted;
            // The kernel has refused the next frame.
            if next < self.count {
                sent.refused += 1;
                next += 1;
            }
        }
        self.count = 0;
    }

    fn end(&self) -> usize {
        self.count.checked_sub(1).map_or(0, |last| self.ends[last].1)
    }
}
