//! Maps a frame to a verdict.

use aya_log_ebpf::debug;
use vipd_common::counters::Counter;
use vipd_common::parse::{Advert, Expected, Located, NotOurs, locate, validate};
use vipd_common::records::{PeerKey, RouterKey, RouterSlot};
use vipd_common::wire::ip::Ip;
use vipd_common::wire::ipv4;

use crate::accept::is_closed;
use crate::cursor::Windowed;
use crate::frame::Frame;
use crate::maps::{PEERS, ROUTERS, count_discarded, count_unassigned};
use crate::publish::publish;

/// The action to take on a frame.
pub(crate) enum Verdict {
    /// Any other frame: passed untouched.
    Pass,
    /// An advert for a configured virtual router, published or discarded, or a packet to a VIP with
    /// Accept_Mode false: kept from the network stack.
    Drop,
}

/// Classifies and counts a frame that contains this IP packet, and publishes it if it is a valid advert.
#[inline(always)]
pub(crate) fn classify<F: Frame>(ctx: &F, ip: Option<Ip>) -> Verdict {
    let Some(ip) = ip else {
        return Verdict::Pass;
    };
    if ip.protocol != ipv4::PROTOCOL_VRRP {
        return if is_closed(ctx, &ip) { Verdict::Drop } else { Verdict::Pass };
    }
    let Some(packet) = Windowed::copy(ctx, ip.offset) else {
        return Verdict::Pass;
    };
    let ifindex = ctx.ifindex();
    let (located, slot) = match claim(&packet, ip.version, ifindex) {
        Ok(found) => found,
        Err(reason) => {
            count_unassigned(reason.counter());
            return Verdict::Pass;
        }
    };
    match check(&packet, &located, &slot) {
        Ok(advert) => publish(ifindex, slot.row, &advert),
        Err(reason) => {
            count_discarded(slot.row, reason);
            // Removed by the verifier unless the loader enables debug logging.
            debug!(
                ctx,
                "vrid {} on interface {}: advert discarded, counter {}", located.vrid, ifindex, reason as u32
            );
        }
    }
    Verdict::Drop
}

/// Finds the virtual router that a packet is addressed to.
#[inline(always)]
fn claim(packet: &Windowed, version: u8, ifindex: u32) -> Result<(Located, RouterSlot), NotOurs> {
    let located = locate(packet, version)?;
    let key = RouterKey::new(ifindex, located.vrid, located.family);
    // SAFETY: the value is copied in one read; user space only replaces it as a whole.
    let Some(slot) = (unsafe { ROUTERS.get(key) }).copied() else {
        return Err(located.unclaimed());
    };
    if located.destination != slot.destination {
        return Err(NotOurs::Destination);
    }
    Ok((located, slot))
}

/// Validates an advert, and its source if the router has unicast peers.
#[inline(always)]
fn check(packet: &Windowed, located: &Located, slot: &RouterSlot) -> Result<Advert, Counter> {
    let ttl = if slot.unicast == 0 {
        ipv4::VRRP_TTL
    } else {
        let peer = PeerKey { row: slot.row, address: located.source };
        // SAFETY: a single byte, which user space does not change.
        unsafe { PEERS.get(peer) }.copied().ok_or(Counter::PeerErrors)?
    };
    let expected = Expected {
        version: slot.version,
        authentication: slot.authentication,
        password: slot.password,
        ttl,
        empty: slot.empty != 0,
    };
    validate(packet, located, &expected)
}
