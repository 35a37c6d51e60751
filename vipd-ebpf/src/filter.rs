//! Accept_Mode false (RFC 9568 section 6.1): what is sent to a virtual address that this host merely announces.
//!
//! ARP is no IP and never comes here. Neighbor Solicitations and Advertisements must not be dropped (section
//! 6.4.3).

use aya_ebpf::helpers::generated::bpf_xdp_load_bytes;
use aya_ebpf::programs::XdpContext;
use vipd_common::counters::Counter;
use vipd_common::records::{ClosedKey, FAMILY_IPV4};
use vipd_common::wire::ethernet::Ip;
use vipd_common::wire::{ipv4, ipv6, nd};

use crate::maps::{CLOSED, count};

/// Whether the packet is for a closed address, and counted as such.
#[inline(always)]
pub(crate) fn is_closed(ctx: &XdpContext, ip: &Ip) -> bool {
    let mut key = ClosedKey {
        ifindex: ctx.ingress_ifindex() as u32,
        family: ip.version,
        zero: [0; 3],
        address: [0; 4],
    };
    let loaded = if ip.version == FAMILY_IPV4 {
        load(ctx, ip.offset + ipv4::DESTINATION, &mut key.address, 4)
    } else {
        load(ctx, ip.offset + ipv6::DESTINATION, &mut key.address, 16)
    };
    if !loaded {
        return false;
    }
    // SAFETY: the value is read once and copied.
    let Some(row) = (unsafe { CLOSED.get(key) }).copied() else { return false };
    if ip.protocol == ipv6::NEXT_HEADER_ICMPV6 && ip.version != FAMILY_IPV4 {
        let mut kind = 0u8;
        if load(ctx, ip.offset + ipv6::HEADER_LEN, &mut kind, 1)
            && (kind == nd::TYPE_SOLICITATION || kind == nd::TYPE_ADVERTISEMENT)
        {
            return false;
        }
    }
    count(row, Counter::NotAccepted);
    true
}

/// Copies `length` bytes of the frame, which the buffer has room for.
#[inline(always)]
fn load<T>(ctx: &XdpContext, offset: usize, buffer: &mut T, length: u32) -> bool {
    // SAFETY: the callers' lengths are constants, no more than `T` has bytes; the kernel checks the offset.
    unsafe { bpf_xdp_load_bytes(ctx.ctx, offset as u32, core::ptr::from_mut(buffer).cast(), length) == 0 }
}
