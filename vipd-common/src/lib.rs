//! Code shared by vipd's BPF program and its user space.
//!
//! * [`wire`]: formats on the wire (Ethernet, ARP, IPv4, IPv6, Neighbor Discovery, VRRP) and the
//!   Internet checksum.
//! * [`parse`]: the advert parser. The BPF program runs it on a window of the frame, and user space
//!   runs it on a slice. Both reach the same verdict on the same bytes.
//! * [`lease`]: the time at which a host must stop using its VIPs. [`filter`]: detection of packets
//!   that use a VIP.
//! * [`hmac`]: keys of signed adverts, and the data that their HMAC covers.
//! * [`address`]: IP addresses of either family as four words.
//! * [`records`]: `#[repr(C)]` records, map keys and map values.
//! * [`counters`]: rows of counters.
//! * [`names`]: the names of the programs and maps.
//! * [`Timestamp`]: nanoseconds of `CLOCK_MONOTONIC`, the clock of `bpf_ktime_get_ns()`.
//!
//! The crate is `no_std`, allocates nothing and never panics on input.
#![no_std]
#![forbid(unsafe_code)]
#![expect(
    clippy::inline_always,
    reason = "a function call uses BPF stack, and the verifier forgets bounds that the caller has checked"
)]

#[cfg(test)]
extern crate std;

pub mod address;
pub mod counters;
pub mod filter;
pub mod hmac;
pub mod lease;
pub mod names;
pub mod parse;
pub mod records;
mod time;
pub mod wire;

pub use time::Timestamp;
