//! The maps. `vipd_common::names` lists their names for user space.

use aya_ebpf::Global;
use aya_ebpf::bindings::BPF_F_MMAPABLE;
use aya_ebpf::macros::map;
use aya_ebpf::maps::{Array, HashMap, LruHashMap, PerCpuArray, RingBuf};
use vipd_common::counters::{Counter, CounterRow, ROW_UNASSIGNED};
use vipd_common::records::{ClosedKey, PeerKey, RING_BYTES, RouterKey, RouterSlot, SenderKey, SteadySlot};

/// Bytes of a window: the IPv6 header and the longest message (40 + 4088), rounded up to a power of
/// two so that a mask bounds every offset.
pub(crate) const WINDOW_LEN: usize = 8192;

/// Value of [`WINDOW`].
#[repr(C, align(8))]
pub(crate) struct Window {
    bytes: [u8; WINDOW_LEN],
}

/// Valid adverts on their way to user space.
#[map]
pub(crate) static ADVERTS: RingBuf = RingBuf::with_byte_size(RING_BYTES, 0);

/// 1 while the reader of the ring is blocked and not yet woken.
#[map]
pub(crate) static ASLEEP: Array<u64> = Array::with_max_entries(1, BPF_F_MMAPABLE);

/// 1 if an advert was dropped since user space last reset it.
#[map]
pub(crate) static DISCARDED: Array<u64> = Array::with_max_entries(1, BPF_F_MMAPABLE);

/// By row: 1 if a record found the ring full since user space last reset it. Sized by the loader.
#[map]
pub(crate) static LOST: Array<u64> = Array::with_max_entries(1, BPF_F_MMAPABLE);

/// By row: the fast path for unchanged adverts. Sized by the loader.
#[map]
pub(crate) static STEADY: Array<SteadySlot> = Array::with_max_entries(1, BPF_F_MMAPABLE);

/// Token buckets of the senders. Sized by the loader.
#[map]
pub(crate) static SENDERS: LruHashMap<SenderKey, u64> = LruHashMap::with_max_entries(1, 0);

/// Capacity of a token bucket, or 0 for no rate limit. Set by the loader; the verifier removes the
/// code of a limit that is off.
#[unsafe(no_mangle)]
pub(crate) static SENDER_BURST: Global<u32> = Global::new(0);

/// The configured virtual routers. Sized by the loader.
#[map]
pub(crate) static ROUTERS: HashMap<RouterKey, RouterSlot> = HashMap::with_max_entries(1, 0);

/// Unicast peers and the lowest TTL accepted from each. Sized by the loader.
#[map]
pub(crate) static PEERS: HashMap<PeerKey, u8> = HashMap::with_max_entries(1, 0);

/// VIPs with Accept_Mode false and the rows that count dropped packets. Sized by the loader.
#[map]
pub(crate) static CLOSED: HashMap<ClosedKey, u32> = HashMap::with_max_entries(1, 0);

/// Number of entries of [`CLOSED`]: one load spares packets of others the map lookup.
#[map]
pub(crate) static FILTERING: Array<u64> = Array::with_max_entries(1, BPF_F_MMAPABLE);

/// By row: counters; row 0 is unassigned. Sized by the loader.
#[map]
pub(crate) static COUNTERS: PerCpuArray<CounterRow> = PerCpuArray::with_max_entries(1, 0);

/// Each CPU's copy of the packet being parsed.
#[map]
pub(crate) static WINDOW: PerCpuArray<Window> = PerCpuArray::with_max_entries(1, 0);

/// Increments a counter.
#[inline(always)]
pub(crate) fn count(row: u32, counter: Counter) {
    if let Some(cells) = COUNTERS.get_ptr_mut(row) {
        // SAFETY: the map's value is one `CounterRow`, an array of u64 longer than every `Counter`.
        let cell = unsafe { cells.cast::<u64>().add(counter as usize) };
        // SAFETY: no other program writes this CPU's copy while this one runs.
        unsafe { *cell += 1 };
    }
}

/// Counts a dropped advert and sets [`DISCARDED`].
#[inline(always)]
pub(crate) fn count_discarded(row: u32, counter: Counter) {
    count(row, counter);
    set(DISCARDED.get_ptr_mut(0));
}

/// Counts an advert that found the ring full and sets its row's word in [`LOST`].
#[inline(always)]
pub(crate) fn count_lost(row: u32) {
    count(row, Counter::RingFull);
    set(LOST.get_ptr_mut(row));
}

/// Sets a flag of a memory-mapped array.
#[inline(always)]
fn set(flag: Option<*mut u64>) {
    let Some(flag) = flag else { return };
    // SAFETY: an aligned word of a map; other CPUs and user space write it whole.
    if unsafe { flag.read_volatile() } == 0 {
        // Only on change: under a flood the CPUs would contend for the cache line.
        // SAFETY: as above.
        unsafe { flag.write_volatile(1) };
    }
}

/// Increments a counter of the unassigned row.
#[inline(always)]
pub(crate) fn count_unassigned(counter: Counter) {
    count(ROW_UNASSIGNED, counter);
}
