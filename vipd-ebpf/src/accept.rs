//! Accept_Mode false (RFC 9568 section 6.1): drops packets to VIPs that this host announces but
//! does not accept packets for.
//!
//! ARP is not IP and is not affected. Neighbor Solicitations and Advertisements must not be dropped
//! (section 6.4.3).

use vipd_common::address::FAMILY_IPV4;
use vipd_common::counters::Counter;
use vipd_common::records::ClosedKey;
use vipd_common::wire::ip::Ip;
use vipd_common::wire::{ipv4, ipv6, nd};

use crate::frame::Frame;
use crate::maps::{CLOSED, FILTERING, count};

/// Returns whether to drop a packet because it is addressed to a VIP with Accept_Mode false. If so,
/// counts it.
#[inline(always)]
pub(crate) fn is_closed<F: Frame>(ctx: &F, ip: &Ip) -> bool {
    let Some(closed) = FILTERING.get_ptr(0) else { return false };
    // SAFETY: an aligned word of a map, which user space writes with single stores.
    if unsafe { closed.read_volatile() } == 0 {
        return false;
    }
    let mut key = ClosedKey { ifindex: ctx.ifindex(), family: ip.version, zero: [0; 3], address: [0; 4] };
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

/// Copies `length` bytes of the frame into `buffer`, which is at least as long.
#[inline(always)]
fn load<F: Frame, T>(ctx: &F, offset: usize, buffer: &mut T, length: usize) -> bool {
    // SAFETY: callers pass constants up to the size of `T`.
    unsafe { ctx.load(offset, core::ptr::from_mut(buffer).cast(), length) }
}
