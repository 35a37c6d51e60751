//! Names of the programs and maps, as in the object's symbol table.

/// XDP program for drivers that support linear buffers only.
pub const XDP: &str = "vipd_xdp";
/// XDP program in section `xdp.frags`, for drivers that support multi-buffer frames
/// (`BPF_F_XDP_HAS_FRAGS`, Linux 5.18), and for the generic hook.
pub const XDP_FRAGS: &str = "vipd_xdp_frags";
/// XDP program for interfaces without a link-layer header, in section `xdp.frags`.
pub const XDP_BARE: &str = "vipd_xdp_bare";
/// TC ingress program.
pub const TC: &str = "vipd_tc";
/// TC ingress program for interfaces without a link-layer header.
pub const TC_BARE: &str = "vipd_tc_bare";
/// Ring buffer of [`AdvertRecord`](crate::records::AdvertRecord).
pub const MAP_ADVERTS: &str = "ADVERTS";
/// Array of one u64, memory-mapped: 1 while the reader of the ring is blocked and not yet woken.
pub const MAP_ASLEEP: &str = "ASLEEP";
/// Array of one u64, memory-mapped: 1 if an invalid or rate-limited advert was dropped since user
/// space last reset it.
pub const MAP_DISCARDED: &str = "DISCARDED";
/// Array of u64, indexed by row, memory-mapped: 1 if a record of this row was lost because the ring
/// was full, since user space last reset it.
pub const MAP_LOST: &str = "LOST";
/// Array of [`SteadySlot`](crate::records::SteadySlot), indexed by row, memory-mapped.
pub const MAP_STEADY: &str = "STEADY";
/// LRU hash of [`SenderKey`](crate::records::SenderKey) to a u64: the senders' token buckets.
pub const MAP_SENDERS: &str = "SENDERS";
/// Hash map from [`RouterKey`](crate::records::RouterKey) to
/// [`RouterSlot`](crate::records::RouterSlot).
pub const MAP_ROUTERS: &str = "ROUTERS";
/// Per-CPU array of [`CounterRow`](crate::counters::CounterRow), indexed by row. Row 0 counts
/// packets that belong to no virtual router.
pub const MAP_COUNTERS: &str = "COUNTERS";
/// Hash map from [`PeerKey`](crate::records::PeerKey) to the lowest accepted TTL, a u8: the unicast
/// peers.
pub const MAP_PEERS: &str = "PEERS";
/// Hash map from [`ClosedKey`](crate::records::ClosedKey) to a row, a u32: VIPs with Accept_Mode
/// false.
pub const MAP_CLOSED: &str = "CLOSED";
/// Array of one u64, memory-mapped: number of entries of [`MAP_CLOSED`]. While it is 0, the program
/// does not look up packets in that map.
pub const MAP_FILTERING: &str = "FILTERING";
/// A u32 in read-only data: [`BURST`](crate::records::BURST), or 0 for no rate limit. Fixed at
/// load.
pub const GLOBAL_BURST: &str = "SENDER_BURST";
