//! The maps. `vipd_common::names` lists their names for user space.

use aya_ebpf::Global;
use aya_ebpf::bindings::{BPF_F_MMAPABLE, BPF_F_NO_PREALLOC};
use aya_ebpf::macros::map;
use aya_ebpf::maps::{Array, HashMap, LruHashMap, PerCpuArray, ProgramArray, RingBuf};
use vipd_common::counters::{Counter, CounterRow, ROW_UNASSIGNED};
use vipd_common::hmac::{Hash, KeyState};
use vipd_common::records::{
    AddressKey, AdvertRecord, BUDGETS, FilterWords, HmacKey, LeaseSlot, PeerKey, RING_BYTES, RouterKey,
    RouterSlot, SenderKey, SignerRow, SteadySlot,
};

/// Capacity of a window's packet in bytes: the IPv6 header, the longest message and a trailer (40 + 4088 + 28),
/// rounded up to a power of two so that a mask bounds every offset.
pub(crate) const WINDOW_LEN: usize = 8192;

/// The packet being parsed: the value type of [`WINDOW`].
#[repr(C, align(8))]
pub(crate) struct Window {
    /// The record of a signed advert. It directly precedes the packet, so that one call writes both
    /// to the ring.
    pub(crate) record: AdvertRecord,
    pub(crate) packet: [u8; WINDOW_LEN],
    /// The hash that is computed to verify a signed advert.
    pub(crate) hash: Hash,
}

/// Valid adverts for user space.
#[map]
pub(crate) static ADVERTS: RingBuf = RingBuf::with_byte_size(RING_BYTES, 0);

/// 1 while the reader of the ring is blocked and not yet woken.
#[map]
pub(crate) static ASLEEP: Array<u64> = Array::with_max_entries(1, BPF_F_MMAPABLE);

/// 1 if an invalid or rate-limited advert was dropped since user space last reset this word.
#[map]
pub(crate) static DISCARDED: Array<u64> = Array::with_max_entries(1, BPF_F_MMAPABLE);

/// Indexed by row: 1 if a record was lost to a full ring since user space last reset the row's
/// word. Sized by the loader.
#[map]
pub(crate) static LOST: Array<u64> = Array::with_max_entries(1, BPF_F_MMAPABLE);

/// Indexed by row: the fast path for unchanged adverts. Sized by the loader.
#[map]
pub(crate) static STEADY: Array<SteadySlot> = Array::with_max_entries(1, BPF_F_MMAPABLE);

/// Token buckets of the senders. Sized by the loader.
#[map]
pub(crate) static SENDERS: LruHashMap<SenderKey, u64> = LruHashMap::with_max_entries(1, 0);

/// Indexed by row: senders of verified adverts. Sized by the loader.
#[map]
pub(crate) static SIGNERS: Array<SignerRow> = Array::with_max_entries(1, BPF_F_MMAPABLE);

/// Token buckets that all rows share.
#[map]
pub(crate) static BUDGET: Array<u64> = Array::with_max_entries(BUDGETS, 0);

/// `CLOCK_REALTIME` minus `CLOCK_MONOTONIC` in nanoseconds, as an i64.
#[map]
pub(crate) static CLOCK: Array<u64> = Array::with_max_entries(1, BPF_F_MMAPABLE);

/// The keys of signed adverts. Sized by the loader. Entries are allocated when they are inserted,
/// because most routers have none.
#[map]
pub(crate) static HMAC_KEYS: HashMap<HmacKey, KeyState> = HashMap::with_max_entries(1, BPF_F_NO_PREALLOC);

/// Capacity of a token bucket, or 0 for no rate limit. Set by the loader; if it is 0, the verifier
/// removes the rate-limiting code.
#[unsafe(no_mangle)]
pub(crate) static SENDER_BURST: Global<u32> = Global::new(0);

/// The configured virtual routers. Sized by the loader.
#[map]
pub(crate) static ROUTERS: HashMap<RouterKey, RouterSlot> = HashMap::with_max_entries(1, 0);

/// Unicast peers and the lowest TTL accepted from each. Sized by the loader.
#[map]
pub(crate) static PEERS: HashMap<PeerKey, u8> = HashMap::with_max_entries(1, 0);

/// The VIPs and the rows of their virtual routers. Sized by the loader.
#[map]
pub(crate) static ADDRESSES: HashMap<AddressKey, u32> = HashMap::with_max_entries(1, 0);

/// Indexed by row: leases and filters. Sized by the loader.
#[map]
pub(crate) static LEASES: Array<LeaseSlot> = Array::with_max_entries(1, BPF_F_MMAPABLE);

/// Whether any row is closed or may be fenced.
#[map]
pub(crate) static FILTER: Array<FilterWords> = Array::with_max_entries(1, BPF_F_MMAPABLE);

/// The programs that drop a processed advert. The kernel empties a program array once no process
/// has it open (`prog_array_map_clear`, `kernel/bpf/arraymap.c`). Adverts therefore pass to the
/// network stack after the agent's process has ended without leaving its state to a successor, even
/// if the programs that receive them are still attached. There is one array for each kind of
/// program, because an array cannot hold programs of different kinds.
#[map]
pub(crate) static AGENT_XDP: ProgramArray = ProgramArray::with_max_entries(1, 0);
#[map]
pub(crate) static AGENT_XDP_FRAGS: ProgramArray = ProgramArray::with_max_entries(1, 0);
#[map]
pub(crate) static AGENT_TC: ProgramArray = ProgramArray::with_max_entries(1, 0);

/// Counters, indexed by row; row 0 is for packets that belong to no virtual router. Sized by the
/// loader.
#[map]
pub(crate) static COUNTERS: PerCpuArray<CounterRow> = PerCpuArray::with_max_entries(1, 0);

/// Each CPU's copy of the packet being parsed.
#[map]
pub(crate) static WINDOW: PerCpuArray<Window> = PerCpuArray::with_max_entries(1, 0);

/// Increments a counter.
#[inline(always)]
pub(crate) fn count(row: u32, counter: Counter) {
    if let Some(cells) = COUNTERS.get_ptr_mut(row) {
        // SAFETY: the map's value is one `CounterRow`, an array of u64 with a cell for each
        // `Counter`.
        let cell = unsafe { cells.cast::<u64>().add(counter as usize) };
        // SAFETY: no other program writes this CPU's copy while this one runs.
        unsafe { *cell += 1 };
    }
}

/// Counts an invalid or rate-limited advert and sets [`DISCARDED`].
#[inline(always)]
pub(crate) fn count_discarded(row: u32, counter: Counter) {
    count(row, counter);
    set(DISCARDED.get_ptr_mut(0));
}

/// Counts an advert that was lost because the ring was full, and sets its row's word in [`LOST`].
#[inline(always)]
pub(crate) fn count_lost(row: u32) {
    count(row, Counter::RingFull);
    set(LOST.get_ptr_mut(row));
}

/// Sets a flag in a memory-mapped array.
#[inline(always)]
pub(crate) fn set(flag: Option<*mut u64>) {
    let Some(flag) = flag else { return };
    // SAFETY: an aligned word of a map; other CPUs and user space write it with single stores.
    if unsafe { flag.read_volatile() } == 0 {
        // Store only if the flag changes. Otherwise, CPUs would contend for the cache line during a
        // flood. SAFETY: as above.
        unsafe { flag.write_volatile(1) };
    }
}

/// Increments a counter of the unassigned row.
#[inline(always)]
pub(crate) fn count_unassigned(counter: Counter) {
    count(ROW_UNASSIGNED, counter);
}
