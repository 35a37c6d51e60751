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
/// TC ingress program that drops packets to VIPs, for interfaces without virtual routers.
pub const FENCE_INGRESS: &str = "vipd_fence_in";
/// TC egress program that drops packets from VIPs.
pub const FENCE_EGRESS: &str = "vipd_fence_out";
/// Drops the advert that [`XDP`] has processed. Called through [`MAP_AGENT_XDP`].
pub const CONSUME_XDP: &str = "consume_xdp";
/// Like [`CONSUME_XDP`], for [`XDP_FRAGS`] and [`XDP_BARE`].
pub const CONSUME_XDP_FRAGS: &str = "consume_xdp_frags";
/// Like [`CONSUME_XDP`], for [`TC`] and [`TC_BARE`].
pub const CONSUME_TC: &str = "consume_tc";
/// Ring buffer of [`AdvertRecord`](crate::records::AdvertRecord).
pub const MAP_ADVERTS: &str = "ADVERTS";
/// Array of one u64, memory-mapped: 1 while the reader of the ring is blocked and not yet woken.
pub const MAP_ASLEEP: &str = "ASLEEP";
/// Array of one u64, memory-mapped: 1 if an invalid or rate-limited advert was dropped since user
/// space last reset this word.
pub const MAP_DISCARDED: &str = "DISCARDED";
/// Array of u64, indexed by row, memory-mapped: 1 if the ring was full and a record of this row was
/// lost since user space last reset this word.
pub const MAP_LOST: &str = "LOST";
/// Array of [`SteadySlot`](crate::records::SteadySlot), indexed by row, memory-mapped.
pub const MAP_STEADY: &str = "STEADY";
/// LRU hash map from [`SenderKey`](crate::records::SenderKey) to a u64: the senders' token buckets.
pub const MAP_SENDERS: &str = "SENDERS";
/// Array of [`SignerRow`](crate::records::SignerRow), indexed by row, memory-mapped.
pub const MAP_SIGNERS: &str = "SIGNERS";
/// Array of [`BUDGETS`](crate::records::BUDGETS) u64: token buckets that all rows share.
pub const MAP_BUDGET: &str = "BUDGET";
/// Array of one i64, memory-mapped: `CLOCK_REALTIME` minus `CLOCK_MONOTONIC`, in nanoseconds.
pub const MAP_CLOCK: &str = "CLOCK";
/// Hash map from [`HmacKey`](crate::records::HmacKey) to [`KeyState`](crate::hmac::KeyState): the
/// keys with which the program verifies adverts that fence. A successor of the agent takes its keys
/// from this map. It reads a key from the configuration file only if the map does not contain it.
pub const MAP_HMAC_KEYS: &str = "HMAC_KEYS";
/// Hash map from [`RouterKey`](crate::records::RouterKey) to
/// [`RouterSlot`](crate::records::RouterSlot).
pub const MAP_ROUTERS: &str = "ROUTERS";
/// Per-CPU array of [`CounterRow`](crate::counters::CounterRow), indexed by row. Row 0 counts
/// packets that belong to no virtual router.
pub const MAP_COUNTERS: &str = "COUNTERS";
/// Hash map of the unicast peers, from [`PeerKey`](crate::records::PeerKey) to the lowest accepted
/// TTL, a u8.
pub const MAP_PEERS: &str = "PEERS";
/// Hash map of the VIPs, from [`AddressKey`](crate::records::AddressKey) to the row of the virtual
/// router, a u32.
pub const MAP_ADDRESSES: &str = "ADDRESSES";
/// Array of [`LeaseSlot`](crate::records::LeaseSlot), indexed by row, memory-mapped.
pub const MAP_LEASES: &str = "LEASES";
/// Array of one [`FilterWords`](crate::records::FilterWords), memory-mapped.
pub const MAP_FILTER: &str = "FILTER";
/// Program array of one entry, [`CONSUME_XDP`]. The kernel removes the entry when the agent's
/// process ends without leaving its state to a successor.
pub const MAP_AGENT_XDP: &str = "AGENT_XDP";
/// Like [`MAP_AGENT_XDP`], for programs with multi-buffer support; its entry is
/// [`CONSUME_XDP_FRAGS`].
pub const MAP_AGENT_XDP_FRAGS: &str = "AGENT_XDP_FRAGS";
/// Like [`MAP_AGENT_XDP`], for TC; its entry is [`CONSUME_TC`].
pub const MAP_AGENT_TC: &str = "AGENT_TC";
/// A u32 in read-only data: [`BURST`](crate::records::BURST), or 0 for no rate limit. Fixed at
/// load.
pub const GLOBAL_BURST: &str = "SENDER_BURST";
