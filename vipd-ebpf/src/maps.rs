//! The maps; their names stand in `vipd_common::names` too.

use aya_ebpf::Global;
use aya_ebpf::bindings::BPF_F_MMAPABLE;
use aya_ebpf::macros::map;
use aya_ebpf::maps::{Array, HashMap, LruHashMap, PerCpuArray, RingBuf};
use vipd_common::counters::{Counter, CounterRow, ROW_FOREIGN};
use vipd_common::records::{ClosedKey, PeerKey, RING_BYTES, RouterKey, RouterSlot, SenderKey, SteadySlot};

use crate::cursor::Window;

/// Valid adverts on their way to user space.
#[map]
pub(crate) static ADVERTS: RingBuf = RingBuf::with_byte_size(RING_BYTES, 0);

/// 1 while the reader of the ring sleeps and nobody has woken it.
#[map]
pub(crate) static ASLEEP: Array<u64> = Array::with_max_entries(1, BPF_F_MMAPABLE);

/// 1 if an advert was discarded since user space has looked at the counters.
#[map]
pub(crate) static DISCARDED: Array<u64> = Array::with_max_entries(1, BPF_F_MMAPABLE);

/// The advert of each virtual router that says nothing new, and when it came last. The loader sets the size.
#[map]
pub(crate) static STEADY: Array<SteadySlot> = Array::with_max_entries(1, BPF_F_MMAPABLE);

/// Who sends adverts that say something new, and when its allowance is whole again. The loader sets the size.
#[map]
pub(crate) static SENDERS: LruHashMap<SenderKey, u64> = LruHashMap::with_max_entries(1, 0);

/// What a sender may say at once before it is held to its rate. The loader sets it, and what depends on it is removed by the
/// verifier where it is 0.
#[unsafe(no_mangle)]
pub(crate) static SENDER_BURST: Global<u32> = Global::new(0);

/// The configured virtual routers. The loader sets the size.
#[map]
pub(crate) static ROUTERS: HashMap<RouterKey, RouterSlot> = HashMap::with_max_entries(1, 0);

/// The unicast peers, and the smallest TTL of each one's adverts. The loader sets the size.
#[map]
pub(crate) static PEERS: HashMap<PeerKey, u8> = HashMap::with_max_entries(1, 0);

/// Virtual addresses that are announced and accept nothing, and the row that counts what was sent to them. The
/// loader sets the size.
#[map]
pub(crate) static CLOSED: HashMap<ClosedKey, u32> = HashMap::with_max_entries(1, 0);

/// Whether [`CLOSED`] is ever anything but empty. The loader sets it, and what depends on it is removed by the
/// verifier where it is 0.
#[unsafe(no_mangle)]
pub(crate) static FILTERING: Global<u8> = Global::new(0);

/// A row of counters for each virtual router, and row 0. The loader sets the size.
#[map]
pub(crate) static COUNTERS: PerCpuArray<CounterRow> = PerCpuArray::with_max_entries(1, 0);

/// Where a frame is copied to be parsed: one window a CPU.
#[map]
pub(crate) static WINDOW: PerCpuArray<Window> = PerCpuArray::with_max_entries(1, 0);

/// Adds one to a cell.
#[inline(always)]
pub(crate) fn count(row: u32, counter: Counter) {
    if let Some(cells) = COUNTERS.get_ptr_mut(row) {
        // SAFETY: the map's value is one `CounterRow`, an array of u64 longer than every `Counter`.
        let cell = unsafe { cells.cast::<u64>().add(counter as usize) };
        // SAFETY: this CPU's copy is written by nobody else while the program runs.
        unsafe { *cell += 1 };
    }
}

/// Counts an advert that is dropped, and leaves word that somebody should look at the counters.
#[inline(always)]
pub(crate) fn count_discarded(row: u32, counter: Counter) {
    count(row, counter);
    let Some(discarded) = DISCARDED.get_ptr_mut(0) else { return };
    // SAFETY: an aligned word of a map; other CPUs and user space write it whole.
    if unsafe { discarded.read_volatile() } == 0 {
        // Not each time: under a flood the CPUs would take the line from each other.
        // SAFETY: as above.
        unsafe { discarded.write_volatile(1) };
    }
}

/// Adds one to a cell of the row that belongs to no virtual router.
#[inline(always)]
pub(crate) fn count_foreign(counter: Counter) {
    count(ROW_FOREIGN, counter);
}
