//! Names of the XDP program and its maps, as they stand in the object's symbol table.

/// The XDP program for drivers that hand over one linear buffer.
pub const PROGRAM: &str = "vipd_xdp";
/// The same program in section `xdp.frags`, for drivers that hand over multi-buffer frames
/// (`BPF_F_XDP_HAS_FRAGS`, Linux 5.18).
pub const PROGRAM_FRAGS: &str = "vipd_xdp_frags";
/// Ring buffer of [`AdvertRecord`](crate::records::AdvertRecord).
pub const MAP_ADVERTS: &str = "ADVERTS";
/// Array of one u64, mapped by user space: 1 while the reader of the ring sleeps and nobody has woken it.
pub const MAP_ASLEEP: &str = "ASLEEP";
/// Array of one u64, mapped by user space: 1 if an advert was discarded since user space has looked at the counters.
pub const MAP_DISCARDED: &str = "DISCARDED";
/// Array of [`SteadySlot`](crate::records::SteadySlot), by row, mapped by user space.
pub const MAP_STEADY: &str = "STEADY";
/// Least recently used hash of [`SenderKey`](crate::records::SenderKey) to a u64.
pub const MAP_SENDERS: &str = "SENDERS";
/// Hash of [`RouterKey`](crate::records::RouterKey) to [`RouterSlot`](crate::records::RouterSlot).
pub const MAP_ROUTERS: &str = "ROUTERS";
/// Per-CPU array of [`CounterRow`](crate::counters::CounterRow); row 0 belongs to no virtual router.
pub const MAP_COUNTERS: &str = "COUNTERS";
/// Hash of [`PeerKey`](crate::records::PeerKey) to the smallest TTL, a u8: the unicast peers.
pub const MAP_PEERS: &str = "PEERS";
/// Hash of [`ClosedKey`](crate::records::ClosedKey) to a row, a u32: virtual addresses with Accept_Mode false.
pub const MAP_CLOSED: &str = "CLOSED";
/// A u8 that the loader sets to 1 if any virtual router has Accept_Mode false; the program looks at other packets than
/// adverts only then.
pub const GLOBAL_FILTERING: &str = "FILTERING";
/// A u32 that the loader sets to what a sender may say at once, 0 if nobody is held to a rate.
pub const GLOBAL_BURST: &str = "SENDER_BURST";
