//! Copies the adverts that the BPF program of a running agent drops at the XDP hook.
//!
//! After an advert is processed, a program in a program array, [`CONSUME_XDP`] or
//! [`CONSUME_XDP_FRAGS`], drops it. A tap replaces this program with one that copies the frame to a
//! ring buffer and then drops it, so nothing changes for the agent. The tap does not keep the array
//! open. When the agent's process ends without leaving its state to a successor, the kernel
//! therefore empties the array, as without a tap, and adverts pass to the network stack.
//!
//! [`CONSUME_XDP`]: vipd_common::names::CONSUME_XDP
//! [`CONSUME_XDP_FRAGS`]: vipd_common::names::CONSUME_XDP_FRAGS

use std::fmt;
use std::io;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};

use aya::maps::{Map, MapData, MapError, RingBuf};
use vipd_common::names;

use super::syscall;
use super::tap_program::{self, CAPACITY, HEADER};

/// Size of the ring buffer in bytes: room for about 480 frames.
const RING: u32 = 1 << 21;
/// Name of the program that copies frames.
const NAME: &str = "vipd_tap";

/// The program array through which an agent's BPF program drops adverts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Consumer {
    /// ID of the array.
    pub id: u32,
    /// Whether programs in the array support multi-buffer frames.
    has_frags: bool,
}

/// A tap on the adverts that an agent drops. Covers all interfaces that use the same program array.
pub struct Tap {
    consumer: Consumer,
    ring: RingBuf<MapData>,
    /// Map with the number of frames that were not copied.
    counter: OwnedFd,
    /// Value of `counter` at the last call of [`lost`](Self::lost).
    counted: u64,
    program: OwnedFd,
    program_id: u32,
    /// The program to reinstall: the one that was replaced or, if that was the tap of a killed
    /// process, a new program that drops frames.
    original: OwnedFd,
}

/// A frame that the BPF program has processed and dropped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tapped {
    /// Time at which the frame was dropped, in nanoseconds of `CLOCK_MONOTONIC`.
    pub time: u64,
    /// Index of the interface that received the frame.
    pub ifindex: u32,
    /// The frame, truncated to 4352 bytes.
    pub bytes: Vec<u8>,
    /// Length of the frame in bytes.
    pub length: usize,
}

/// An error from installing or using a tap.
#[derive(Debug, thiserror::Error)]
pub enum TapError {
    /// The program does not belong to vipd.
    #[error("XDP program {0} is not vipd's")]
    Foreign(u32),
    /// A system call failed.
    #[error("cannot {action}: {cause}")]
    System {
        /// The failed action, as a verb phrase.
        action: &'static str,
        /// The underlying error.
        cause: io::Error,
    },
    /// The ring buffer cannot be mapped.
    #[error("cannot map the ring buffer: {0}")]
    Ring(#[from] MapError),
}

fn system(action: &'static str) -> impl FnOnce(io::Error) -> TapError {
    move |cause| TapError::System { action, cause }
}

impl Consumer {
    /// Returns the array that the XDP program with this ID uses.
    ///
    /// # Errors
    /// [`TapError::Foreign`] if the program is not vipd's; `EPERM` without CAP_SYS_ADMIN.
    pub fn of(program: u32) -> Result<Self, TapError> {
        let target = syscall::program_by_id(program).map_err(system("open the XDP program"))?;
        let target = syscall::program_info(target.as_fd()).map_err(system("read the XDP program"))?;
        for id in target.maps {
            let map = syscall::map_by_id(id).map_err(system("open a map of the XDP program"))?;
            let name = syscall::map_name(map.as_fd()).map_err(system("read a map of the XDP program"))?;
            let has_frags = match name.as_str() {
                names::MAP_AGENT_XDP => false,
                names::MAP_AGENT_XDP_FRAGS => true,
                _ => continue,
            };
            return Ok(Self { id, has_frags });
        }
        Err(TapError::Foreign(program))
    }

