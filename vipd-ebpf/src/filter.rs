//! Drops packets to and from VIPs that are fenced or closed. While a VIP is fenced, drops all its
//! packets except sent adverts; received adverts do not reach the filter on interfaces with virtual
//! routers. While a VIP is closed (Accept_Mode false, RFC 9568 section 6.1), drops only the packets
//! that this host must not accept.

use core::mem::MaybeUninit;

use aya_ebpf::bindings::bpf_hdr_start_off::BPF_HDR_START_NET;
use aya_ebpf::helpers::generated::bpf_skb_load_bytes_relative;
use aya_ebpf::programs::TcContext;
use vipd_common::filter::{Bytes, Direction, Network, subject, verdict};
use vipd_common::records::AddressKey;
use vipd_common::wire::ethernet;

use crate::frame::Frame;
use crate::maps::{ADDRESSES, FILTER, LEASES, count};

/// Returns whether any row is closed or may be fenced. If not, the filter passes all packets.
#[inline(always)]
pub(crate) fn is_active() -> bool {
    let Some(words) = FILTER.get_ptr(0) else { return false };
    // SAFETY: words of a map, which others write with single stores.
    let words = unsafe { words.read_volatile() };
    words.fenced | words.closed != 0
}

/// Returns whether to drop a packet, and counts it if so.
#[inline(always)]
pub(crate) fn drops<B: Bytes>(packet: &B, ifindex: u32, network: Network, direction: Direction) -> bool {
    let Some(subject) = subject(packet, network, direction) else { return false };
    let key = AddressKey::new(ifindex, subject.family, subject.address);
    // SAFETY: the value is read once and copied.
    let Some(row) = (unsafe { ADDRESSES.get(key) }).copied() else { return false };
    let Some(slot) = LEASES.get_ptr(row) else { return false };
    // SAFETY: words of a map, which others write with single stores. The verdict reads each word
    // once.
    let slot = unsafe { slot.read_volatile() };
    match verdict(&slot, subject.is_neighbor, direction) {
        Some(counter) => {
            count(row, counter);
            true
        }
        None => false,
    }
}

/// A packet at an offset in a frame.
pub(crate) struct Packet<'a, F> {
    pub(crate) frame: &'a F,
    pub(crate) offset: usize,
}

impl<F: Frame> Bytes for Packet<'_, F> {
    #[inline(always)]
    fn bytes<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        let mut bytes = MaybeUninit::<[u8; N]>::uninit();
        // SAFETY: the buffer has N bytes.
        let loaded = unsafe { self.frame.load(self.offset + offset, bytes.as_mut_ptr().cast(), N) };
        // SAFETY: all bytes were written.
        loaded.then(|| unsafe { bytes.assume_init() })
    }
}

/// A packet that starts at the network header of an skb, wherever that is in the frame.
pub(crate) struct Skb<'a>(pub(crate) &'a TcContext);

impl Skb<'_> {
    /// Returns the protocol of the network header; `None` for a protocol that the filter always
    /// passes.
    #[inline(always)]
    pub(crate) fn network(&self) -> Option<Network> {
        // SAFETY: a field of the context that the kernel passed.
        let protocol = u16::from_be(unsafe { (*self.0.skb.skb).protocol } as u16);
        match protocol {
            ethernet::TYPE_IPV4 => Some(Network::Ipv4),
            ethernet::TYPE_IPV6 => Some(Network::Ipv6),
            ethernet::TYPE_ARP => Some(Network::Arp),
            _ => None,
        }
    }
}

impl Bytes for Skb<'_> {
    #[inline(always)]
    fn bytes<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        let mut bytes = MaybeUninit::<[u8; N]>::uninit();
        // SAFETY: the kernel passed this context, and the buffer has N bytes.
        let result = unsafe {
            bpf_skb_load_bytes_relative(
                self.0.skb.skb.cast(),
                offset as u32,
                bytes.as_mut_ptr().cast(),
                N as u32,
                BPF_HDR_START_NET,
            )
        };
        // SAFETY: all bytes were written.
        (result == 0).then(|| unsafe { bytes.assume_init() })
    }
}