    fn open(self) -> Result<OwnedFd, TapError> {
        syscall::map_by_id(self.id).map_err(system("open the program array of the agent"))
    }
}

impl Tap {
    /// Installs a tap. Returns `None` if the array is empty: the agent's process has then ended,
    /// and no adverts are dropped.
    ///
    /// # Errors
    /// `EPERM` without CAP_SYS_ADMIN; `EINVAL` on kernels before Linux 5.18, which lack
    /// `bpf_xdp_load_bytes`.
    pub fn install(consumer: Consumer) -> Result<Option<Self>, TapError> {
        let load = |instructions: &[_], name| {
            syscall::load_xdp(instructions, consumer.has_frags, name).map_err(system("load a BPF program"))
        };
        let map = syscall::create_ring(RING).map_err(system("create a ring buffer"))?;
        let counter = syscall::create_array("", size_of::<u64>()).map_err(system("create a map"))?;
        let program = load(&tap_program::copy(map.as_raw_fd(), counter.as_raw_fd()), NAME)?;
        let copying = syscall::program_info(program.as_fd()).map_err(system("read a BPF program"))?;
        let ring = RingBuf::try_from(Map::RingBuf(MapData::from_fd(map)?))?;
        let array = consumer.open()?;
        let read = |array: &OwnedFd| {
            syscall::first_program(array.as_fd()).map_err(system("read the program array of the agent"))
        };
        let Some(original) = read(&array)? else { return Ok(None) };
        let original = syscall::program_by_id(original).map_err(system("open the agent's program"))?;
        let replaced = syscall::program_info(original.as_fd()).map_err(system("read the agent's program"))?;
        // A killed process may have left its tap in the array. Do not restore that tap later.
        let original =
            if replaced.name == NAME { load(&tap_program::drop(), names::CONSUME_XDP)? } else { original };
        syscall::set_first_program(array.as_fd(), program.as_fd())
            .map_err(system("install a BPF program"))?;
        Ok(Some(Self { consumer, ring, counter, counted: 0, program, program_id: copying.id, original }))
    }

    /// Returns the array on which the tap is installed.
    pub fn consumer(&self) -> Consumer {
        self.consumer
    }

    /// Returns whether the tap is still installed. A successor of the agent replaces the tap.
    pub fn is_installed(&self) -> bool {
        let array = self.consumer.open();
        let first = array.ok().and_then(|array| syscall::first_program(array.as_fd()).ok().flatten());
        first == Some(self.program_id)
    }

    /// Returns the number of frames that were lost since the last call, because the ring buffer was
    /// full.
    pub fn lost(&mut self) -> u64 {
        let mut counted = [0; size_of::<u64>()];
        if syscall::read_element(self.counter.as_fd(), &mut counted).is_err() {
            return 0;
        }
        let counted = u64::from_ne_bytes(counted);
        counted - std::mem::replace(&mut self.counted, counted)
    }

    /// Returns the next frame, or `None` if none is queued.
    pub fn next_frame(&mut self) -> Option<Tapped> {
        loop {
            let item = self.ring.next()?;
            if let Some(frame) = decode(&item) {
                return Some(frame);
            }
        }
    }
}

/// Reinstalls the original program, unless a successor has replaced the tap or the agent has ended.
impl Drop for Tap {
    fn drop(&mut self) {
        if !self.is_installed() {
            return;
        }
        if let Ok(array) = self.consumer.open() {
            // On failure, the tap's program remains, and still drops the frames.
            let _ = syscall::set_first_program(array.as_fd(), self.original.as_fd());
        }
    }
}

impl AsFd for Tap {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.ring.as_fd()
    }
}

impl fmt::Debug for Tap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { consumer, program, .. } = self;
        f.debug_struct("Tap").field("consumer", consumer).field("program", program).finish_non_exhaustive()
    }
}

/// Decodes a record from the program that copies frames.
fn decode(record: &[u8]) -> Option<Tapped> {
    let word = |index: usize| record.get(8 * index..)?.first_chunk().map(|bytes| u64::from_ne_bytes(*bytes));
    let length = usize::try_from(word(2)?).ok()?;
    let bytes = record.get(HEADER..HEADER + length.min(CAPACITY))?.to_vec();
    Some(Tapped { time: word(0)?, ifindex: u32::try_from(word(1)?).ok()?, bytes, length })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_decoded() {
        let record = |ifindex: u64, length: u64, room: usize| {
            let mut bytes: Vec<u8> =
                [7, ifindex, length].iter().flat_map(|word| word.to_ne_bytes()).collect();
            bytes.resize(bytes.len() + room, 9);
            bytes
        };
        let frame = decode(&record(2, 3, CAPACITY)).expect("a frame");
        assert_eq!(frame, Tapped { time: 7, ifindex: 2, bytes: vec![9; 3], length: 3 });
        let long = decode(&record(2, 5000, CAPACITY)).expect("a frame");
        assert_eq!((long.bytes.len(), long.length), (CAPACITY, 5000));
        assert_eq!(decode(&record(2, 3, 2)), None);
        assert_eq!(decode(&[0; 8]), None);
    }
}
